"""Streams leave chunk by chunk, and whoever is slow slows the other side instead of filling memory."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.counters import Route
from sidecar.records import Outcome
from tests.support.dialogues import CHUNKED_OK, CHUNKED_POST, GET, OK, POST, SSE
from tests.support.observed import chunked, cut
from tests.support.scripted import Recorder, Upstream, Wire, dial, recorder, until

HIGH_WATER = 64 * 1024
READ_BYTES = 256 * 1024
"""What uvloop reads at once, which may come on top of the mark."""
BLOCK = bytes(range(256)) * 4096


async def pour(wire: Wire, total: int) -> None:
    """Send so many bytes, in blocks of a MiB, as fast as the other side takes them."""
    loop = asyncio.get_running_loop()
    for at in range(0, total, len(BLOCK)):
        await loop.sock_sendall(wire.socket, BLOCK[: min(len(BLOCK), total - at)])


async def drain(wire: Wire, total: int) -> bytes:
    """SHA-256 of the next so many bytes."""
    digest = hashlib.sha256()
    left = total
    while left:
        piece = await wire.receive()
        assert piece, wire.end
        digest.update(piece)
        left -= len(piece)
    assert left == 0
    return digest.digest()


def poured(total: int) -> bytes:
    digest = hashlib.sha256()
    for at in range(0, total, len(BLOCK)):
        digest.update(BLOCK[: min(len(BLOCK), total - at)])
    return digest.digest()


def buffered(rig: Recorder) -> int:
    """Bytes that the recorder holds for either side."""
    total = 0
    for client in rig.clients:
        total += client.transport.get_write_buffer_size() + sum(map(len, client._dial.early))
        if client._upstream is not None:
            total += client._upstream.transport.get_write_buffer_size()
    return total


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("shape", ["until EOF", "chunked"])
async def test_each_event_of_a_stream_leaves_at_once(held: bool, shape: str) -> None:
    upstream = Upstream()
    async with recorder(upstream, held=held, closed=held) as rig:
        client = await rig.connect()
        await client.send(GET)
        server = await upstream.accept()
        await server.expect(GET)
        head = SSE if shape == "until EOF" else CHUNKED_OK
        await server.send(head)
        await client.expect(head)
        for number in range(50):
            event = b"data: %d\n\n" % number
            wire = event if shape == "until EOF" else b"%x\r\n%s\r\n" % (len(event), event)
            await server.send(wire)
            await client.expect(wire)
        assert rig.journal.exchanges == []
        if shape == "until EOF":
            server.fin()
        else:
            await server.send(b"0\r\n\r\n")
        (only,) = await rig.recorded()
        rig.journal.settle()
        if shape == "until EOF":
            assert await client.ends() == "FIN"
        else:
            await client.expect(b"0\r\n\r\n")
        _, request_end, first, end = only.times
        assert request_end <= first < end


async def test_an_event_of_one_byte_does_not_wait_for_a_second() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        await client.send(GET)
        server = await upstream.accept()
        await server.send(SSE)
        await client.expect(SSE)
        for _ in range(20):
            await server.send(b"x")
            await client.expect(b"x")


@pytest.mark.parametrize("held", [False, True])
async def test_a_slow_client_pauses_the_upstream(held: bool) -> None:
    total = 24 << 20
    upstream = Upstream()
    async with recorder(upstream, held=held, high_water=HIGH_WATER, body_limit=1 << 20) as rig:
        client = await dial(rig.port, receive_buffer=8192)
        rig.wires.append(client)
        await client.send(GET)
        server = await upstream.accept()
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        pouring = asyncio.create_task(pour(server, total))
        await until(lambda: rig.clients and rig.clients[0]._full)
        for _ in range(200):
            await asyncio.sleep(0)
            assert buffered(rig) <= HIGH_WATER + READ_BYTES
        assert not pouring.done()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total
        got = b""
        while len(got) < len(head):
            got += await client.receive()
        rest = hashlib.sha256(got[len(head) :])
        left = total - len(got) + len(head)
        largest = 0
        while left:
            piece = await client.receive()
            assert piece
            rest.update(piece)
            left -= len(piece)
            largest = max(largest, buffered(rig))
            rig.journal.settle()
        await pouring
        assert largest <= HIGH_WATER + READ_BYTES
        assert rest.digest() == poured(total)
        (only,) = await rig.recorded()
        assert only.response_cut is not None
        assert only.response_cut.sha256 == poured(total)


@pytest.mark.parametrize("closed", [False, True])
async def test_a_slow_upstream_pauses_the_client(closed: bool) -> None:
    """From the first byte on: what came before the upstream connection stood counts too."""
    total = 24 << 20
    upstream = Upstream()
    upstream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # accepted sockets inherit it
    async with recorder(upstream, closed=closed, high_water=HIGH_WATER, body_limit=1 << 20) as rig:
        client = await rig.connect()
        head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % total
        await client.send(head)
        pouring = asyncio.create_task(pour(client, total))
        server = await upstream.accept()
        await until(lambda: rig.clients[0]._upstream is not None and rig.clients[0]._upstream.full)
        for _ in range(200):
            await asyncio.sleep(0)
            assert buffered(rig) <= HIGH_WATER + READ_BYTES
        assert not pouring.done()
        await server.expect(head)
        assert await drain(server, total) == poured(total)
        await pouring
        await server.send(OK)
        await client.expect(OK)
        (only,) = await rig.recorded()
        assert only.request_cut is not None
        assert (only.request_cut.length, only.request_cut.sha256) == (total, poured(total))


class SlowToConnect:
    """The loop, but connections to the upstream wait for a word, and their sockets take little."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.go = asyncio.Event()

    async def create_connection(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Any:
        await self.go.wait()
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await self.loop.sock_connect(sock, (host, port))
        return await self.loop.create_connection(factory, sock=sock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


async def test_a_flood_before_the_upstream_connection_stands_stays_bounded() -> None:
    """More than the sockets take; the upstream reads nothing, before its connection stands and after."""
    mark = 1_000_000
    upstream = Upstream()
    upstream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    async with recorder(upstream, high_water=mark, body_limit=1 << 20) as rig:
        slow = SlowToConnect(rig.settings.loop)
        rig.settings.loop = slow  # type: ignore[assignment]
        client = await rig.connect()
        await client.send(b"POST / HTTP/1.1\r\nContent-Length: 90000000\r\n\r\n")
        pouring = asyncio.create_task(pour(client, 24 << 20))
        await until(lambda: buffered(rig) > mark)
        slow.go.set()
        await until(lambda: rig.clients[0]._upstream)
        largest = 0
        for _ in range(1000):
            await asyncio.sleep(0)
            largest = max(largest, buffered(rig))
        assert mark < largest <= mark + 2 * READ_BYTES
        assert not pouring.done()
        pouring.cancel()


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_256_mib_pass_in_bounded_memory(direction: str) -> None:
    total = 256 << 20
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        ask = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % total if direction == "up" else GET
        answer = OK if direction == "up" else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total
        await client.send(ask)
        server = await upstream.accept()
        await server.expect(ask)
        if direction == "down":
            await server.send(answer)
            await client.expect(answer)
        near, far = (client, server) if direction == "up" else (server, client)
        pouring = asyncio.create_task(pour(near, total))
        left, held, waiting = total, 0, 0
        while left:
            left -= len(await far.receive())
            held, waiting = max(held, rig.route.budget.held), max(waiting, buffered(rig))
        await pouring
        if direction == "up":
            await server.send(answer)
            await client.expect(answer)
        (only,) = await rig.recorded()
        kept = only.request_cut if direction == "up" else only.response_cut
        assert kept is not None
        assert (kept.length, kept.sha256) == (total, poured(total))
        assert held < 128 * 1024
        assert waiting <= 2 * READ_BYTES
        assert only.request_bytes + only.response_bytes == total + len(ask) + len(answer)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 262_143, 262_144, 262_145, 3_000_000])
async def test_bodies_of_all_sizes_pass_and_are_kept_whole(size: int) -> None:
    body = (BLOCK * (size // len(BLOCK) + 1))[:size]
    post = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (size, body)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, body)
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        asking = asyncio.create_task(client.send(post))
        server = await upstream.accept()
        await server.expect(post)
        await asking
        answering = asyncio.create_task(server.send(answer))
        await client.expect(answer)
        await answering
        await rig.recorded()
        assert rig.triples == [(Outcome.COMPLETE, post, answer)]


async def test_thousands_of_tiny_chunks_pass_both_ways() -> None:
    wire = chunked(bytes(4000), [1] * 4000)
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        for piece in cut(CHUNKED_POST + wire, range(0, len(wire), 101)):
            await client.send(piece)
        server = await upstream.accept()
        await server.expect(CHUNKED_POST + wire)
        for piece in cut(CHUNKED_OK + wire, range(0, len(wire), 103)):
            await server.send(piece)
        await client.expect(CHUNKED_OK + wire)
        await rig.recorded()
        assert rig.triples == [(Outcome.COMPLETE, CHUNKED_POST + wire, CHUNKED_OK + wire)]


@pytest.mark.parametrize("framing", ["length", "chunked", "until EOF"])
async def test_a_body_over_the_capture_limit_passes_whole_and_leaves_length_and_hash(framing: str) -> None:
    payload = BLOCK
    head, wire = {
        "length": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(payload), payload),
        "chunked": (CHUNKED_OK, chunked(payload, [70_000] * 14, b";e", b"T: 1\r\n")),
        "until EOF": (b"HTTP/1.1 200 OK\r\n\r\n", payload),
    }[framing]
    upstream = Upstream()
    async with recorder(upstream, body_limit=300_000) as rig:
        client = await rig.connect()
        await client.send(POST)
        server = await upstream.accept()
        answering = asyncio.create_task(server.send(head + wire))
        await client.expect(head + wire)
        await answering
        server.fin()
        (only,) = await rig.recorded()
        assert only.response_cut is not None
        assert (only.response_cut.length, only.response_cut.sha256) == (
            len(payload),
            hashlib.sha256(payload).digest(),
        )
        assert only.response == (head + wire)[: len(head) + 65_536]
        assert only.response_bytes == len(head + wire)
        assert rig.count(Route.CUT) == 1


async def test_scarce_capture_memory_cuts_records_and_never_traffic() -> None:
    size = 200_000
    post = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (size, BLOCK[:size])
    upstream = Upstream()
    async with recorder(upstream, memory_limit=1_000_000) as rig:
        pairs = []
        for _ in range(20):
            client = await rig.connect()
            asking = asyncio.create_task(client.send(post))
            server = await upstream.accept()
            await server.expect(post)
            await asking
            pairs.append((client, server))
            assert rig.route.budget.held <= 1_000_000 + 20 * 2048
        for client, server in pairs:
            await server.send(OK)
            await client.expect(OK)
        exchanges = await rig.recorded(20)
        shortened = [each for each in exchanges if each.request_cut is not None]
        assert 14 <= len(shortened) < 20
        assert {each.request_cut for each in shortened} == {exchanges[-1].request_cut}
        assert exchanges[-1].request_cut is not None
        assert exchanges[-1].request_cut.sha256 == hashlib.sha256(BLOCK[:size]).digest()
