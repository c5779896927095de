"""Whatever is counted: the sum over any split of the rows is the count of the whole, to the last integer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.records import Observation, Sample
from sidecar.statistics.founding import Side, found_baseline
from sidecar.statistics.plan import Plan
from sidecar.statistics.rows import Rows
from sidecar.statistics.watch_spec import parse_watch
from tests.support import pictures

NOW_S = 1_790_000_000
SIZE = 400
CHANCE = np.random.default_rng(11)
BASE: dict[str, list[Any]] = {
    "income": CHANCE.normal(50, 10, SIZE).round(2).tolist(),
    "region": CHANCE.choice(["north", "south", "west"], SIZE).tolist(),
    "member": CHANCE.choice([True, False], SIZE).tolist(),
    "note": [" ".join(map(str, CHANCE.integers(0, 999, 5))) for _ in range(SIZE)],
    "day": [f"20{year:02d}-01-{day:02d}" for year, day in zip(
        CHANCE.integers(10, 26, SIZE), CHANCE.integers(1, 29, SIZE), strict=True)],
    "created_at": (NOW_S - CHANCE.integers(0, 10**7, SIZE)).tolist(),
    "photo": [pictures.gray(4 + n % 3, 4, n % 256) for n in range(SIZE)],
    "tags": [["x"] * int(n) for n in CHANCE.integers(0, 5, SIZE)],
    "embedding": CHANCE.normal(0, 1, (SIZE, 5)).tolist(),
    "nothing": [None] * SIZE,
}  # fmt: skip
# Two that tell of each other make a pair.
BASE["count"] = [int(income // 10) for income in BASE["income"]]
OUT: dict[str, list[Any]] = {
    "score": CHANCE.random(SIZE).tolist(),
    "label": CHANCE.choice(["yes", "no"], SIZE).tolist(),
}
STRANGE = [None, "", "abc", "12.5", True, 10**400, float("nan"), float("inf"), [], [1, "x"], "redacted:text"]


@lru_cache(maxsize=1)
def plan() -> Plan:
    """One that has every kind of tally."""
    times = np.full(SIZE, NOW_S * 1_000_000, dtype=np.int64)
    exchange = Side(
        {"latency_ms": CHANCE.exponential(5, SIZE).tolist(), "result": ["answered"] * SIZE}, times
    )
    baseline = found_baseline(Side(BASE, times), Side(OUT, times), exchange=exchange)
    watch = parse_watch(
        {
            "decision": "outputs.score > 0.5",
            "bands": [{"name": "yes", "low": 0.1}, {"name": "by", "by": "inputs.region", "high": 0.9}],
            "means": [{"of": "inputs.income", "tolerance": "1 sd"}],
            "segments": [{"name": "region", "of": "inputs.region"}],
            "bias": [
                {"protected": "inputs.region", "legitimate": ["inputs.income"]},
                {"protected": ["inputs.region", "inputs.member"],
                 "stratum": {"of": "inputs.income", "edges": [0, 50, 100]}},
            ],
        }
    )  # fmt: skip
    return Plan(baseline, watch)


@st.composite
def exchanges(draw: st.DrawFn) -> Sample:
    """Any exchange: rows of the baseline, with strange values and absent fields here and there."""
    t_us = (NOW_S + draw(st.integers(-5, 5))) * 1_000_000
    if draw(st.integers(0, 8)) == 0:
        return Sample("b.r.1", t_us, draw(st.sampled_from([0, 400, 503])), 2, -1, None)
    places = draw(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=3))

    def side(table: dict[str, list[Any]]) -> dict[str, list[Any]]:
        kept = {name: [column[at] for at in places] for name, column in table.items()}
        for name in draw(st.lists(st.sampled_from(sorted(table)), max_size=3)):
            kept[name] = [draw(st.sampled_from(STRANGE)) for _ in places]
        for name in draw(st.lists(st.sampled_from(sorted(table)), max_size=2)):
            kept.pop(name, None)
        return kept

    outputs = side(OUT) if draw(st.booleans()) else {}
    seen = Observation("test", len(places), side(BASE), outputs)
    return Sample("b.r.1", t_us, 200, 0, draw(st.integers(0, 10**6)), seen)


def test_the_plan_has_every_kind_of_tally_and_of_field() -> None:
    names = {type(tally).__name__ for tally in plan().tallies}
    assert names == {
        "HeadTally", "FieldTally", "ExchangeTally", "ProjectionTally", "PairTally", "BandTally", "MeanTally",
        "SegmentTally", "GroupTally",
    }  # fmt: skip
    assert {tally.name.partition("/")[0] for tally in plan().groups} == {"bias", "information"}
    kinds = {field.kind for field in (*plan().baseline.inputs, *plan().baseline.outputs)}
    assert kinds == {
        "numeric", "categorical", "boolean", "text", "timestamp", "image", "array", "vector", "empty",
    }  # fmt: skip


@settings(deadline=None, max_examples=120)
@given(st.lists(st.tuples(exchanges(), st.integers(0, 3)), max_size=14))
def test_the_sum_over_any_split_is_the_whole(split: list[tuple[Sample, int]]) -> None:
    """Into four pods at random, not only cut in two: batches of any size and order."""
    whole = plan().count(Rows([each for each, _ in split]))
    parts = [plan().count(Rows([each for each, pod in split if pod == which])) for which in range(4)]
    total = np.sum(parts, axis=0)
    for name, place in plan().places.items():
        own = slice(place.start, place.start + place.tally.size)
        assert total[own].tolist() == whole[own].tolist(), name
    one_by_one = [plan().count(Rows([each])) for each, _ in split]
    assert np.sum([plan().empty(), *one_by_one], axis=0).tolist() == whole.tolist()


@settings(deadline=None, max_examples=60)
@given(st.lists(exchanges(), max_size=10))
def test_every_row_of_every_field_is_in_exactly_one_slot(samples: list[Sample]) -> None:
    rows = Rows(samples)
    counts = plan().count(rows)
    for span in plan().spans:
        if span.field.aspect or span.label.startswith("exchange."):
            continue
        side = rows.answered if span.label.startswith("outputs.") else rows
        assert int(span.slots(counts).sum()) == side.count, span.label
        invalid = int(span.slots(counts)[-1])
        assert int(span.details(counts).sum()) == invalid, (
            f"{span.label}: each invalid value is said to be something"
        )


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("12.5", 0), (" -1e3 ", 0), (True, 0), ([1], 0), ("redacted:number", 0),
        ("", 1), ("n/a", 1), ("12,5", 1), ("1_000", 1), ("0x10", 1), ("nan", 1), ("9" * 500, 1),
        (float("nan"), 2), (float("-inf"), 3), (10**400, 4),
    ],
)  # fmt: skip
def test_a_number_in_quotes_is_of_the_wrong_type_and_other_texts_cannot_be_read(
    value: Any, detail: int
) -> None:
    """Where numbers belong: wrong type, unparsable, NaN, -infinity, +infinity; never dropped, never taken."""
    table = {name: [column[0]] for name, column in BASE.items()} | {"income": [value]}
    counts = plan().count(Rows([Sample("b.r.1", 0, 200, 0, 5, Observation("t", 1, table, {}))]))
    (span,) = (each for each in plan().spans if each.label == "inputs.income")
    assert int(span.slots(counts)[-1]) == 1
    assert span.details(counts).tolist() == [int(number == detail) for number in range(5)]
