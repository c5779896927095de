"""`sidecar drift --by segment`: each segment against its own beginning, and the segments' sum the whole."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.objects import open_store
from sidecar.statistics.by_segment import BySegment
from sidecar.statistics.coding import STEPS
from sidecar.statistics.monitor import Monitor
from sidecar.statistics.plan import Plan
from sidecar.statistics.rows import Rows
from sidecar.statistics.watch_spec import parse_watch
from tests.support.commands import sidecar
from tests.support.fleet import MINUTE_US, SETTINGS, T0_US, Pod, baseline, sample

WATCH = parse_watch(
    {"decision": "outputs.score > 0.5", "segments": [{"name": "region", "of": "inputs.region"}]}
)
SHIFT_AT, MINUTES = 60, 100


class SegmentedPod(Pod):
    """A pod whose watch file names segments."""

    def __init__(self, name: str, store: Any, watch: Any = WATCH) -> None:
        super().__init__(name, baseline(), store)
        self.monitor = Monitor(msgspec.structs.replace(SETTINGS, watch=watch), baseline())
        self.monitors = {("default", self.monitors.popitem()[0][1]): self.monitor}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pods; in the south alone incomes rise by a standard deviation from minute 60."""
    root = tmp_path_factory.mktemp("segments") / "store"
    root.mkdir()
    pods = [SegmentedPod(f"pod-{number}", open_store(str(root))) for number in range(2)]
    chance = random.Random(3)
    for minute in range(MINUTES):
        for pod in pods:
            rows = []
            for _ in range(60):
                region = chance.choice(("north", "north", "south", "west"))
                higher = 10 if region == "south" and minute >= SHIFT_AT else 0
                rows.append((round(chance.gauss(50 + higher, 10), 2), region, round(chance.random(), 3)))
            pod.minute(minute, rows)
    for pod in pods:
        pod.ship(final=True)
    return root


def told(store: Path, *more: object) -> dict[str, Any]:
    ran = sidecar("drift", "--store", store, "--by", "segment", "--json", *more)
    assert ran.code == 0, ran.err
    (series,) = json.loads(ran.out)["series"]
    found: dict[str, Any] = series
    return found


def test_the_segment_that_moved_is_alarmed_and_no_other(store: Path) -> None:
    series = told(store)
    (region,) = series["segments"]
    assert (region["segmentation"], region["of"]) == ("region", "inputs.region")
    assert region["held_against"] == {"to_us": T0_US + 25 * MINUTE_US, "panes": 25}
    assert [each["segment"] for each in region["segments"]] == ["north", "south", "west", "other", "missing"]
    alarmed = {
        (each["segment"], quantity["quantity"]): quantity
        for each in region["segments"]
        for quantity in each["quantities"]
        if quantity["alarm"]
    }
    assert set(alarmed) == {("south", "inputs.income")}
    south = alarmed["south", "inputs.income"]
    assert abs(south["since_us"] - (T0_US + SHIFT_AT * MINUTE_US)) <= 5 * MINUTE_US
    assert 0.4 < south["effect"]["w1_sigma"] < 0.7, "half of the time a standard deviation higher"
    assert region["rows"]["alarm"] is None
    (alarm,) = series["segment_alarms"]
    assert alarm["quantity"] == "inputs.income where region is south"
    assert "for this model" not in alarm["promise"]


def test_segments_add_up_to_the_whole(store: Path) -> None:
    (region,) = told(store)["segments"]
    series = json.loads(sidecar("drift", "--store", store, "--json").out)["series"][0]
    assert sum(each["rows"] for each in region["segments"]) == series["exchanges"] == MINUTES * 120
    assert sum(region["rows"]["counts"].values()) == series["exchanges"]
    for what in ("decision", "inputs.income"):
        parts = [
            quantity
            for each in region["segments"]
            for quantity in each["quantities"]
            if quantity["quantity"] == what
        ]
        assert sum(sum(part["counts"].values()) for part in parts) == series["exchanges"]


def test_a_few_rows_are_not_spoken_of(store: Path) -> None:
    until = str((T0_US + 2 * MINUTE_US) / 1e6)
    (region,) = told(store, "--until", until)["segments"]
    west = next(each for each in region["segments"] if each["segment"] == "west")
    assert {each["effect"] is None for each in west["quantities"]} == {True}
    assert {each["promise"] for each in west["quantities"]} == {"not watched: too few rows in the beginning"}


def test_the_table_and_the_page_show_it(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "drift.html"
    ran = sidecar("drift", "--store", store, "--by", "segment", "--html", page)
    assert ran.code == 0, ran.err
    (south,) = [line for line in ran.out.splitlines() if line.strip().startswith("south")]
    assert "inputs.income ALARM mean" in south
    text = page.read_text()
    assert "By region" in text
    assert "inputs.income where region is south" in text
    assert "<script" not in text
    assert sidecar("drift", "--store", store, "--by", "segment", "--check").code == 1


def test_a_plan_without_segments_says_so(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    pod = Pod("a", baseline(), open_store(str(root)))
    pod.minute(0, [(50.0, "north", 0.5)] * 10)
    pod.ship(final=True)
    ran = sidecar("drift", "--store", root, "--by", "segment")
    assert (ran.code, ran.err.strip()) == (0, "model mortgage: its watch file names no segments")


def test_an_unknown_model_names_the_models_there_are(store: Path) -> None:
    ran = sidecar("drift", "--store", store, "--model", "morgage")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert ran.err.strip().endswith("no panes of model morgage: there are panes of mortgage")


ROWS = st.lists(
    st.tuples(
        st.one_of(st.floats(-1e3, 1e3), st.sampled_from([None, "12", float("nan"), True])),
        st.sampled_from(["north", "south", "east", None, 3]),
        st.one_of(st.floats(0, 1), st.none()),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_sums_over_segments_are_the_counts_of_the_whole(rows: list[tuple[Any, Any, Any]]) -> None:
    plan = Plan(baseline(), WATCH)
    samples = [sample(number, T0_US, row) for number, row in enumerate(rows)]
    counts = plan.count(Rows(samples))
    by_segment = BySegment(plan)
    vector = by_segment.vector(counts)
    span = next(each for each in plan.spans if each.label == "inputs.income")
    parts = [part for part in by_segment.parts if part.what == "inputs.income"]
    coarse = parts[0].coarse
    assert coarse is not None
    whole = np.bincount(coarse.group, weights=span.slots(counts), minlength=len(coarse.labels))
    assert np.sum([part.counts(vector) for part in parts], axis=0).tolist() == whole.tolist()
    assert sum(int(vector[part.sums_at + 1]) for part in parts) == int(counts[span.sum_at])
    (shares,) = [part for part in by_segment.parts if not part.segment]
    assert int(shares.counts(vector).sum()) == len(rows)


def test_a_segments_mean_is_that_of_its_rows() -> None:
    plan = Plan(baseline(), WATCH)
    rows = [(40.0, "north", 0.1), (44.0, "north", 0.2), (90.0, "south", 0.3)]
    by_segment = BySegment(plan)
    vector = by_segment.vector(plan.count(Rows([sample(n, T0_US, row) for n, row in enumerate(rows)])))
    means = {part.segment: part.mean(vector) for part in by_segment.parts if part.what == "inputs.income"}
    scale = next(each for each in plan.baseline.inputs if each.name == "income").scale
    assert means["north"] == pytest.approx(42.0, abs=scale / STEPS)
    assert means["south"] == pytest.approx(90.0, abs=scale / STEPS)
    assert means["west"] is None


def test_fields_with_any_name_are_counted_by_segment() -> None:
    """A name that no path could be written with would once have stopped all counting."""
    found = baseline()
    odd = msgspec.structs.replace(
        found, inputs=[*found.inputs, msgspec.structs.replace(found.inputs[0], name="an odd (name)")],
        projections=[],
    )  # fmt: skip
    plan = Plan(odd, WATCH)
    assert plan.count(Rows([sample(1, T0_US, (50.0, "north", 0.4))])).sum()
