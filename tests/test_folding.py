"""`sidecar fold`: files of many pods become one an hour, and nothing that reads them notices."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.archive.commands import Problems
from sidecar.clock import ManualClock
from sidecar.fleet_store import FleetStore
from sidecar.folding import Folding
from sidecar.objects import Store, open_store
from tests.support.commands import sidecar
from tests.support.fleet import MINUTE_US, T0_US, Pod, baseline, row, sample, traffic
from tests.test_watching import outline, watcher

MINUTES = 150
LATER_US = T0_US + 4 * 24 * 60 * MINUTE_US


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pods under one baseline, one sidecar with late exchanges, a shift at minute 100."""
    root = tmp_path_factory.mktemp("folding") / "store"
    root.mkdir()
    store, under = open_store(str(root)), baseline()
    pods = [Pod(f"pod-{number}", under, store) for number in range(3)]
    traffic(pods, MINUTES, lambda minute: 0.6 if minute >= 100 else 0.0, 15)
    late = Pod("late", under, store)
    for minute in range(40):
        late.minute(minute, [(50.0, "north", 0.5)] * 4)
        if minute == 30:
            late.monitor.add(
                [sample(n, T0_US + n * MINUTE_US, (50.0, "west", 0.5), "boot-late") for n in range(9)]
            )
    late.ship(final=True)
    return root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


def drift(root: Path, *arguments: str) -> dict[str, Any]:
    ran = sidecar("drift", "--store", root, "--json", *arguments)
    assert ran.code == 0, ran.err
    found = dict(json.loads(ran.out))
    # A hole that no file names is no news here.
    del found["store"]
    return found


def files(root: Path, below: str = "panes") -> list[Path]:
    return sorted((root / "statistics" / below).rglob("*.parquet"))


def fold(store: Store, now_us: int = LATER_US, remove: bool = True) -> Folding:
    fleet = FleetStore(store)
    folding = Folding(fleet, now_us, Problems())
    for folder in fleet.folders(None):
        folding.folder(folder, remove)
    return folding


def test_drift_says_the_same_of_folds_as_of_files_and_fewer_are_read(store: Path) -> None:
    before, count = drift(store), len(files(store))
    assert before["counted"]["late"] == 9
    ran = sidecar("fold", "--store", store, "--json")
    told = json.loads(ran.out)
    assert (told["files"], told["removed"], told["left"]) == (count, 0, [])
    assert len(files(store, "folds")) == told["folds"] <= 4
    assert drift(store) == before
    told = json.loads(sidecar("fold", "--store", store, "--remove", "--json").out)
    assert (told["folds"], told["removed"]) == (0, count)
    assert files(store) == []
    assert drift(store) == before
    assert before["series"][0]["alarms"]
    assert sidecar("fold", "--store", store).out.startswith("0 files became 0 folds; 0")


def test_a_new_watcher_raises_the_same_alarms_from_folds_alone(store: Path) -> None:
    clock = ManualClock(LATER_US)
    lived = watcher(open_store(str(store)), clock, folder=store)
    lived.look()
    fold(open_store(str(store)))
    assert files(store) == []
    fresh = watcher(open_store(str(store)), clock, name="fresh")
    fresh.look()
    assert outline(fresh) == outline(lived) != []
    (one,), (other,) = lived.runs.values(), fresh.runs.values()
    assert one.assembly.tallied.on_time == other.assembly.tallied.on_time
    assert fresh.look() == 0


class Breaking:
    """A store whose process dies at one of its writes, before or after it is done."""

    def __init__(self, store: Store, at: int, after: bool) -> None:
        self._store, self._left, self._after = store, at, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _write(self, act: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise KeyboardInterrupt
        result = act()
        if self._left < 0:
            raise KeyboardInterrupt
        return result

    def put_new(self, name: str, data: bytes) -> bool:
        return bool(self._write(lambda: self._store.put_new(name, data)))

    def delete(self, name: str) -> None:
        self._write(lambda: self._store.delete(name))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 90), st.booleans())
def test_a_run_that_is_killed_at_any_write_loses_and_repeats_nothing(
    made: Path, tmp_path: Path, at: int, after: bool
) -> None:
    root = tmp_path / "killed"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(made, root)
    before = drift(root)
    for remove in (False, True):
        try:
            fold(Breaking(open_store(str(root)), at, after), remove=remove)
        except KeyboardInterrupt:
            assert drift(root) == before
    fold(open_store(str(root)))
    fold(open_store(str(root)))
    assert files(root) == []
    assert drift(root) == before


class Racing:
    """A store in which another run folds everything just before this one puts its first fold."""

    def __init__(self, store: Store) -> None:
        self._store, self._raced = store, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, name: str, data: bytes) -> bool:
        if not self._raced:
            self._raced = True
            fold(self._store, remove=False)
        return self._store.put_new(name, data)


def test_of_two_runs_at_once_one_holds_and_what_it_left_is_folded_later(store: Path) -> None:
    before = drift(store)
    aside = files(store)[5]
    kept = aside.read_bytes()

    class Late(Racing):
        def put_new(self, name: str, data: bytes) -> bool:
            if not self._raced:
                aside.unlink()
            made = super().put_new(name, data)
            aside.write_bytes(kept)
            return made

    racing = fold(Late(open_store(str(store))), remove=False)
    assert racing.done.folds == 0
    assert drift(store) == before
    fold(open_store(str(store)))
    assert drift(store) == before
    assert files(store) == [aside], "one file alone is no fold's worth"


def test_what_is_uploaded_again_or_later_counts_once(store: Path) -> None:
    before = drift(store)
    everything = {path: path.read_bytes() for path in files(store)}
    late = list(everything)[3:6]
    for path in late:
        path.unlink()
    fold(open_store(str(store)))
    for path, data in everything.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert drift(store) == before
    fold(open_store(str(store)))
    assert drift(store) == before
    assert len(files(store)) <= 1


def test_a_writer_that_counted_again_is_not_folded_and_its_repetition_is_dropped(tmp_path: Path) -> None:
    """The analyst's state was lost at minute 60: the same boot, a new writer, the same minutes again."""
    root = tmp_path / "again"
    root.mkdir()
    store, under = open_store(str(root)), baseline()
    first, other = Pod("a", under, store), Pod("b", under, store)
    import random

    chance = random.Random(1)
    rows = [[row(chance) for _ in range(10)] for _ in range(90)]
    for minute in range(60):
        first.minute(minute, rows[minute])
        other.minute(minute, rows[minute])
    expected = drift(root)["series"][0]["exchanges"]
    fold(open_store(str(root)), remove=False)
    again = Pod("a", under, store)
    for minute in range(40, 90):
        if minute == 40:
            again.clock.advance(40 * 60)
        again.minute(minute, rows[minute])
    again.ship(final=True)
    for _ in range(2):
        found = drift(root)
        assert found["counted"]["recounted"] > 0
        assert found["series"][0]["exchanges"] + found["counted"]["recounted"] == sum(
            found["counted"][name] for name in ("on_time", "late", "overdue", "recounted")
        )
        assert found["series"][0]["exchanges"] > expected
        before = found
        done = fold(open_store(str(root))).done
        assert done.left
        assert drift(root) == before


def test_by_pod_takes_the_files_while_they_are_there_and_says_so_when_not(store: Path) -> None:
    before = drift(store, "--by", "pod")
    fold(open_store(str(store)), remove=False)
    assert drift(store, "--by", "pod") == before
    fold(open_store(str(store)))
    after = drift(store, "--by", "pod")
    told = [
        {pod: each["exchanges"] for pod, each in found["series"][0]["sources"].items()}
        for found in (before, after)
    ]
    assert told[0] == told[1]
    ran = sidecar("drift", "--store", store, "--by", "pod")
    assert "some of the span is folded" in ran.err


def test_hours_that_are_not_over_and_files_that_a_watcher_may_want_stay(store: Path) -> None:
    now_us = T0_US + 100 * MINUTE_US
    done = fold(open_store(str(store)), now_us).done
    assert (done.folds, done.removed) == (0, 0)
    done = fold(open_store(str(store)), T0_US + 24 * 60 * MINUTE_US).done
    assert done.folds > 0
    assert done.removed == 0


def test_a_fold_that_is_damaged_is_told_and_its_files_count_while_they_are_there(store: Path) -> None:
    before = drift(store)
    fold(open_store(str(store)), remove=False)
    damaged = files(store, "folds")[0]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    ran = sidecar("drift", "--store", store, "--json")
    assert ran.code == 1
    assert damaged.name in ran.err
    assert json.loads(ran.out)["series"] == before["series"]


def test_a_file_that_cannot_be_read_is_left_out_of_the_fold_and_told(store: Path) -> None:
    broken = files(store)[2]
    broken.write_bytes(b"PAR1 no such file PAR1")
    ran = sidecar("fold", "--store", store, "--remove")
    assert ran.code == 1
    assert broken.name in ran.err
    assert files(store) == [broken]
