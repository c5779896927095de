"""The model server's side of one spliced pair, and how a break is passed on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from sidecar.proxy.delivery import unacknowledged
from sidecar.proxy.splice_settings import SpliceSettings

if TYPE_CHECKING:
    from sidecar.proxy.splice import Client

RESET_WAIT_S: Final = 5.0
"""How long buffered bytes may take to leave before a reset is passed on."""
_RESET = struct.pack("ii", 1, 0)


class Upstream(asyncio.Protocol):
    """The model server's side of one pair."""

    __slots__ = ("_client", "_reading", "_settings", "eof", "full", "lost", "transport")

    transport: asyncio.Transport

    def __init__(self, client: Client, settings: SpliceSettings) -> None:
        self._client = client
        self._settings = settings
        self._reading = True
        self.eof = False
        self.full = False
        """More than the high-water mark waits to be sent."""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        self.transport.set_write_buffer_limits(high=self._settings.high_water)
        self._client.connected(self)

    def data_received(self, data: bytes) -> None:
        client = self._client
        if self._settings.by_policy:
            client.response(data)
            return
        try:
            client.transport.write(data)
            client.observer.response_data(data)
        except Exception as error:
            client.trouble(error)

    def eof_received(self) -> bool:
        if not self.eof:  # uvloop reports it again whenever reading is resumed
            self.eof = True
            self._client.response_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._client.upstream_lost(self, error)

    def pause_writing(self) -> None:
        self.full = True
        if not self._client.gone:
            self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        if not self._client.gone:
            self._client.transport.resume_reading()

    def read(self, wanted: bool) -> None:
        """Read on, or pause; repeated calls are harmless."""
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def send_eof(self) -> None:
        """Pass the client's FIN on."""
        if not self.lost and not self.transport.is_closing():
            self.transport.write_eof()

    def reset(self) -> None:
        """Break the connection as a client that is gone would."""
        if not self.lost:
            reset(self._settings.loop, self.transport)


def reset(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, arrive: bool = False, waited_s: float = 0.0
) -> None:
    """Close with RST, so that a cut-off message cannot look like a whole one; buffered bytes leave first.

    `arrive`: and are acknowledged first, since a reset throws away what the kernel still has.
    """
    left = transport.get_write_buffer_size() or (arrive and unacknowledged(transport))
    if left and waited_s < RESET_WAIT_S and not transport.is_closing():
        transport.pause_reading()
        loop.call_later(0.01, reset, loop, transport, arrive, waited_s + 0.01)
        return
    reset_now(transport)


def reset_now(transport: asyncio.Transport) -> None:
    """Close with RST, whatever has not left yet."""
    raw = transport.get_extra_info("socket")
    if raw is not None and not transport.is_closing():
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
