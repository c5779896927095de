"""Responses that were recorded as complete, passed on, and did not arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.counters import Route
from sidecar.proxy.delivery import unacknowledged
from sidecar.records import Outcome
from tests.support.dialogues import GET, OK, POST, SSE
from tests.support.scripted import Recorder, Upstream, Wire, dial, recorder, until

LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
"""More than a client that does not read takes in, less than what pauses the upstream."""

WAYS = pytest.mark.parametrize(
    ("held", "quick"), [(False, True), (False, False), (True, False)], ids=["quick", "full", "held"]
)


@asynccontextmanager
async def connected(held: bool, quick: bool) -> AsyncIterator[tuple[Recorder, Wire, Upstream]]:
    """A client that takes in only a little by itself."""
    upstream = Upstream()
    async with recorder(upstream, held=held, quick=quick, hold_limit_s=3600.0) as rig:
        client = await dial(rig.port, receive_buffer=4096)
        rig.wires.append(client)
        yield rig, client, upstream


async def answered(rig: Recorder, server: Wire, response: bytes) -> None:
    """The upstream's answer is recorded, and on its way to the client as far as that goes."""
    before = len(rig.journal.exchanges)
    await server.send(response)
    await rig.recorded(before + 1)
    rig.journal.settle(True)


async def all_acknowledged(rig: Recorder) -> None:
    await until(
        lambda: (
            not any(
                unacknowledged(each.transport) or each.transport.get_write_buffer_size()
                for each in rig.clients
            )
        )
    )


def deliveries(rig: Recorder) -> list[tuple[int, int]]:
    assert rig.count(Route.DELIVERY_FAILURES) == len(rig.journal.deliveries)
    return [(each.seq, each.outcome) for each in rig.journal.deliveries]


@WAYS
async def test_a_client_that_resets_with_an_answer_on_its_way_leaves_a_delivery_record(
    held: bool, quick: bool
) -> None:
    async with connected(held, quick) as (rig, client, upstream):
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        sending = asyncio.ensure_future(server.send(LARGE))
        if held:
            await rig.recorded()
            rig.journal.settle(True)
        await until(lambda: rig.journal.exchanges and unacknowledged(rig.clients[0].transport))
        client.reset()
        await rig.nobody()
        await asyncio.wait([sending])
        assert rig.journal.seen[0].outcome is Outcome.COMPLETE
        assert deliveries(rig) == [(1, Outcome.CLIENT_ABORT)]


@WAYS
async def test_a_client_that_resets_with_all_in_hand_leaves_none(held: bool, quick: bool) -> None:
    async with connected(held, quick) as (rig, client, upstream):
        await client.send(POST)
        server = await upstream.accept()
        for number in range(3):
            if number:
                await client.send(POST)
            await server.expect(POST)
            await answered(rig, server, OK)
            await client.expect(OK)
        await all_acknowledged(rig)
        client.reset()
        await rig.nobody()
        assert [each.outcome for each in rig.journal.seen] == [Outcome.COMPLETE] * 3
        assert deliveries(rig) == []


@WAYS
async def test_only_the_answers_that_bytes_are_missing_of_are_named(held: bool, quick: bool) -> None:
    """Small ones arrived; a large one and the small one behind it did not."""
    async with connected(held, quick) as (rig, client, upstream):
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        await answered(rig, server, OK)
        await client.expect(OK)
        await all_acknowledged(rig)
        await client.send(GET + POST)
        await server.expect(GET + POST)
        sending = asyncio.ensure_future(server.send(LARGE + OK))
        await until(lambda: rig.journal.settle(True) or len(rig.journal.exchanges) == 3)
        await until(lambda: unacknowledged(rig.clients[0].transport))
        client.reset()
        await rig.nobody()
        await asyncio.wait([sending])
        assert deliveries(rig) == [(2, Outcome.CLIENT_ABORT), (3, Outcome.CLIENT_ABORT)]


@WAYS
async def test_a_client_that_closes_in_peace_leaves_none(held: bool, quick: bool) -> None:
    async with connected(held, quick) as (rig, client, upstream):
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        await answered(rig, server, OK)
        await client.expect(OK)
        client.close()
        assert await server.ends() == "FIN"
        server.close()
        await rig.nobody()
        assert deliveries(rig) == []


@WAYS
async def test_an_upstream_that_resets_behind_its_answer_takes_none_of_it_along(
    held: bool, quick: bool
) -> None:
    """A slow client still gets every byte, and only then the reset."""
    async with connected(held, quick) as (rig, client, upstream):
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        await answered(rig, server, LARGE)
        server.reset()
        await asyncio.sleep(0.1)
        await client.expect(LARGE)
        assert await client.ends() == "RST"
        await rig.nobody()
        assert deliveries(rig) == []


@WAYS
async def test_the_end_of_grace_resets_at_once_whatever_is_on_its_way(held: bool, quick: bool) -> None:
    """A FIN would make a stream that is cut off look whole."""
    async with connected(held, quick) as (rig, client, upstream):
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        await server.send(SSE + bytes(100_000))
        await until(lambda: unacknowledged(rig.clients[0].transport))
        rig.clients[0].shut_down()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rig.clients == []
        assert await client.ends() == await server.ends() == "RST"
        assert [each.outcome for each in rig.journal.seen] == [Outcome.SHUTDOWN]
        assert deliveries(rig) == []
