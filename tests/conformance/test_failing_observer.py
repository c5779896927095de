"""Whatever happens to the observer, traffic goes on and the record says what happened."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.counters import Global
from sidecar.proxy.observer import ConnectionObserver
from sidecar.records import Outcome
from tests.support.dialogues import GET, OK, POST
from tests.support.scripted import Upstream, recorder


class Failing:
    """Makes one method of an observer raise at its nth call."""

    def __init__(self, method: str, nth: int, error: Exception) -> None:
        self.method, self.left, self.error = method, nth, error

    def __call__(self, observer: ConnectionObserver) -> ConnectionObserver:
        real = getattr(type(observer), self.method)
        failing = self

        def method(self: ConnectionObserver, *arguments: Any) -> Any:
            failing.left -= 1
            if failing.left == 0:
                raise failing.error
            return real(self, *arguments)

        kind = type("Broken", (type(observer),), {"__slots__": (), failing.method: method})
        observer.__class__ = kind
        return observer


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("boom"), AssertionError()])
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("method", "nth"), [("request_data", 1), ("request_data", 2), ("response_data", 1), ("response_data", 3)]
)
async def test_traffic_goes_on_unread(method: str, nth: int, quick: bool, error: Exception) -> None:
    upstream = Upstream()
    async with recorder(upstream, quick=quick, make=Failing(method, nth, error)) as rig:
        rig.expect_errors = True
        client = await rig.connect()
        for number in range(4):
            await client.send(POST)
            server = upstream.wires[0] if number else await upstream.accept()
            await server.expect(POST)
            await server.send(OK[:10])
            await client.expect(OK[:10])
            await server.send(OK[10:])
            await client.expect(OK[10:])
        client.fin()
        assert await server.ends() == "FIN"
        server.close()
        assert await client.ends() == "FIN"
        assert rig.count(Global.OBSERVER_ERRORS) == 1
        broken = [each for each in rig.journal.seen if each.outcome is Outcome.OPAQUE]
        assert all(each.reason == f"observer failed: {type(error).__name__}" for each in broken)
        assert len(broken) == (0 if (method, nth) in (("request_data", 1), ("request_data", 2)) else 1)


async def test_a_failing_end_of_a_connection_does_not_keep_it_open() -> None:
    upstream = Upstream()
    async with recorder(upstream, make=Failing("closed", 1, KeyError("x"))) as rig:
        rig.expect_errors = True
        client = await rig.connect()
        await client.send(POST)
        server = await upstream.accept()
        client.reset()
        assert await server.ends() == "RST"
        await rig.nobody()
        assert rig.journal.seen[0].outcome is Outcome.OPAQUE


async def test_a_journal_that_raises_does_not_stop_traffic() -> None:
    upstream = Upstream()
    async with recorder(upstream, quick=False) as rig:
        rig.expect_errors = True
        client = await rig.connect()
        rig.journal.broken = OSError("disk")
        await client.send(POST)
        server = await upstream.accept()
        await server.send(OK)
        await client.expect(OK)
        await client.send(GET)
        await server.expect(POST + GET)
        await server.send(OK)
        await client.expect(OK)
        rig.route.slots[64] -= 1  # the one that the journal refused


async def test_a_model_that_cannot_be_looked_at_stops_no_traffic() -> None:
    def fails() -> int:
        raise ValueError("no such answer")

    upstream = Upstream()
    async with recorder(upstream) as rig:
        rig.expect_errors = True
        rig.route.context.watch = fails
        client = await rig.connect()
        await client.send(POST)
        server = await upstream.accept()
        await server.expect(POST)
        await server.send(OK)
        await client.expect(OK)
        assert rig.count(Global.OBSERVER_ERRORS) == 1
