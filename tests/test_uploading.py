"""Two lanes into one store: statistics that are refused hold up no records, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.backoff import Backoff
from sidecar.clock import ManualClock
from sidecar.errors import StoreError
from sidecar.records import Position
from sidecar.shipping.knowledge import Knowledge
from sidecar.shipping.parquet import EncodedBatch
from sidecar.shipping.sink import PutResult
from sidecar.shipping.state import AnalystState
from sidecar.uploading import Uploads

PLAN = ("statistics/plans/p.json", b"plan")
PANES = ("statistics/panes/x.parquet", b"panes")


class Store:
    """Refuses names that begin so."""

    description = "the store"

    def __init__(self) -> None:
        self.refused = "nothing"
        self.taken: list[str] = []
        self.tries: list[str] = []

    def put(self, name: str, data: bytes) -> PutResult:
        self.tries.append(name)
        if name.startswith(self.refused):
            raise StoreError("access denied")
        self.taken.append(name)
        return PutResult.CREATED


class Bench:
    def __init__(self, state: AnalystState) -> None:
        self.state, self.store, self.clock = state, Store(), ManualClock()
        self.released = 0
        self.uploads = Uploads(
            state, self.store, self.clock, Backoff(1.0, 8.0, lambda low, high: high), {}, self._release
        )

    def _release(self) -> None:
        self.released += 1

    def commit(self, number: int, *statistics: tuple[str, bytes]) -> None:
        batch = EncodedBatch(f"records/{number}.parquet", b"rows", number)
        self.state.commit(Knowledge(Position(1, number)), {}, [batch], 5, statistics)
        self.uploads.reload()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    state = AnalystState.open(tmp_path / "analyst")
    yield Bench(state)
    state.close()


def test_everything_is_put_once_and_counted_apart(bench: Bench) -> None:
    bench.commit(1, PLAN, PANES)
    bench.commit(2)
    bench.uploads.ship()
    assert sorted(bench.store.tries) == sorted(["records/1.parquet", "records/2.parquet", PLAN[0], PANES[0]])
    told = bench.state.load().shipping
    assert (told["batches"], told["rows"], told["statistics_batches"]) == (2, 3, 2)
    assert bench.uploads.settled
    assert bench.uploads.next_ns() is None


def test_a_store_that_refuses_statistics_takes_every_record(bench: Bench) -> None:
    bench.store.refused = "statistics/"
    bench.commit(1, PLAN, PANES)
    bench.uploads.ship()
    bench.commit(2)
    bench.uploads.ship()
    assert bench.store.taken == ["records/1.parquet", "records/2.parquet"]
    assert bench.store.tries.count(PLAN[0]) == 1
    assert bench.store.tries.count(PANES[0]) == 0, "in order: panes follow their plan"
    assert (bench.uploads.records.error, bench.uploads.statistics.error) == ("", "access denied")
    assert bench.state.releasable() == Position(1, 2)
    assert bench.uploads.settled, "a shutdown does not wait for what is refused"
    bench.store.refused = "nothing"
    bench.clock.advance(1.0)
    bench.uploads.ship()
    assert bench.store.taken[2:] == [PLAN[0], PANES[0]]
    assert bench.uploads.statistics.error == ""


def test_records_that_are_refused_hold_up_no_statistics(bench: Bench) -> None:
    bench.store.refused = "records/"
    bench.commit(1, PANES)
    bench.uploads.ship()
    assert bench.store.taken == [PANES[0]]
    assert not bench.uploads.settled
    assert bench.uploads.next_ns() == bench.clock.monotonic_ns() + 1_000_000_000
