"""An upstream for what wrk cannot do: large bodies both ways and server-sent events.

    python -m tests.bench.flow_upstream PORT

POST /up reads the whole body before it answers, GET /down answers 16 MiB, GET /events sends an event at
once and four more 5 ms apart, each carrying the monotonic clock at which it left.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

import uvloop

from tests.bench.payload import DOWNLOAD_SEED, LARGE_BYTES, large_body

EVENTS = 5
EVENT_GAP_S = 0.005
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}'
DOWN = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES
)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Flow(asyncio.BufferedProtocol):
    """Reads into one reused buffer, so that the bench's own upstream costs as little as it can."""

    body = large_body(DOWNLOAD_SEED)

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.buffer = bytearray(256 << 10)
        self.head = b""
        self.left = 0
        self.chunked = False
        self.path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.left:
            self.left -= nbytes
            if self.left <= 0:
                self.answer()
            return
        data = bytes(self.buffer[:nbytes])
        if self.chunked:
            self.head = (self.head + data)[-5:]
            if self.head == b"0\r\n\r\n":
                self.chunked, self.head = False, b""
                self.answer()
            return
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end >= 0:
            self.begin(self.head[:end], self.head[end + 4 :])

    def begin(self, head: bytes, rest: bytes) -> None:
        self.head = b""
        self.path = head.split(b" ", 2)[1]
        length = LENGTH.search(head)
        self.left = int(length[1]) - len(rest) if length else 0
        self.chunked = b"\r\ntransfer-encoding: chunked" in head.lower() and not rest.endswith(b"0\r\n\r\n")
        if self.left <= 0 and not self.chunked:
            self.left = 0
            self.answer()

    def answer(self) -> None:
        self.left = 0
        if self.path == b"/down":
            self.transport.write(DOWN)
            self.transport.write(self.body)
        elif self.path == b"/events":
            self.transport.write(STREAM)
            self.event(1)
        else:
            self.transport.write(OK)

    def event(self, number: int) -> None:
        if self.transport.is_closing():
            return
        data = b"data: %d\n\n" % time.monotonic_ns()
        self.transport.write(b"%x\r\n%s\r\n" % (len(data), data))
        if number < EVENTS:
            asyncio.get_running_loop().call_later(EVENT_GAP_S, self.event, number + 1)
        else:
            self.transport.write(b"0\r\n\r\n")


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Flow, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
