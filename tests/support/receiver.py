"""A real HTTP server that takes CloudEvents, in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from dataclasses import dataclass
from types import TracebackType

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    """One event as it came."""

    headers: dict[str, str]
    body: bytes


class Receiver:
    """Used as a context. `statuses` are given to the next requests, then `otherwise`."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        """What was answered 2xx, in order."""
        self.asked = 0
        self.statuses: list[int] = []
        self.otherwise = 202
        self.delay_s = 0.0
        self.port = port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/events"

    def __enter__(self) -> Receiver:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        # An answer that was still delayed ends with its loop.
        waiting = asyncio.all_tasks(self._loop)
        for each in waiting:
            each.cancel()
        self._loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        self._loop.close()

    async def _serve(self) -> web.AppRunner:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/events", self._take)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        status = self.statuses.pop(0) if self.statuses else self.otherwise
        if 200 <= status < 300:
            self.received.append(
                Received({name.lower(): value for name, value in request.headers.items()}, body)
            )
        return web.Response(status=status)
