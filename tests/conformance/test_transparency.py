"""Both ends see the same bytes and the same ends as if nobody were there, and the record says what they saw."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support.dialogues import ALL, CUT_OFF, POST, SSE
from tests.support.scripted import Transcript, Upstream, dial, play, recorder, until

OPTIONS = {
    "quick": {},
    "observed": {"quick": False},
    "closed": {"closed": True},
}


def whole(data: bytes) -> Iterable[int]:
    return ()


def bytewise(data: bytes) -> Iterable[int]:
    return range(len(data))


async def compare(name: str, places: object, **options: object) -> None:
    dialogue, expected = ALL[name]
    last = "reset" if name in CUT_OFF else "close"
    early = dialogue[0][0] == "answers"
    upstream = Upstream()
    direct = await play(dialogue, upstream, upstream.port, last, whole)  # type: ignore[arg-type]
    async with recorder(upstream, connect_first=early, **options) as rig:  # type: ignore[arg-type]
        between = await play(dialogue, upstream, rig.port, last, places)  # type: ignore[arg-type]
        await rig.nobody()
        assert between == direct
        assert rig.triples == expected


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ALL)
async def test_nothing_shows_that_a_recorder_is_there(name: str, options: str) -> None:
    await compare(name, whole, **OPTIONS[options])


@pytest.mark.parametrize("name", [name for name in ALL if "64 KiB" not in name])
async def test_nothing_shows_byte_by_byte(name: str) -> None:
    await compare(name, bytewise)


@pytest.mark.parametrize("name", ["chunked both ways", "several 1xx", "refused upgrade", "until EOF"])
async def test_nothing_shows_at_any_cut(name: str) -> None:
    dialogue, expected = ALL[name]
    upstream = Upstream()
    direct = await play(dialogue, upstream, upstream.port, "close", whole)
    async with recorder(upstream) as rig:
        positions = range(1, max(len(data) for _, data in dialogue))
        for at in positions:
            assert await play(dialogue, upstream, rig.port, "close", lambda data, at=at: (at,)) == direct  # type: ignore[misc]
        await rig.nobody()
        assert rig.triples == expected * len(positions)


RESET_POINTS = {
    "before the answer": b"",
    "inside its head": b"HTTP/1.1 200 OK\r\nCont",
    "inside a body of known length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "inside an EOF-delimited body": SSE + b"data: 1\n\n",
    "inside chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
}


@pytest.mark.parametrize("point", RESET_POINTS)
@pytest.mark.parametrize("held", [False, True])
async def test_an_upstream_reset_reaches_the_client_as_a_reset(point: str, held: bool) -> None:
    answer = RESET_POINTS[point]
    upstream = Upstream()

    async def run(port: int) -> Transcript:
        client = await dial(port)
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        await server.send(answer)
        await client.expect(answer)
        server.reset()
        return Transcript(bytes(client.received), await client.ends(), bytes(server.received), None)

    direct = await run(upstream.port)
    async with recorder(upstream, held=held) as rig:
        between = await run(rig.port)
        assert between == direct
        assert between.client_end == "RST"
        (only,) = await rig.recorded()
        assert (only.outcome.name, only.request, only.response) == ("UPSTREAM_ERROR", POST, answer)
        assert only.reason == "upstream reset its connection"


@pytest.mark.parametrize("point", RESET_POINTS)
async def test_a_client_reset_reaches_the_upstream_as_a_reset(point: str) -> None:
    answer = RESET_POINTS[point]
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        await server.send(answer)
        await client.expect(answer)
        client.reset()
        assert await server.ends() == "RST"
        (only,) = await rig.recorded()
        assert (only.outcome.name, only.request, only.response) == ("CLIENT_ABORT", POST, answer)


async def test_half_closes_pass_in_both_orders_and_bytes_flow_on_the_other_way() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        for client_first in (True, False):
            client = await rig.connect()
            await client.send(b"\0tunnelled bytes")
            server = await upstream.accept()
            await server.expect(b"\0tunnelled bytes")
            first, second = (client, server) if client_first else (server, client)
            first.fin()
            assert await second.ends() == "FIN"
            for _ in range(3):
                await second.send(b"more")
                await first.expect(b"more")
            second.fin()
            assert await first.ends() == "FIN"
            await until(lambda: not rig.clients)
