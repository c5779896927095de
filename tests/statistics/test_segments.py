"""Segments: exact counts, and contributions that add up to the move of the whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.records import Sample
from sidecar.statistics.coding import STEPS
from sidecar.statistics.decision import parse_decision
from sidecar.statistics.segments import (
    SegmentTally,
    decision_contributions,
    mean_contributions,
    parse_segments,
    segment_tallies,
)
from tests.statistics.row_samples import assert_adds, field, streams, table

FIELDS = {
    "inputs.x": field("x", "numeric", [-1.0, 0.0, 1.0], mean=0.5, scale=2.0),
    "inputs.y": field("y", "categorical", {"a": 5, "b": 4, "c": 1}),
    "outputs.p": field("p", "numeric", {0.0: 8, 1.0: 2}),
}


def tally(**entry: Any) -> SegmentTally:
    specs = parse_segments([{"name": "s", "of": "inputs.y", **entry}])
    return segment_tallies(specs, parse_decision("outputs.p == 1"), FIELDS)[0]


@given(stream=streams, at=st.integers(0, 12))
def test_counts_of_parts_add(stream: list[Sample], at: int) -> None:
    assert_adds(tally(), stream, at)
    assert_adds(tally(of="inputs.x", edges=[-1, 0, 1]), stream, at)


ROW = st.tuples(
    st.sampled_from(["a", "b", "c", "d", None]), st.floats(-9, 9), st.sampled_from([0, 1, 2, None])
)


@given(st.lists(ROW, max_size=30))
def test_counts_are_those_of_counting_by_hand(rows: list[tuple[Any, float, Any]]) -> None:
    found = tally()
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
    counts = found.table(found.count(table({"y": columns[0], "x": columns[1]}, {"p": columns[2]})))
    for segment, row in zip(["a", "b", "c", "d", None], counts.tolist(), strict=True):
        mine = [each for each in rows if each[0] == segment]
        answers = [answer for _, _, answer in mine]
        yes, no, unknown = answers.count(1), answers.count(0) + answers.count(2), answers.count(None)
        assert row[:4] == [len(mine), yes, no, unknown]
        assert row[4:7] == [answers.count(0), answers.count(1), answers.count(2) + answers.count(None)]
        steps = sum(round((number - 0.5) / 2.0 * STEPS) for _, number, _ in mine)
        assert row[7:9] == [len(mine), steps]
        assert row[9:] == grouped(number for _, number, _ in mine)


def grouped(numbers: Iterable[float]) -> list[int]:
    """-1..0, 0..1, then under, over, new, missing, invalid: bins are closed above, the first one below too."""
    counts = [0] * 7
    for number in numbers:
        counts[2 if number < -1 else 3 if number > 1 else 0 if number <= 0 else 1] += 1
    return counts


def stream(rows: list[tuple[str, float, int]]) -> Any:
    found = tally()
    names, numbers, answers = (list(column) for column in zip(*rows, strict=True))
    return found.count(table({"y": names, "x": numbers}, {"p": answers}))


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.floats(-9, 9), st.integers(0, 1)), min_size=1, max_size=30
    ),
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.floats(-9, 9), st.integers(0, 1)), min_size=1, max_size=30
    ),
)
def test_contributions_add_to_the_move_of_the_whole(before: Any, after: Any) -> None:
    found = tally()
    parts = [each.part for each in decision_contributions(found, stream(before), stream(after))]
    moved = np.mean([row[2] for row in after]) - np.mean([row[2] for row in before])
    assert sum(parts) == pytest.approx(moved)
    parts = [each.part for each in mean_contributions(found, "inputs.x", stream(before), stream(after))]
    moved = (np.mean([row[1] for row in after]) - np.mean([row[1] for row in before])) / 2.0
    assert sum(parts) == pytest.approx(moved, abs=1e-5)
    assert mean_contributions(found, "inputs.z", stream(before), stream(after)) == []


def test_the_segment_that_moved_comes_first() -> None:
    before = [("a", 0.0, 0), ("b", 0.0, 0)] * 50
    after = [("a", 0.0, 0), ("b", 4.0, 1)] * 50
    found = tally()
    first = mean_contributions(found, "inputs.x", stream(before), stream(after))[0]
    assert (first.segment, first.rows) == ("b", 50)
    assert first.part == pytest.approx(1.0)
    assert decision_contributions(found, stream(before), stream(after))[0].segment == "b"


def test_more_outputs_and_features_than_are_counted_are_left_out() -> None:
    fields = {f"inputs.x{n}": field(f"x{n}", "numeric", [0.0, 1.0]) for n in range(500)}
    fields |= {
        f"outputs.p{n}": field(f"p{n}", "numeric", {float(v): 1 for v in range(20)}) for n in range(50)
    }
    specs = parse_segments([{"name": "s", "of": "inputs.y", "values": list(range(20))}])
    assert segment_tallies(specs, None, fields)[0].size == 22 * (4 + 8 * 21 + 32 * (2 + 1 + 5))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"of": "region"}, "of: 'region': no path"),
        ({"name": "a/b"}, "without '/'"),
        ({"off": 1}, "unknown key 'off'"),
    ],
)
def test_a_wrong_entry_is_one_line(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tally(**entry)
