"""A TCP proxy in front of a store that does to requests what broken networks and tired servers do."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType


class Fault(Enum):
    """What happens to one request."""

    PASS = auto()
    HANG = auto()
    """Taken, never answered, never forwarded."""
    RESET_EARLY = auto()
    """Reset before the body was read."""
    RESET_MIDWAY = auto()
    """Half of the request reaches the store, then both sides are cut."""
    ANSWER_LOST = auto()
    """The store does it; the client's connection is reset instead of its answer."""
    ANSWER_500 = auto()
    """The store does it; the client is told 500."""
    HALF_ANSWER = auto()
    """The store does it; the client gets a part of the answer's head, then the end."""
    SLOW_ANSWER = auto()
    """The store does it; the answer comes a byte at a time, too slowly."""
    FLIPPED_BIT = auto()
    """One bit of the body differs when it reaches the store."""


@dataclass
class Status:
    """An answer that the proxy makes up, without forwarding."""

    code: int
    body: bytes = b""
    headers: str = ""


Behaviour = Fault | Status


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)


class FaultProxy:
    """Used as a context. Each request meets the next planned behaviour, or `otherwise` once the plan is used up."""

    def __init__(
        self, upstream_port: int, otherwise: Behaviour = Fault.PASS, tls: ssl.SSLContext | None = None
    ) -> None:
        self.seen: list[Seen] = []
        self.plan: deque[Behaviour] = deque()
        self.otherwise = otherwise
        self.port = 0
        self._upstream_port = upstream_port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        return [request.method for request in self.seen]

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        server.close()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; False when the connection is over."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        seen = _parsed(head)
        self.seen.append(seen)
        behaviour = self.plan.popleft() if self.plan else self.otherwise
        if behaviour is Fault.RESET_EARLY:
            _reset(writer)
            return False
        length = int(seen.headers.get("content-length", "0"))
        if behaviour is Fault.RESET_MIDWAY:
            await self._half(head, await reader.readexactly(length // 2))
            _reset(writer)
            return False
        body = await reader.readexactly(length)
        if behaviour is Fault.HANG:
            await reader.read()
            return False
        if isinstance(behaviour, Status):
            writer.write(
                f"HTTP/1.1 {behaviour.code} Made up\r\n{behaviour.headers}"
                f"Content-Length: {len(behaviour.body)}\r\n\r\n".encode()
                + behaviour.body
            )
            await writer.drain()
            return True
        if behaviour is Fault.FLIPPED_BIT:
            body = bytes([body[0] ^ 1]) + body[1:]
        answer = await self._forward(head, body)
        await _give(behaviour, answer, writer)
        return False

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        """The store's whole answer, however it is framed: the store is asked to close after it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            writer.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()

    async def _half(self, head: bytes, part: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        writer.write(head + part)
        await writer.drain()
        await asyncio.sleep(0.05)
        _reset(writer)


async def _give(behaviour: Behaviour, answer: bytes, writer: asyncio.StreamWriter) -> None:
    if behaviour is Fault.ANSWER_LOST:
        _reset(writer)
        return
    if behaviour is Fault.ANSWER_500:
        answer = b"HTTP/1.1 500 Made up\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    elif behaviour is Fault.HALF_ANSWER:
        answer = answer[: answer.index(b"\r\n") + 12]
    elif behaviour is Fault.SLOW_ANSWER:
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)
        return
    writer.write(answer)
    await writer.drain()


def _parsed(head: bytes) -> Seen:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, *_ = first.split(" ")
    pairs = (line.partition(":") for line in lines if line)
    return Seen(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
