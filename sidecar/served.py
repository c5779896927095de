"""Small HTTP servers (health, metrics, status, reviews) with a bound on their connections.

The library ends a connection that is silent after a request, but not one that
never sends any: whoever reaches the port could use up the process's descriptors.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from socket import socket
from typing import Final

from aiohttp import web

MOST: Final = 256
"""Open connections; one more, and the one that was silent for longest is closed."""
SILENT_S: Final = 60.0
HANDSHAKE_S: Final = 10.0


@asynccontextmanager
async def served(
    application: web.Application,
    sockets: Sequence[socket],
    tls: ssl.SSLContext | None = None,
    *,
    shutdown_s: float = 1.0,
    most: int = MOST,
    silent_s: float = SILENT_S,
) -> AsyncIterator[None]:
    """Answers on bound sockets, which it closes, for as long as the context is open."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=shutdown_s)
    await runner.setup()
    assert runner.server is not None, "made by setup()"
    door = Door(runner.server, most, silent_s)
    loop = asyncio.get_running_loop()
    handshake_s = HANDSHAKE_S if tls else None
    servers: list[asyncio.Server] = []
    try:
        servers += [
            await loop.create_server(
                door, sock=each, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=4096
            )
            for each in sockets
        ]
        yield
    finally:
        for server in servers:
            server.close()
        await runner.cleanup()


class Door:
    """Makes each connection's protocol, and knows which are open, the longest silent first."""

    def __init__(self, handler: Callable[[], asyncio.Protocol], most: int, silent_s: float) -> None:
        self.silent_s = silent_s
        self._handler, self._most = handler, most
        self._open: dict[Connection, None] = {}

    def __call__(self) -> asyncio.Protocol:
        return Connection(self._handler(), self)

    def entered(self, connection: Connection) -> None:
        """Take one in; if there are too many, the longest silent one is closed."""
        self._open[connection] = None
        if len(self._open) > self._most:
            next(iter(self._open)).abort()

    def heard(self, connection: Connection) -> None:
        """It sent something."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def left(self, connection: Connection) -> None:
        """It is closed, or about to be."""
        self._open.pop(connection, None)


class Connection(asyncio.Protocol):
    """Hands everything on to the library's handler, and ends when nothing has come for long."""

    def __init__(self, handler: asyncio.Protocol, door: Door) -> None:
        self._handler, self._door = handler, door
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._heard_s = asyncio.get_running_loop().time()
        self._handler.connection_made(transport)
        self._door.entered(self)
        self._look()

    def data_received(self, data: bytes) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        self._door.heard(self)
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._door.left(self)
        self._handler.connection_lost(error)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def abort(self) -> None:
        """End it at once."""
        self._door.left(self)
        if self._transport is not None:
            self._transport.abort()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        ends_s = self._heard_s + self._door.silent_s
        if loop.time() >= ends_s:
            self.abort()
        else:
            self._timer = loop.call_at(ends_s, self._look)
