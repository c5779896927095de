"""The upstream connection of one pair until it stands, and what the client sends meanwhile."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sidecar.counters import Route
from sidecar.proxy.splice_settings import SpliceSettings
from sidecar.proxy.upstream import Upstream

if TYPE_CHECKING:
    from sidecar.proxy.splice import Client


log = logging.getLogger("sidecar.proxy")


class Dial:
    """At most one attempt at a time; a client that goes away cancels it."""

    __slots__ = ("_client", "_held_bytes", "_settings", "_task", "early")

    def __init__(self, client: Client, settings: SpliceSettings) -> None:
        self._client = client
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self.early: list[bytes] = []
        """What the client sent so far, to be forwarded first."""
        self._held_bytes = 0

    @property
    def running(self) -> bool:
        return self._task is not None

    def begin(self) -> None:
        """Connect, unless that is being done already."""
        if self._task is None:
            self._task = self._settings.loop.create_task(self._connect())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def hold(self, data: bytes) -> None:
        """Keep a chunk for the connection, and read on only up to the high-water mark."""
        self.early.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._settings.high_water:
            self._client.transport.pause_reading()
        self.begin()

    async def _connect(self) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await settings.loop.create_connection(
                    lambda: Upstream(self._client, settings), settings.upstream_host, settings.upstream_port
                )
        except TimeoutError:
            self._failed(f"no connection within {settings.connect_timeout_s:g} s")
        except OSError as error:
            self._failed(error.strerror or str(error))
        except Exception as error:
            # Such as a name that no resolver takes: the client must not wait for ever.
            log.exception("upstream %s cannot be connected to", settings.upstream)
            self._failed(str(error) or type(error).__name__)
        finally:
            self._task = None

    def _failed(self, why: str) -> None:
        context = self._settings.context
        context.slots[context.base + Route.UPSTREAM_FAILURES] += 1
        # With nothing asked yet (`connect=accept`) the first byte tries again.
        asked = bool(self.early)
        self.early.clear()
        self._held_bytes = 0
        self._client.unreachable(why, asked)
