"""Held bytes leave once, in order, and only when policy lets them."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.counters import Route
from sidecar.proxy.hold import ResponseHold
from sidecar.records import Exchange, Outcome
from tests.support.observed import BASE, Route1
from tests.support.scripted import RecordingJournal, until


class Connection:
    """What a hold does to its connection, written down."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def say(self, data: bytes) -> None:
        self.done.append(data)

    def pass_eof(self) -> None:
        self.done.append("FIN")

    def pace_upstream(self) -> None: ...

    def withdraw(self, begun: bool) -> None:
        self.done.append(("withdrawn", begun))


class Held:
    def __init__(self, limit_s: float | None) -> None:
        self.connection = Connection()
        self.journal = RecordingJournal()
        self.route = Route1()
        self.hold = ResponseHold(
            self.connection, asyncio.get_running_loop(), self.route.context, self.journal, limit_s
        )

    @property
    def done(self) -> list[object]:
        return self.connection.done

    def ends(self) -> None:
        self.hold.ended(Exchange("default", 1, "c", 0, 0))

    def count(self, slot: Route) -> int:
        return int(self.route.slots[BASE + slot])


FOREVER_S = 3600.0


@pytest.mark.parametrize("limit_s", [None, FOREVER_S])
async def test_bytes_of_a_running_response_pass_and_its_last_ones_wait(limit_s: float | None) -> None:
    held = Held(limit_s)
    held.hold.data(b"first", False)
    assert held.done == [b"first"]
    held.ends()
    held.hold.data(b"last", True)
    assert held.done == [b"first"]
    held.journal.settle(True)
    assert held.done == [b"first", b"last"]
    assert not held.hold.active
    held.hold.data(b"next", False)
    assert held.done == [b"first", b"last", b"next"]


@pytest.mark.parametrize("limit_s", [None, FOREVER_S])
async def test_pipelined_responses_leave_together_when_all_are_durable(limit_s: float | None) -> None:
    held = Held(limit_s)
    held.ends()
    held.hold.data(b"1", False)
    held.ends()
    held.hold.data(b"2", False)
    held.hold.data(b"3 begins", False)
    first, second = held.journal.waiting
    second(True)
    assert held.done == []
    first(True)
    assert held.done == [b"123 begins"]


async def test_a_fin_waits_behind_the_bytes() -> None:
    held = Held(None)
    held.ends()
    held.hold.eof()
    assert held.done == []
    held.journal.settle(True)
    assert held.done == ["FIN"]


async def test_open_gives_up_waiting_counts_it_and_does_not_delay_what_follows() -> None:
    held = Held(0.001)
    held.ends()
    held.hold.data(b"1", False)
    await until(lambda: held.done)
    assert (held.done, held.count(Route.HELD_EXPIRED)) == ([b"1"], 1)
    held.hold.data(b"a stream's next chunk", False)
    assert held.done == [b"1", b"a stream's next chunk"]
    held.journal.settle(True)
    held.hold.lost()
    assert held.count(Route.HELD_EXPIRED) == 1
    assert held.journal.deliveries == []


async def test_open_lets_what_was_shed_leave() -> None:
    held = Held(FOREVER_S)
    held.ends()
    held.hold.data(b"1", False)
    held.journal.settle(False)
    assert held.done == [b"1"]


@pytest.mark.parametrize("begun", [False, True])
async def test_closed_withdraws_what_was_shed(begun: bool) -> None:
    held = Held(None)
    held.ends()
    held.hold.data(b"1", begun)
    held.journal.settle(False)
    assert held.done == [("withdrawn", begun)]
    assert not held.hold.active


async def test_closed_withdraws_the_fin_of_what_was_shed() -> None:
    held = Held(None)
    held.ends()
    held.hold.eof()
    held.journal.settle(False)
    assert held.done == [("withdrawn", True)]


async def test_a_durable_response_withdrawn_with_its_neighbour_is_followed_by_a_delivery_record() -> None:
    held = Held(None)
    held.ends()
    held.hold.data(b"1", False)
    held.ends()
    held.hold.data(b"2", False)
    first, second = held.journal.waiting
    first(True)
    second(False)
    assert held.done == [("withdrawn", False)]
    assert [(each.seq, each.outcome) for each in held.journal.deliveries] == [(1, Outcome.REFUSED)]


@pytest.mark.parametrize("limit_s", [None, FOREVER_S])
async def test_a_client_that_leaves_while_bytes_are_held_makes_known_which(limit_s: float | None) -> None:
    held = Held(limit_s)
    held.ends()
    held.hold.data(b"1", False)
    held.ends()
    held.hold.data(b"22", False)
    held.journal.waiting[0](True)
    assert held.hold.lost() == (3, {1, 2})
    assert held.hold.lost() == (0, set())
    held.journal.settle(True)
    assert held.done == []


async def test_a_client_that_leaves_with_nothing_held_missed_nothing() -> None:
    held = Held(None)
    held.ends()
    assert held.hold.lost() == (0, set())
    held.journal.settle(True)
    assert held.done == []
