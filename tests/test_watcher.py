"""A watcher over stores that fail it, of several series, and what it tells of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.clock import ManualClock
from sidecar.errors import StoreError
from sidecar.fleet.assembly import Assembled
from sidecar.fleet.pane_file import Series
from sidecar.fleet.sums import Sum
from sidecar.objects import Store, open_store
from sidecar.records import Epoch
from sidecar.series_run import SeriesRun
from sidecar.statistics.monitor import Monitor
from sidecar.statistics.plan import Plan
from sidecar.statistics.watch_spec import WatchSpec
from tests.support.commands import sidecar
from tests.support.fleet import MINUTE_US, SETTINGS, T0_US, Pod, baseline, row, sample, traffic
from tests.test_watching import SINCE, outline, scraped, watcher


class Unsteady:
    """A store that lists and does not answer further while it is `away`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, name: str) -> bytes:
        if self.away and name.endswith(".parquet"):
            raise StoreError("no answer in time")
        return self._store.get(name)


def test_files_that_a_store_did_not_give_are_taken_once_it_does(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    traffic([Pod("a", baseline(), open_store(str(root)))], 30, lambda minute: 1.0 if minute >= 10 else 0.0)
    unsteady = Unsteady(open_store(str(root)))
    clock = ManualClock(T0_US + 200 * MINUTE_US)
    waiting = watcher(unsteady, clock)
    with pytest.raises(StoreError, match="no answer"):
        waiting.look()
    assert (waiting.health.looked_us, waiting.health.unreadable) == (0, 0)
    unsteady.away = False
    clock.advance(30)
    assert waiting.look() == len(list(root.rglob("*.parquet")))
    lived = watcher(open_store(str(root)), clock, name="other")
    lived.look()
    assert outline(waiting) == outline(lived) != []


@pytest.mark.parametrize("spoil", [Path.unlink, lambda plan: plan.write_bytes(b"{}")])
def test_a_plan_that_is_lost_keeps_no_other_model_from_being_watched(
    tmp_path: Path, spoil: Callable[[Path], object], capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "store"
    root.mkdir()
    opened = open_store(str(root))
    pods = [Pod("a", baseline(0), opened, "kept"), Pod("b", baseline(1), opened, "lost")]
    traffic(pods, 12)
    (plan,) = [name for name, _ in pods[1].objects if "/plans/" in name]
    assert sidecar("watch", "--store", root, "--once", *SINCE).code == 0
    spoil(root / plan)
    for name in ("watch", "new"):
        assert sidecar("watch", "--store", root, "--once", "--name", name, *SINCE).code == 0
        assert plan in capfd.readouterr().err
    clock = ManualClock(T0_US + 60 * MINUTE_US)
    made = watcher(opened, clock)
    made.look()
    assert [series.model for series in made.runs] == ["kept"]
    files = sum(name.endswith(".parquet") for name, _ in pods[1].objects)
    assert made.health.unreadable == files
    assert made.look() == 0
    assert made.health.unreadable == files


def two_models(root: Path) -> list[Path]:
    """One sidecar with two routes; the files it shipped, in order."""
    root.mkdir()
    opened = open_store(str(root))
    pod, digest = Pod("a", baseline(0), opened), "sha256:" + "cd" * 32
    pod.monitors["b", digest] = Monitor(SETTINGS, baseline(1))
    pod.known.epochs["boot-a", "b", 1] = Epoch("b", 1, "other", digest, None, "flag", T0_US)
    chance = random.Random(3)
    for minute in range(21):
        for monitor in pod.monitors.values():
            start = T0_US + minute * MINUTE_US
            monitor.add([sample(minute * 10 + n, start + n * 1000, row(chance)) for n in range(10)])
        pod.clock.advance(60)
        pod.ship()
    return [root / name for name, _ in pod.objects if name.endswith(".parquet")]


def test_files_of_one_sidecar_with_two_models_are_missing_only_when_they_are(tmp_path: Path) -> None:
    files = two_models(tmp_path / "store")
    store = open_store(str(tmp_path / "store"))
    clock = ManualClock(T0_US + 60 * MINUTE_US)
    assert len(files) >= 8

    def missing(*arguments: str) -> object:
        ran = sidecar("drift", "--store", tmp_path / "store", "--json", *arguments)
        return json.loads(ran.out)["missing_files"]

    made = watcher(store, clock)
    made.look()
    assert len(made.runs) == 2
    assert (made.missing_files, missing()) == (0, 0)
    files[3].unlink()
    made = watcher(store, clock, name="other")
    made.look()
    assert (made.missing_files, missing()) == (1, 1)
    assert missing("--model", "mortgage") is None


def test_series_beyond_the_limit_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_models(tmp_path / "store")
    monkeypatch.setattr("sidecar.watcher.MOST_SERIES", 1)
    made = watcher(open_store(str(tmp_path / "store")), ManualClock(T0_US + 60 * MINUTE_US))
    for _ in range(2):
        made.look()
        assert (len(made.runs), made.health.left_out_series) == (1, 1)
    assert "sidecar_watch_left_out_series 1.0" in scraped(made)


def test_panes_that_do_not_fit_their_plan_are_told() -> None:
    run = SeriesRun(Series("m", "", "", MINUTE_US), Plan(baseline(), WatchSpec()), 0)
    odd = Sum(5, {"no such tally": np.array([1])})
    assert run.step(Assembled(T0_US, MINUTE_US, odd)) == []
    assert run.assembly.tallied.refused == 5


def test_two_plans_of_one_model_share_its_budget_and_a_late_one_begins_where_the_other_is(
    tmp_path: Path,
) -> None:
    """Two routes with baselines of their own; `drift` divides as `watch` does, over restarts."""
    root = tmp_path / "store"
    root.mkdir()
    opened = open_store(str(root))
    pods = [Pod("a", baseline(0), opened), Pod("b", baseline(1), opened)]
    traffic(pods, 30, lambda minute: 2.0 if minute >= 15 else 0.0)
    clock = ManualClock(T0_US + 60 * MINUTE_US)
    made = watcher(opened, clock)
    made.look()
    assert [run.evaluator.share for run in made.runs.values()] == [0.5, 0.5]
    alone = SeriesRun(next(iter(made.runs)), Plan(baseline(0), WatchSpec()), 0)
    [income] = [each for each in alone.evaluator.watches if each.quantity.name == "inputs.income"]
    thresholds = [alarm.threshold for _, alarm in made.alarms() if alarm.quantity == "inputs.income"]
    assert thresholds == pytest.approx([np.log(2 * income.threshold)] * 2)
    shown = json.loads(sidecar("drift", "--store", root, "--json").out)
    found = [alarm["threshold"] for series in shown["series"] for alarm in series["alarms"]]
    assert found
    assert min(found) == pytest.approx(np.log(2 * income.threshold))
    traffic([Pod("late", baseline(2), opened)], 30, seed=5)
    clock.advance(30)
    again = watcher(opened, clock)
    again.look()
    shares = {run.series.plan: run.evaluator.share for run in again.runs.values()}
    assert sorted(shares.values()) == [0.0, 0.5, 0.5]
    assert outline(again) == outline(made)


def test_an_alarm_of_a_model_that_is_gone_is_over_after_a_day_and_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest that was rolled back sends nothing more: nobody is paged for it for ever, and no series is lost."""
    root = tmp_path / "store"
    root.mkdir()
    opened = open_store(str(root))
    traffic([Pod("a", baseline(), opened)], 60, lambda minute: 1.5 if minute >= 20 else 0.0)
    clock = ManualClock(T0_US + 70 * MINUTE_US)
    made = watcher(opened, clock)
    made.look()
    [income] = [alarm for _, alarm in made.alarms() if alarm.quantity == "inputs.income"]
    assert income.active
    clock.advance(23 * 3600)
    made.look()
    assert {alarm.state for _, alarm in made.alarms()} == {"open"}
    clock.advance(2 * 3600)
    made = watcher(opened, clock)
    made.look()
    assert {alarm.state for _, alarm in made.alarms()} == {"resolved"}
    stored = [
        json.loads(line) for line in sidecar("alarms", "--store", root, "--all", "--json").out.splitlines()
    ]
    [alarm] = [each["alarm"] for each in stored if each["alarm"]["quantity"] == "inputs.income"]
    assert alarm["state"] == "resolved"
    assert "over without a return: no traffic since 15:14 UTC on 21 Sep 2026" in alarm["sentence"]
    clock.advance(4 * 24 * 3600)
    made.look()
    assert made.runs == {}
    monkeypatch.setattr("sidecar.watcher.MOST_SERIES", 1)
    later = Pod("b", baseline(1), opened, "another")
    later.clock = later.shipper._clock = clock
    for minute in range(8):
        at = (clock.wall_us() // MINUTE_US) * MINUTE_US
        later.monitor.add([sample(minute * 9 + n, at + n, row(random.Random(n)), "boot-b") for n in range(9)])
        clock.advance(60)
        later.ship()
    later.ship(final=True)
    made.look()
    assert [series.model for series in made.runs] == ["another"]
    assert made.health.left_out_series == 0
