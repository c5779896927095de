"""`/healthz` and `/readyz`, answered on the recorder's own loop without an HTTP library.

Ready means: can splice. Neither the upstream, the journal, the analyst nor the
store has a say in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

MAX_REQUEST_BYTES: Final = 8 * 1024
MAX_CONNECTIONS: Final = 64
TIMEOUT_S: Final = 5.0


class HealthServer:
    """Makes one protocol per connection; `ready` says whether traffic is welcome."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready
        self.connections = 0

    def __call__(self) -> _HealthConnection:
        return _HealthConnection(self)

    def answer(self, request: bytes) -> bytes:
        """The whole response to a request head. Always closes, so that no probe holds a connection."""
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            status, body = b"405 Method Not Allowed", b"only GET\n"
        elif path == b"/healthz":
            status, body = b"200 OK", b"ok\n"
        elif path == b"/readyz":
            ready = self.ready()
            status, body = (b"200 OK", b"ready\n") if ready else (b"503 Service Unavailable", b"draining\n")
        else:
            status, body = b"404 Not Found", b"try /healthz or /readyz\n"
        head = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        return head % (status, len(body)) + (b"" if method == b"HEAD" else body)


class _HealthConnection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: HealthServer) -> None:
        self._server = server
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        self._server.connections += 1
        if self._server.connections > MAX_CONNECTIONS:
            self.transport.abort()
        self._timer = asyncio.get_running_loop().call_later(TIMEOUT_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" in self._received or b"\n\n" in self._received:
            self.transport.write(self._server.answer(self._received))
            self.transport.close()
        elif len(self._received) > MAX_REQUEST_BYTES:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections -= 1
        if self._timer is not None:
            self._timer.cancel()
