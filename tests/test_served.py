"""The small HTTP servers: silent connections end, and there is a most of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from sidecar.served import MOST, SILENT_S, served

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def server(most: int = MOST, silent_s: float = SILENT_S) -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=(await request.read()).decode() or "here")

    app = web.Application()
    app.router.add_route("*", "/", answer)
    bound = socket.create_server(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    async with served(app, [bound], most=most, silent_s=silent_s):
        yield port


async def connect(port: int) -> Peer:
    return await asyncio.open_connection("127.0.0.1", port)


async def asked(peer: Peer) -> bytes:
    peer[1].write(GET)
    head = await peer[0].readuntil(b"\r\n\r\n")
    return head.split(b"\r\n")[0] + await peer[0].readexactly(4)


async def ended(peer: Peer) -> bool:
    try:
        return await asyncio.wait_for(peer[0].read(), 10) == b""
    except ConnectionError:
        return True


async def test_one_more_than_the_most_closes_the_longest_silent() -> None:
    async with server(most=3) as port:
        peers = []
        for _ in range(3):
            peers.append(await connect(port))
            assert await asked(peers[-1]) == b"HTTP/1.1 200 OKhere"
        assert await asked(peers[0]) == b"HTTP/1.1 200 OKhere"
        fourth = await connect(port)
        assert await ended(peers[1])
        for peer in (peers[0], peers[2], fourth):
            assert await asked(peer) == b"HTTP/1.1 200 OKhere"
            peer[1].close()


async def test_silence_ends_a_connection_and_a_slow_sender_does_not() -> None:
    async with server(silent_s=0.5) as port:
        silent, slow = await connect(port), await connect(port)
        slow[1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.1)
            slow[1].write(b"x")
        head = await slow[0].readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await slow[0].readexactly(10) == b"x" * 10
        assert await ended(silent)
        slow[1].close()


async def test_the_end_of_the_context_closes_sockets_and_connections() -> None:
    async with server() as port:
        peer = await connect(port)
        assert await asked(peer) == b"HTTP/1.1 200 OKhere"
    assert await ended(peer)
    with pytest.raises(ConnectionRefusedError):
        await connect(port)
