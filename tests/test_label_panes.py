"""Ground truth in the panes of the decisions: `sidecar drift` and `sidecar watch` over labels that come later."""

from __future__ import annotations

import json
import random
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sidecar.clock import ManualClock
from sidecar.errors import StoreError
from sidecar.lookup import open_source
from sidecar.objects import open_store
from sidecar.statistics.watch_spec import parse_watch
from sidecar.watcher import Watcher
from tests.support.commands import sidecar
from tests.support.fleet import MINUTE_US, T0_US
from tests.support.labelled_fleet import LABELS, Decision, label, labelled_traffic, truth
from tests.test_watching import scraped

MINUTES = 40
LATER_US = T0_US + 3_000 * MINUTE_US


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Decision]]:
    root = tmp_path_factory.mktemp("labelled") / "store"
    return root, labelled_traffic(root, MINUTES)


@pytest.fixture
def fleet(made: tuple[Path, list[Decision]], tmp_path: Path) -> tuple[Path, list[Decision]]:
    import shutil

    shutil.copytree(made[0], tmp_path / "store")
    return tmp_path / "store", made[1]


def by_hand(decisions: list[Decision], told: Any) -> dict[str, int]:
    cells = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
    for each in decisions:
        right = told(each) == each.approved
        cells[("t" if right else "f") + ("p" if each.approved else "n")] += 1
    return cells


def drift(root: Path, *arguments: str) -> dict[str, Any]:
    ran = sidecar("drift", "--store", root, "--json", *arguments)
    assert ran.code == 0, ran.err
    return dict(json.loads(ran.out))


def watcher(root: Path, clock: ManualClock, **given: Any) -> Watcher:
    return Watcher(
        open_store(str(root)), clock, None, name="watch", instance="one", since_us=T0_US,
        wait_us=10 * MINUTE_US, records=open_source(str(root)), **given,
    )  # fmt: skip


def test_figures_of_two_pods_are_those_of_counting_by_hand(fleet: tuple[Path, list[Decision]]) -> None:
    root, decisions = fleet
    known = decisions[::3]
    label(root, known, lambda each: truth(each, 0.8))
    (series,) = drift(root)["series"]
    told = series["labels"]
    assert told["figures"]["confusion"] == by_hand(known, lambda each: truth(each, 0.8))
    north = [each for each in known if each.values[1] == "north"]
    assert told["figures"]["groups"]["north"]["confusion"] == by_hand(north, lambda each: truth(each, 0.8))
    assert told["figures"]["score"]["auc"] is not None
    buckets = [bucket["confusion"] for bucket in told["buckets"]]
    assert {name: sum(each[name] for each in buckets) for name in buckets[0]} == told["figures"]["confusion"]
    report = json.loads(
        sidecar("labels", "--store", root, "--report", "--json", "--outcome", "outputs.approved",
                "--positive", "true").out
    )  # fmt: skip
    assert report["report"]["figures"]["confusion"] == told["figures"]["confusion"]


def test_labels_count_in_the_pane_of_their_decision(fleet: tuple[Path, list[Decision]]) -> None:
    root, decisions = fleet
    label(root, decisions, lambda each: truth(each, 0.8), "2027-01-01T00:00:00Z")
    since = T0_US + 10 * MINUTE_US
    shown = drift(
        root, "--since", f"{since // 1_000_000}", "--until", f"{(since + 5 * MINUTE_US) // 1_000_000}"
    )
    (series,) = shown["series"]
    inside = [each for each in decisions if since <= each.t_us < since + 5 * MINUTE_US]
    assert series["labels"]["figures"]["confusion"] == by_hand(inside, lambda each: truth(each, 0.8))
    assert [bucket["rows"] for bucket in series["labels"]["buckets"]] == [40] * 5


def test_a_fall_of_accuracy_is_alarmed_by_drift_and_shown_on_page_and_terminal(
    fleet: tuple[Path, list[Decision]], tmp_path: Path
) -> None:
    root, decisions = fleet
    half = T0_US + MINUTES // 2 * MINUTE_US
    label(root, decisions, lambda each: truth(each, 0.9 if each.t_us < half else 0.4))
    page = tmp_path / "drift.html"
    ran = sidecar("drift", "--store", root, "--html", page)
    assert "GROUND TRUTH of 1,600 rows" in ran.out
    assert re.search(r"accuracy: +0\.6\d+ \(0\.\d+ to 0\.\d+\), 70 % to 100 % is expected", ran.out)
    assert re.search(r"inputs.region = south, \d+ rows: accuracy 0\.", ran.out)
    (alarm,) = [each for each in drift(root)["series"][0]["alarms"] if each["quantity"] == "labels/accuracy"]
    assert abs(alarm["since_us"] - half) <= 3 * MINUTE_US
    assert "is below its band" in alarm["sentence"]
    assert alarm["sentence"] in ran.out
    html = page.read_text()
    assert "Ground truth" in html
    assert "accuracy over time" in html
    assert "Calibration by score" in html


def test_labels_inside_their_band_raise_nothing(fleet: tuple[Path, list[Decision]]) -> None:
    root, decisions = fleet
    label(root, decisions, lambda each: truth(each, 0.75))
    (series,) = drift(root)["series"]
    assert series["alarms"] == []
    assert [band["low"] for band in series["labels"]["bands"]] == [0.7]


def test_watch_tells_figures_and_alarms_as_labels_come(fleet: tuple[Path, list[Decision]]) -> None:
    root, decisions = fleet
    clock = ManualClock(LATER_US)
    made = watcher(root, clock)
    made.look()
    assert "sidecar_watch_label_figure{" not in scraped(made)
    label(root, decisions[:400], lambda each: truth(each, 0.9))
    clock.advance(61)
    made.look()
    assert made.alarms() == []
    lines = scraped(made)
    right = by_hand(decisions[:400], lambda each: truth(each, 0.9))
    accuracy = (right["tp"] + right["tn"]) / 400
    assert re.search(rf'sidecar_watch_label_figure{{.*figure="accuracy",group="",.*}} {accuracy}', lines)
    assert re.search(r'figure="auc",group="",', lines)
    assert re.search(r'figure="accuracy",group="south",', lines)
    label(root, decisions[400:800], lambda each: truth(each, 0.3))
    clock.advance(61)
    made.look()
    ((_, alarm),) = made.alarms()
    assert (alarm.quantity, alarm.state) == ("labels/accuracy", "open")
    assert "accuracy, by the labels that came, is below its band" in sidecar("alarms", "--store", root).out
    ran = sidecar("alarms", "--store", root, "--ack", alarm.id, "--by", "anna")
    assert ran.code == 0, ran.err
    clock.advance(61)
    made.look()
    assert [each.state for _, each in made.alarms()] == ["acknowledged"]


def test_a_watcher_that_dies_at_every_look_counts_each_label_once(
    fleet: tuple[Path, list[Decision]], tmp_path: Path
) -> None:
    """Labels in many files, corrected, some before their record is there; the store fails in between."""
    root, decisions = fleet
    clock = ManualClock(LATER_US)
    lived, dead = watcher(root, clock, folder=_folder(tmp_path / "a")), None
    chance = random.Random(4)
    for step in range(6):
        some = chance.sample(decisions, 150)
        told = partial(truth, accuracy=0.5 + step / 20)
        label(root, some, told, f"2027-01-0{step + 1}T00:00:00Z")
        clock.advance(61)
        lived.look()
        dead = watcher(root, clock, folder=_folder(tmp_path / "b"))
        dead.look()
    assert dead is not None
    (one,), (other,) = lived.labels.runs.values(), dead.labels.runs.values()
    assert one.panes.total.tolist() == other.panes.total.tolist()
    (series,) = drift(root)["series"]
    assert one.figures() == other.figures() == series["labels"]["figures"]


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def test_a_store_that_fails_half_way_leaves_nothing_counted(
    fleet: tuple[Path, list[Decision]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, decisions = fleet
    clock = ManualClock(LATER_US)
    made = watcher(root, clock)
    made.look()
    label(root, decisions[:200], lambda each: truth(each, 0.8))

    def fails(*_: object) -> None:
        raise StoreError("no answer in time")

    with monkeypatch.context() as patch:
        patch.setattr("sidecar.label_panes.judged", fails)
        clock.advance(61)
        with pytest.raises(StoreError, match="no answer"):
            made.look()
    (run,) = made.labels.runs.values()
    assert not run.panes.total.any()
    clock.advance(61)
    made.look()
    assert run.figures()["rows"] == 200


def test_bands_of_labels_take_their_part_of_the_models_budget(fleet: tuple[Path, list[Decision]]) -> None:
    root, decisions = fleet
    label(root, decisions, lambda each: truth(each, 0.8))
    made = watcher(root, ManualClock(LATER_US))
    made.look()
    (run,), (labels,) = made.runs.values(), made.labels.runs.values()
    assert run.evaluator.share + labels.evaluator.share == pytest.approx(1.0)
    assert labels.evaluator.share == pytest.approx(1 / (1 + run.evaluator.weight))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bands": [{"figure": "auc", "low": 0.5}]}, "labels: invalid enum value 'auc'"),
        ({"bands": [{"figure": "accuracy"}]}, "bands[0]: give low or high"),
        ({"bands": [{"figure": "accuracy", "low": 0.9, "high": 0.5}]}, "bands[0]: low must be below high"),
        ({"bands": [{"figure": "accuracy", "low": 0.5, "group": "east"}]}, "none of 'groups'"),
        ({"bands": [{"figure": "recall", "low": 0.5}] * 2}, "labels/recall is named twice"),
        ({"positive": None, "score": None, "unit": 2.0}, "a number's errors have none"),
        ({"positive": None, "score": None, "classes": [1, 2], "bands": [{"figure": "recall", "low": 0.5}]},
         "recall is of two classes"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_band_of_labels_is_said_in_one_line(changed: dict[str, Any], words: str) -> None:
    section = {name: value for name, value in {**LABELS, **changed}.items() if value is not None}
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_watch({"labels": section})


def test_a_label_that_comes_before_its_record_is_counted_once_the_record_is_there(
    fleet: tuple[Path, list[Decision]], tmp_path: Path
) -> None:
    root, decisions = fleet
    aside = tmp_path / "aside"
    (root / "records").rename(aside)
    label(root, decisions[:50], lambda each: truth(each, 0.8))
    clock = ManualClock(LATER_US)
    made = watcher(root, clock)
    made.look()
    (run,) = made.labels.runs.values()
    assert run.figures()["rows"] == 0
    aside.rename(root / "records")
    clock.advance(120)
    made.look()
    assert run.figures()["rows"] == 0, "not asked for again so soon"
    clock.advance(600)
    for _ in range(2):
        made.look()
        clock.advance(700)
    assert run.figures()["rows"] == 50
