from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from sidecar.counters import Global, Route
from sidecar.journal import JournalReader, Segment
from sidecar.records import Cut, Delivery, Event, Exchange, Position
from tests.journal.rig import (
    BOOT,
    EPOCH,
    SMALL,
    Rig,
    accounted,
    entries,
    events,
    exchange,
    exchanges,
    gaps,
    read_all,
)


def fields(made: Exchange) -> dict[str, object]:
    values = {name: getattr(made, name) for name in Exchange.__slots__ if name != "start_ns"}
    values["request"] = b"".join(made.request)
    values["response"] = b"".join(made.response)
    return values


async def test_what_is_appended_is_read_back_field_by_field(tmp_path: Path) -> None:
    made = [
        exchange(b"POST / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        exchange(b"", b""),
        exchange(b"q" * 100_000, b"r"),
        exchange(b"q", b"r" * 3_000_000),
        exchange(bytes(range(256)) * 1000, b"tiny" * 20_000, chunk=7),
    ]
    made[2].request_cut = Cut(1 << 40, b"\1" * 32)
    made[3].response_cut = Cut(5, b"\2" * 32)
    made[1].reason = "client reset the connection"
    async with Rig(tmp_path, dataclasses.replace(SMALL, volume_bytes=8 << 20)) as rig:
        assert all(await rig.record(*made))
        expected = [fields(e) for e in made]
    found = read_all(tmp_path)
    assert [fields(e) for e in exchanges(found)] == expected
    assert all(len(e.request) == len(e.response) == 1 for e in exchanges(found))
    assert accounted(found) == len(made)


async def test_numbers_are_contiguous_per_route_and_counted(tmp_path: Path) -> None:
    async with Rig(tmp_path, routes=("a", "b")) as rig:
        await rig.record(*[exchange(route="ab"[i % 3 == 0]) for i in range(30)])
        for route, count in (("a", 20), ("b", 10)):
            assert rig.counters.route(route, Route.ENDED) == count
            assert rig.counters.route(route, Route.COMMITTED_SEQ) == count
            assert rig.counters.route(route, Route.OUTCOME) == count
    found = read_all(tmp_path)
    assert accounted(found, route="a") == 20
    assert accounted(found, route="b") == 10


async def test_each_volume_starts_with_a_preamble_that_lets_it_be_read_alone(tmp_path: Path) -> None:
    second = dataclasses.replace(EPOCH, number=2)
    async with Rig(tmp_path) as rig:
        await rig.record(exchange())
        rig.writer.epoch(second)
        for _ in range(6):
            await rig.record(exchange(b"q" * 400_000, b"r" * 200_000))
    firsts: dict[int, Segment] = {}
    for segment in read_all(tmp_path):
        assert isinstance(segment, Segment)
        firsts.setdefault(segment.position.volume, segment)
    assert len(firsts) > 1
    for number, segment in firsts.items():
        event = segment.entries[0]
        assert isinstance(event, Event)
        assert event.name == "volume"
        assert event.details["boot"] == BOOT
        assert event.details["volume"] == number
        assert segment.entries[1:] == ([EPOCH] if number == 1 else [EPOCH, second])


async def test_one_turn_of_the_loop_is_one_commit(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.record(exchange())
        before = rig.counters.get(Global.COMMITS)
        await rig.record(*[exchange() for _ in range(50)])
        assert rig.counters.get(Global.COMMITS) == before + 1


async def test_without_a_waiter_the_interval_commits(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.begin()
        rig.writer.append(exchange())
        assert rig.writer.pending_bytes > 0
        await rig.until(lambda: rig.counters.route("default", Route.COMMITTED_SEQ) == 1)
        await rig.until(lambda: rig.writer.pending_bytes == 0)


async def test_appends_beyond_the_pending_limit_are_shed_and_counted(tmp_path: Path) -> None:
    limits = dataclasses.replace(SMALL, pending_bytes=1 << 20)
    async with Rig(tmp_path, limits) as rig:
        made = [exchange(b"q" * 20_000) for _ in range(200)]
        results = await rig.record(*made)
        assert 40 < sum(results) < 60
        assert [each.seq > 0 for each in made] == results, "no number to refer to without a record"
        assert rig.counters.route("default", Route.SHED) == 200 - sum(results)
        await rig.record(exchange())
        assert rig.writer.accepting
        assert rig.writer.pending_bytes == 0
    found = read_all(tmp_path)
    assert accounted(found) == 201
    assert [g.reason for g in gaps(found)] == ["journal_overload"]
    assert gaps(found)[0].count == 200 - sum(results)


async def test_shed_exchanges_become_gaps_before_any_later_exchange(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.append(exchange())
        for t_us in (500, 300, 900):
            rig.begin()
            rig.writer.shed("default", "splice_only", t_us)
        rig.begin()
        rig.writer.shed("default", "other", 1000)
        await rig.record(exchange())
        assert rig.counters.route("default", Route.SHED) == 4
    found = read_all(tmp_path)
    assert accounted(found) == 6
    assert [(g.first_seq, g.count, g.t_from_us, g.t_to_us, g.reason) for g in gaps(found)] == [
        (2, 3, 300, 900, "splice_only"),
        (5, 1, 1000, 1000, "other"),
    ]


async def test_a_gap_that_goes_on_is_written_without_waiting_for_an_exchange(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.begin()
        rig.writer.shed("default", "splice_only", 5)
        await rig.until(lambda: rig.counters.route("default", Route.COMMITTED_SEQ) == 1)


async def test_deliveries_and_events_are_recorded_in_order(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.record(exchange())
        rig.writer.delivery(Delivery("default", 1, 99, 1))
        rig.writer.event(Event("splice_only", 100, {"on": True}))
    assert entries(read_all(tmp_path))[-2:] == [
        Delivery("default", 1, 99, 1),
        Event("splice_only", 100, {"on": True}),
    ]


async def test_close_commits_what_is_pending_and_closes_the_volume(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        for _ in range(10):
            rig.append(exchange())
        rig.begin()
        rig.writer.shed("default", "shutdown", 1)
    assert accounted(read_all(tmp_path)) == 11
    assert rig.counters.get(Global.VOLUME_CLOSED) == 1
    assert rig.counters.get(Global.VOLUME_CURRENT) == 0


async def test_what_cannot_be_packed_is_shed_with_what_msgpack_forgot_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    async with Rig(tmp_path) as rig:
        kept = rig.append(exchange())
        rig.begin()
        rig.writer.shed("default", "splice_only", 5)
        rig.writer.event(Event("kept", 1))
        bad = exchange()
        bad.client = "\udcff"
        lost = rig.append(bad)
        rig.begin()
        assert [await kept, await lost] == [False, False]
        good = exchange()
        rig.writer.append(good)
        assert good.seq == 4
        assert rig.counters.route("default", Route.SHED) == 3
    found = read_all(tmp_path)
    assert accounted(found) == 4
    assert len(exchanges(found)) == 1
    assert len(events(found, "kept")) == 1


async def test_an_old_volume_is_closed_so_that_it_can_be_unlinked(tmp_path: Path) -> None:
    limits = dataclasses.replace(SMALL, volume_age_s=0.05)
    async with Rig(tmp_path, limits) as rig:
        await rig.record(exchange())
        await rig.until(lambda: rig.counters.get(Global.VOLUME_CLOSED) == 1)
        await rig.record(exchange())
        assert rig.counters.get(Global.VOLUME_CURRENT) == 2
    assert accounted(read_all(tmp_path)) == 2


async def test_a_waiter_that_fails_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    def fail(_: bool) -> None:
        raise ValueError("waiter")

    async with Rig(tmp_path) as rig:
        rig.begin()
        rig.writer.append(exchange(), fail)
        assert await rig.record(exchange()) == [True]


@pytest.mark.parametrize("size", [16 << 20, 100 << 20])
async def test_bodies_far_larger_than_a_part_are_kept_whole(tmp_path: Path, size: int) -> None:
    limits = dataclasses.replace(
        SMALL, max_bytes=1 << 30, volume_bytes=256 << 20, pending_bytes=256 << 20, body_limit=128 << 20
    )
    body = bytes(range(251)) * (size // 251)
    async with Rig(tmp_path, limits) as rig:
        assert all(await rig.record(exchange(), exchange(body, b"r"), exchange()))
    found = exchanges(read_all(tmp_path))
    assert [e.seq for e in found] == [1, 2, 3]
    assert found[1].request[0] == body


async def test_the_reader_in_the_same_process_follows_a_live_writer(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        reader = JournalReader(tmp_path, BOOT)
        after = Position(0, 0)
        seen = 0
        for _ in range(20):
            await rig.record(*[exchange(b"q" * 30_000) for _ in range(10)])
            await asyncio.sleep(0)
            for result in reader.read(after, 1 << 20):
                assert isinstance(result, Segment)
                seen += sum(isinstance(e, Exchange) for e in result.entries)
                after = result.position
        while results := reader.read(after, 1 << 20):
            seen += sum(isinstance(e, Exchange) for r in results if isinstance(r, Segment) for e in r.entries)
            after = results[-1].position
        assert seen == 200
        assert reader.backlog() == (0, 0)
        reader.close()


async def test_a_full_queue_is_known_at_once_and_whole_exchanges_are_told_their_number(
    tmp_path: Path,
) -> None:
    """Policy closed asks before each request; much may arrive between two commits."""
    rig = Rig(tmp_path)
    async with rig:
        whole = rig.writer.whole_appender("default")
        numbers = []
        while rig.writer.accepting:
            rig.begin()
            numbers.append(whole(1, "client", 1, 0, 0, 0, 0, b"q" * 30_000, b"r" * 30_000))
        assert numbers == list(range(1, len(numbers) + 1)), "none was shed before the writer said no"
        assert rig.writer.pending_bytes <= SMALL.pending_bytes
        while number := whole(1, "client", 1, 0, 0, 0, 0, b"q" * 30_000, b"r" * 30_000):
            numbers.append(number)
            rig.begin()
        rig.begin()
        await rig.until(lambda: rig.writer.accepting)
