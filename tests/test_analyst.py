"""Exactly once, from journal to store, whatever dies or refuses in between."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.analyst import Analyst, Limits
from sidecar.backoff import Backoff
from sidecar.clock import ManualClock, SystemClock
from sidecar.errors import JournalFull, StoreError
from sidecar.fleet.pane_file import read as read_panes
from sidecar.intake import KEPT_BYTES, LARGE_BYTES
from sidecar.journal.reader import JournalReader, Segment
from sidecar.journal.writer import JournalWriter
from sidecar.records import Delivery, Epoch, Event, Exchange, Observation, Outcome, Position, Sample
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.knowledge import START
from sidecar.shipping.sink import PutResult
from sidecar.shipping.state import AnalystState
from sidecar.statistics.monitor import Monitor
from sidecar.suspects import HOPELESS, Suspects
from tests.support.analyst_child import POINTS, TOLD
from tests.support.journaled import BOOT, EPOCH, START_US, CountingMonitor, analysis, exchange, fill
from tests.support.sealing import sealer_of
from tests.support.stored import sequence_numbers, stored_rows

COUNT = 3_000
SECOND = 1_000_000_000
SMALL = Limits(batch_bytes=256 * 1024)


class Bench:
    """A journal, a store and an analyst between them that can be thrown away and made anew."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.store = folder / "store"
        self.clock = ManualClock(wall_us=START_US)
        self.sink = RefusingSink(DirectorySink(self.store, create=True))
        self.state: AnalystState | None = None

    def analyst(
        self,
        trap: Callable[[bytes], None] = lambda body: None,
        limits: Limits = SMALL,
    ) -> Analyst:
        self.journal.mkdir(exist_ok=True)
        self.state = AnalystState.open(self.journal / "analyst")
        return Analyst(
            JournalReader(self.journal, BOOT),
            self.state,
            self.sink,
            analysis(trap),
            sealer_of(BOOT, self.clock),
            Suspects(self.journal / "analyst-marker.bin"),
            limits,
            self.clock,
            backoff=Backoff(first_s=1.0, cap_s=8.0, uniform=lambda low, high: high),
            sleep=self.clock.advance,
        )

    def run(self, analyst: Analyst, steps: int = 200) -> None:
        """Step with time passing, so that ages and back-offs are reached."""
        for _ in range(steps):
            self.clock.advance(analyst.step() and 1.0)

    def monitor(self) -> CountingMonitor:
        assert self.state is not None
        (state,) = self.state.load().monitors.values()
        return CountingMonitor.restore(state)


class RefusingSink:
    """Passes puts on, or refuses them while `refusal` is set."""

    def __init__(self, inner: DirectorySink) -> None:
        self._inner = inner
        self.refusal = ""
        self.puts: list[str] = []

    description = "the store"

    def put(self, name: str, data: bytes) -> PutResult:
        self.puts.append(name)
        if self.refusal:
            raise StoreError(self.refusal)
        return self._inner.put(name, data)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_every_exchange_of_the_journal_is_stored_once_and_counted_once(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    bench.run(bench.analyst())
    assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))
    assert bench.monitor().count == COUNT
    assert bench.monitor().total == sum(range(1, COUNT + 1))


def test_a_row_holds_what_was_on_the_wire(bench: Bench) -> None:
    fill(bench.journal, [exchange(1, b'{"n": 1, "kind": "a"}', b'{"score": 0.5}')])
    bench.run(bench.analyst())
    (row,) = [row for row in stored_rows(bench.store) if row["kind"] == "exchange"]
    assert row["record_id"] == f"{BOOT}.default.1"
    assert (row["method"], row["path"], row["status"]) == ("POST", "/predict?v=1", 200)
    assert row["request_head"].startswith(b"POST /predict?v=1 HTTP/1.1\r\nHost: model\r\n")
    assert (row["request_body"], row["response_body"]) == (b'{"n": 1, "kind": "a"}', b'{"score": 0.5}')
    assert row["t_first_byte_us"] - row["t_request_us"] == 500
    assert row["t_end_us"] - row["t_request_us"] == 750
    assert (row["model"], row["image_digest"]) == ("mortgage", "sha256:" + "ab" * 32)
    assert (row["inputs"], row["outputs"]) == ('{"n":[1],"kind":["a"]}', '{"score":[0.5]}')
    assert (row["decoder"], row["decode_error"], row["outcome"]) == ("plain_json", None, "complete")


@pytest.mark.faults
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_at_any_step_loses_and_doubles_nothing(bench: Bench, point: str, nth: int) -> None:
    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    assert child(bench, point, nth) == -signal.SIGKILL
    assert child(bench, "none", 0) == 0
    assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))
    bench.state = AnalystState.open(bench.journal / "analyst")
    assert bench.monitor().count == COUNT
    assert bench.monitor().total == sum(range(1, COUNT + 1))
    assert bench.state.pending() == []


@pytest.mark.faults
def test_kills_at_random_steps_again_and_again_lose_and_double_nothing(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    chance = random.Random(7)
    for _ in range(12):
        if child(bench, chance.choice(POINTS), chance.randint(1, 3)) == 0:
            break
    assert child(bench, "none", 0) == 0
    assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))
    bench.state = AnalystState.open(bench.journal / "analyst")
    assert bench.monitor().total == sum(range(1, COUNT + 1))


@pytest.mark.faults
@pytest.mark.parametrize("point", ["encode", "commit", "committed", "put", "put_done", "dropped"])
def test_a_kill_at_any_step_leaves_panes_in_the_store_that_are_exact(bench: Bench, point: str) -> None:
    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    for nth in (2, 1):
        assert child(bench, point, nth, "", "panes") == -signal.SIGKILL
    assert child(bench, "none", 0, "", "panes") == 0
    files = [
        read_panes(path.name, path.read_bytes())
        for path in bench.store.rglob("statistics/panes/**/*.parquet")
    ]
    stored: dict[str, Any] = {}
    for file in files:
        for pane in file.panes:
            for tally, counts in pane.counts.items():
                stored[tally] = stored.get(tally, 0) + counts
    monitor = Monitor(TOLD)
    values = [(number, f"k{number % 7}", number * 0.5) for number in range(1, COUNT + 1)]
    monitor.add(
        [
            Sample(
                f"r{n}",
                START_US + n * 1_000,
                200,
                0,
                750,
                Observation("x", 1, {"n": [n], "kind": [k]}, {"score": [s]}),
            )
            for n, k, s in values
        ]
    )
    plan = monitor.plan
    assert plan is not None
    assert {file.facts.plan for file in files} == {plan.digest}
    totals = sum((pane.vector for pane in monitor.take_closed(everything=True)), plan.empty())
    assert {name: counts.tolist() for name, counts in stored.items()} == {
        tally.name: plan.part(totals, tally.name).tolist() for tally in plan.tallies
    }


@pytest.mark.faults
def test_an_exchange_that_kills_the_analyst_twice_is_stored_undecoded_and_the_rest_goes_on(
    bench: Bench,
) -> None:
    def bodies(number: int) -> Exchange:
        return exchange(number, b'{"n": 5, "boom": 1}') if number in (700, 1_500) else exchange(number)

    fill(bench.journal, map(bodies, range(1, COUNT + 1)))
    codes = [child(bench, "none", 0, "boom") for _ in range(5)]
    assert codes == [-signal.SIGKILL] * 4 + [0]
    assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))
    undecoded = [row for row in stored_rows(bench.store) if row["decode_error"]]
    assert [row["seq"] for row in undecoded] == [700, 1_500]
    assert {row["decode_error"] for row in undecoded} == {"killed the analyst twice"}
    state = AnalystState.open(bench.journal / "analyst")
    assert state.load().totals["decode_killed"] == 2


def child(bench: Bench, point: str, nth: int, trap: str = "", panes: str = "") -> int:
    command = [
        sys.executable,
        "-m",
        "tests.support.analyst_child",
        str(bench.journal),
        str(bench.store),
        BOOT,
    ]
    return subprocess.run([*command, point, str(nth), trap, panes], check=False, timeout=60).returncode


def test_a_store_that_refuses_is_tried_until_it_takes_everything(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    analyst = bench.analyst()
    bench.sink.refusal = "no such directory"
    bench.run(analyst, 60)
    assert stored_rows(bench.store) == []
    assert analyst.snapshot.store_error == "no such directory"
    assert analyst.snapshot.pending > 0
    tried = len(bench.sink.puts)
    assert 3 < tried < 60
    bench.sink.refusal = ""
    bench.run(analyst)
    assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))
    assert analyst.snapshot.store_error == ""
    assert analyst.snapshot.pending == 0


def test_while_the_store_refuses_only_a_few_batches_wait_and_the_journal_keeps_the_rest(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, 12_001)))
    analyst = bench.analyst(limits=Limits(batch_bytes=64 * 1024))
    bench.sink.refusal = "gone"
    bench.run(analyst, 300)
    assert 0 < analyst.snapshot.pending <= 8, "four commits of at most two files each"
    assert analyst.snapshot.totals["exchanges"] < 12_000
    bench.sink.refusal = ""
    bench.run(analyst, 2_000)
    assert sequence_numbers(bench.store) == list(range(1, 12_001))


def test_a_state_without_room_makes_batches_smaller_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    analyst = bench.analyst(limits=Limits(batch_bytes=2 << 20))
    assert bench.state is not None
    commit = bench.state.commit
    refused = []

    def full(known: object, monitors: object, batches: list[object], *rest: object) -> None:
        if sum(each.records for each in batches) > 600:  # type: ignore[attr-defined]
            refused.append(len(batches))
            raise JournalFull("no space")
        commit(known, monitors, batches, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.state, "commit", full)
    bench.run(analyst, 400)
    assert refused
    assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))
    assert bench.monitor().total == sum(range(1, COUNT + 1))


def test_finish_ships_the_tail_before_its_age(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, 11)))
    analyst = bench.analyst()
    analyst.step()
    assert sequence_numbers(bench.store) == []
    assert analyst.finish(bench.clock.monotonic_ns() + SECOND)
    assert sequence_numbers(bench.store) == list(range(1, 11))


def test_finish_goes_on_trying_until_its_deadline(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, 101)))
    analyst = bench.analyst()
    bench.sink.refusal = "refused"
    refuse = bench.sink.put

    def put(name: str, data: bytes) -> PutResult:
        if len(bench.sink.puts) == 2:
            bench.sink.refusal = ""
        return refuse(name, data)

    bench.sink.put = put  # type: ignore[method-assign]
    assert analyst.finish(bench.clock.monotonic_ns() + 10 * SECOND)
    assert len(bench.sink.puts) == 4, "two refusals, then two files"
    assert sequence_numbers(bench.store) == list(range(1, 101))


def test_finish_gives_up_on_a_store_that_refuses_and_the_next_life_ships(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, 11)))
    analyst = bench.analyst()
    bench.sink.refusal = "gone"
    assert not analyst.finish(bench.clock.monotonic_ns() + SECOND)
    bench.sink.refusal = ""
    assert bench.state is not None
    bench.state.close()
    assert bench.analyst().finish(bench.clock.monotonic_ns() + SECOND)
    assert sequence_numbers(bench.store) == list(range(1, 11))


def test_what_goes_on_killing_the_analyst_is_stored_without_its_bodies(bench: Bench) -> None:
    body = b'{"n": 2, "text": "' + b"x" * 300_000 + b'"}'
    made = [exchange(1), exchange(2, body), exchange(3)]
    fill(bench.journal, made)
    (segment,) = [
        segment
        for segment in JournalReader(bench.journal, BOOT).read(START, 1 << 30)
        if isinstance(segment, Segment) and any(isinstance(entry, Exchange) for entry in segment.entries)
    ]
    at = [isinstance(entry, Exchange) and entry.seq == 2 for entry in segment.entries].index(True)
    for _ in range(HOPELESS):
        dying = Suspects(bench.journal / "analyst-marker.bin")
        dying.decoding(segment.position.segment, at)
        dying.close()
    bench.run(bench.analyst())
    rows = {row["seq"]: row for row in stored_rows(bench.store) if row["kind"] == "exchange"}
    assert sorted(rows) == [1, 2, 3]
    assert [seq for seq, row in rows.items() if row["decode_error"]] == [2]
    assert rows[2]["request_body"] == body[:KEPT_BYTES]
    assert rows[2]["request_body_length"] == len(body)
    assert rows[2]["request_body_sha256"] == hashlib.sha256(body).digest()


def test_after_deaths_at_encoding_large_bodies_are_not_kept(bench: Bench) -> None:
    fill(bench.journal, [exchange(1), exchange(2, b'{"n": 2, "text": "' + b"x" * LARGE_BYTES + b'"}')])
    for _ in range(HOPELESS):
        dying = Suspects(bench.journal / "analyst-marker.bin")
        dying.encoding()
        dying.close()
    bench.run(bench.analyst())
    rows = {row["seq"]: row for row in stored_rows(bench.store) if row["kind"] == "exchange"}
    assert {seq: len(row["request_body"]) for seq, row in rows.items()} == {1: 19, 2: KEPT_BYTES}


def test_statistics_of_another_version_begin_anew_and_keep_nothing_from_being_shipped(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    fill(bench.journal, map(exchange, range(1, 11)))
    bench.analyst()
    assert bench.state is not None
    bench.state.commit(bench.state.load(), {("default", EPOCH.digest): b"of another version"}, [])
    bench.state.close()
    bench.run(bench.analyst())
    assert sequence_numbers(bench.store) == list(range(1, 11))
    assert bench.monitor().count == 10
    assert "begin anew" in caplog.text


def test_finish_does_not_take_a_wait_for_the_journals_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench.journal, map(exchange, range(1, 11)))
    analyst = bench.analyst()
    assert bench.state is not None

    def full(*_: object) -> None:
        raise JournalFull("no space")

    monkeypatch.setattr(bench.state, "commit", full)
    assert not analyst.finish(bench.clock.monotonic_ns() + SECOND)


def test_gaps_deliveries_and_events_become_rows(bench: Bench) -> None:
    def also(writer: JournalWriter) -> None:
        writer.shed("default", "journal_overload", START_US + 50_000)
        writer.shed("default", "journal_overload", START_US + 60_000)
        writer.delivery(Delivery("default", 2, START_US + 70_000, Outcome.CLIENT_ABORT))
        writer.event(Event("clock_step", START_US + 80_000, {"seconds": -3.5}))

    fill(bench.journal, map(exchange, range(1, 4)), also=also)
    analyst = bench.analyst()
    bench.run(analyst)
    rows = stored_rows(bench.store)
    (gap,) = [row for row in rows if row["kind"] == "gap"]
    assert (gap["seq"], gap["count"], gap["reason"]) == (4, 2, "journal_overload")
    (delivery,) = [row for row in rows if row["kind"] == "delivery"]
    assert (delivery["record_id"], delivery["outcome"]) == (f"{BOOT}.default.2-delivery", "client_abort")
    steps = [row for row in rows if row["kind"] == "event" and row["reason"] == "clock_step"]
    assert [row["details"] for row in steps] == ['{"seconds":-3.5}']
    assert len({row["record_id"] for row in rows}) == len(rows)
    assert analyst.snapshot.totals["gap_exchanges/journal_overload"] == 2


def test_rows_of_two_routes_models_and_dates_go_to_files_of_their_own(bench: Bench) -> None:
    epochs = [Epoch("default", 1, "mortgage", "sha256:" + "ab" * 32), Epoch("b", 1, "rates/v2")]
    late = exchange(3)
    late.t_request_us += 86_400_000_000
    fill(bench.journal, [exchange(1), exchange(2, route="b"), late], routes=("default", "b"), epochs=epochs)
    bench.run(bench.analyst())
    folders = {str(path.parent.relative_to(bench.store)) for path in bench.store.rglob("*.parquet")}
    digest = "digest=sha256-" + "ab" * 32
    assert {
        f"records/model=mortgage/{digest}/date=2026-11-23",
        f"records/model=mortgage/{digest}/date=2026-11-24",
    } <= (folders)
    assert "records/model=rates%2Fv2/digest=unknown/date=2026-11-23" in folders


def test_the_first_batch_is_filed_under_the_model_that_its_volume_names(bench: Bench) -> None:
    first = exchange(1)
    first.epoch, first.t_request_us = 0, SystemClock().wall_us()
    fill(bench.journal, [first], epochs=[Epoch("default", 0, "mortgage")])
    bench.run(bench.analyst())
    folders = {path.relative_to(bench.store).parts[1] for path in bench.store.rglob("*.parquet")}
    assert folders == {"model=mortgage"}


def test_exchanges_that_no_decoder_reads_are_stored_with_the_reason(bench: Bench) -> None:
    refused = exchange(2)
    refused.outcome = Outcome.OPAQUE
    refused.reason = "bad header"
    refused.request = [b"GARBAGE \x00\x01"]
    refused.request_bytes = len(refused.request[0])
    fill(bench.journal, [exchange(1, b"not json"), refused])
    bench.run(bench.analyst())
    first, second = sorted(
        (row for row in stored_rows(bench.store) if row["kind"] == "exchange"), key=lambda row: row["seq"]
    )
    assert first["decode_error"].startswith("not JSON")
    assert (second["outcome"], second["reason"], second["request_body"]) == (
        "opaque",
        "bad header",
        b"GARBAGE \x00\x01",
    )
    assert (second["decoder"], second["decode_error"], second["method"]) == (None, None, None)


def test_a_decoder_that_runs_out_of_memory_leaves_the_exchange_stored_undecoded(bench: Bench) -> None:
    def trap(body: bytes) -> None:
        if b'"n":2,' in body:
            raise MemoryError

    fill(bench.journal, map(exchange, range(1, 4)))
    bench.run(bench.analyst(trap))
    errors = {
        row["seq"]: row["decode_error"] for row in stored_rows(bench.store) if row["kind"] == "exchange"
    }
    assert errors == {1: None, 2: "out of memory while decoding", 3: None}


def test_a_break_in_the_sequence_numbers_is_said_in_the_store(bench: Bench, tmp_path: Path) -> None:
    fill(bench.journal, map(exchange, range(1, 11)))
    analyst = bench.analyst()
    read = JournalReader(bench.journal, BOOT).read(START, 1 << 30)
    segments = [segment for segment in read if isinstance(segment, Segment)]
    for segment in segments:
        segment.entries[:] = [
            entry
            for entry in segment.entries
            if not isinstance(entry, Exchange) or entry.seq not in (4, 5, 6)
        ]
    analyst._tail = ListTail(segments)
    bench.run(analyst)
    (gap,) = [row for row in stored_rows(bench.store) if row["kind"] == "gap"]
    assert (gap["seq"], gap["count"], gap["reason"]) == (4, 3, "journal_damaged")
    assert sequence_numbers(bench.store) == [1, 2, 3, 7, 8, 9, 10]


class ListTail:
    """A journal that was read before."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments

    def read(self, after: Position, max_bytes: int) -> list[Segment]:
        segments, self._segments = self._segments, []
        return segments

    def release(self, position: Position) -> list[int]:
        return []


def test_volumes_are_released_only_when_their_records_are_in_the_store(bench: Bench) -> None:
    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    analyst = bench.analyst()
    bench.sink.refusal = "gone"
    bench.run(analyst, 30)
    assert list(bench.journal.glob("volume-*.lmdb"))
    bench.sink.refusal = ""
    bench.run(analyst)
    assert list(bench.journal.glob("volume-*.lmdb")) == []
    assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))


@pytest.mark.root
@pytest.mark.faults
def test_a_state_on_a_full_disk_is_written_once_there_is_room_and_nothing_is_lost(
    bench: Bench, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root to mount a tmpfs")
    try:
        bench.journal = disk / "journal"
        noise = random.Random(3)

        def incompressible(number: int) -> Exchange:
            return exchange(number, b'{"n":%d,"x":"%s"}' % (number, noise.randbytes(600).hex().encode()))

        fill(bench.journal, map(incompressible, range(1, COUNT + 1)))
        analyst = bench.analyst(limits=Limits(batch_bytes=2 << 20))
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        bench.run(analyst, 40)
        assert analyst.snapshot.state_error
        assert sequence_numbers(bench.store) == []
        ballast.unlink()
        bench.run(analyst, 400)
        assert analyst.snapshot.state_error == ""
        assert sequence_numbers(bench.store) == list(range(1, COUNT + 1))
        assert bench.monitor().total == sum(range(1, COUNT + 1))
        assert bench.state is not None
        bench.state.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_panes_close_while_the_journal_is_read_without_a_pause_and_by_the_time_of_the_traffic(
    bench: Bench,
) -> None:
    told: list[tuple[int, int]] = []

    class Timed(CountingMonitor):
        def advance(self, now_us: int) -> None:
            told.append((now_us, self.count))

    fill(bench.journal, map(exchange, range(1, COUNT + 1)))
    bench.clock.advance(3600.0)
    bench.journal.mkdir(exist_ok=True)
    analyst = bench.analyst()
    analyst._intake.statistics._new_monitor = lambda key: Timed()
    for _ in range(3):
        assert analyst.step() == 0.0
    reached = [(now_us, count) for now_us, count in told if now_us < START_US + COUNT * 1_000]
    assert reached, "nothing was said before the end"
    for now_us, count in reached:
        assert count >= (now_us - START_US) // 1_000 - 1, "a pane closed before its traffic was counted"
