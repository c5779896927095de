"""The client side of large bodies and server-sent events; prints one JSON line.

python -m tests.bench.flow_client up|down PORT CONNECTIONS BODIES
python -m tests.bench.flow_client events PORT STREAMS
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import uvloop

from tests.bench.payload import LARGE_BYTES, UPLOAD_SEED, large_body

UP = (
    b"POST /up HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-tensor\r\nContent-Length: %d\r\n\r\n"
    % LARGE_BYTES
)
DOWN = b"GET /down HTTP/1.1\r\nHost: bench\r\n\r\n"
EVENTS = b"GET /events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Transfers(asyncio.BufferedProtocol):
    """One connection that sends one request after the other while `claim` grants it another."""

    def __init__(self, upload: bytes | None, claim: Callable[[], bool], done: asyncio.Future[None]) -> None:
        self.upload = upload
        self.claim = claim
        self.done = done
        self.buffer = bytearray(512 << 10)
        self.head = b""
        self.left = 0
        self.chunked = False
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the proxy closed the connection in the middle"))

    def next(self) -> None:
        if not self.claim():
            self.done.set_result(None)
            self.transport.close()
        elif self.upload is not None:
            self.transport.write(UP)
            self.transport.write(self.upload)
        else:
            self.transport.write(DOWN)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.left:
            self.left -= nbytes
        elif self.chunked:
            self.end_of_chunks(bytes(self.buffer[max(0, nbytes - 5) : nbytes]))
        else:
            self.head += self.buffer[:nbytes]
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, rest, self.head = self.head[:end], self.head[end + 4 :], b""
            if not head.startswith(b"HTTP/1.1 200"):
                self.transport.abort()
                self.done.set_exception(ConnectionError(head.split(b"\r\n")[0].decode("latin-1")))
                return
            length = LENGTH.search(head)
            if length:
                self.left = int(length[1]) - len(rest)
            else:
                # Some proxies turn a body of known length into chunks.
                self.chunked = True
                self.end_of_chunks(rest[-5:])
        if self.left == 0 and not self.chunked:
            self.next()

    def end_of_chunks(self, last: bytes) -> None:
        self.tail = (self.tail + last)[-5:]
        if self.tail == b"0\r\n\r\n":
            self.chunked, self.tail = False, b""


async def transfer(kind: str, port: int, connections: int, bodies: int) -> dict[str, float]:
    """Move that many bodies; seconds from the first request to the last answer."""
    loop = asyncio.get_running_loop()
    upload = large_body(UPLOAD_SEED) if kind == "up" else None
    granted = 0

    def claim() -> bool:
        nonlocal granted
        granted += 1
        return granted <= bodies

    started = time.monotonic()
    waiting = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(partial(Transfers, upload, claim, done), "127.0.0.1", port)
    async with asyncio.timeout(120):
        await asyncio.gather(*waiting)
    return {"bodies": bodies, "seconds": time.monotonic() - started}


async def read_events(port: int) -> tuple[int, list[int]]:
    """One stream on its own connection: µs until the first event, and each event's µs on its way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic_ns()
    writer.write(EVENTS)
    first = 0
    delays: list[int] = []
    async with asyncio.timeout(10):
        while True:
            line = await reader.readline()
            now = time.monotonic_ns()
            if line.startswith(b"data: "):
                first = first or (now - started) // 1000
                delays.append((now - int(line[6:])) // 1000)
            elif line == b"0\r\n" or not line:
                break
    writer.close()
    return first, delays


def percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0


async def events(port: int, streams: int) -> dict[str, float]:
    firsts: list[int] = []
    delays: list[int] = []
    for _ in range(streams):
        first, each = await read_events(port)
        firsts.append(first)
        delays.extend(each)
    return {
        "streams": streams,
        "events": len(delays),
        "first_p50_us": percentile(firsts, 0.5),
        "first_p99_us": percentile(firsts, 0.99),
        "delay_p50_us": percentile(delays, 0.5),
        "delay_p99_us": percentile(delays, 0.99),
    }


def main() -> None:
    kind, *numbers = sys.argv[1:]
    values = [int(number) for number in numbers]
    run = events(*values) if kind == "events" else transfer(kind, *values)
    print(json.dumps(uvloop.run(run)), flush=True)


if __name__ == "__main__":
    main()
