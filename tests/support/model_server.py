"""A small model server in a process of its own: `python model_server.py PORT`.

Answers every request with a JSON object that repeats the request's `id`.
The query may say `wait=MILLISECONDS` before the answer. Prints its port once it listens.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_WAIT = re.compile(rb"[?&]wait=([0-9]+)")
_ID = re.compile(rb'"id": ?"([^"]*)"')


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        while (end := self._bytes.find(b"\r\n\r\n")) >= 0:
            head = self._bytes[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._bytes) < whole:
                return
            body, self._bytes = self._bytes[end + 4 : whole], self._bytes[whole:]
            wait = _WAIT.search(head.split(b"\r\n", 1)[0])
            if wait:
                asyncio.get_running_loop().call_later(int(wait[1]) / 1000, self._answer, body)
            else:
                self._answer(body)

    def _answer(self, body: bytes) -> None:
        if self._transport.is_closing():
            return
        found = _ID.search(body)
        answer = b'{"approved": true, "probability": 0.75, "id": "%s"}' % (found[1] if found else b"")
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(answer), answer)
        )


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
