"""A model server that says which one it is: `python named_model.py PORT NAME`.

Told to end, it listens no more and serves the connections that it has for another while, as servers drain.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

DRAIN_S = 0.4


class Connection(asyncio.Protocol):
    name = b""

    def __init__(self) -> None:
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            self._held = self._held[end + 4 :]
            answer = b'{"model": "%s"}' % self.name
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % len(answer) + answer)


async def main(port: int, name: str) -> None:
    Connection.name = name.encode()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(Connection, "127.0.0.1", port)
    print("listening", flush=True)
    await ended.wait()
    server.close()
    await asyncio.sleep(DRAIN_S)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
