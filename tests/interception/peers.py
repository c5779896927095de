"""Servers of the namespaces: `python peers.py model PORT`, `python peers.py proxy PORT TO`.

The model answers every request with the address that called it. The proxy is a
mesh's: it takes connections and opens one of its own to 127.0.0.1:TO or to the pod's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _model(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            body = b"model saw " + str(writer.get_extra_info("peername")[0]).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(kind: str, port: int, host: str, to: int) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(host, to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, upstream[1]), _copy(upstream[0], writer))

    server = await asyncio.start_server(_model if kind == "model" else proxy, None, port)
    await server.serve_forever()


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(
        main(given[0], int(given[1]), given[2] if len(given) > 2 else "", int((given[3:] or ["0"])[0]))
    )
