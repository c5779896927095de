"""Outcomes by group: counts that add, and equal counting by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.records import Sample
from sidecar.statistics.decision import parse_decision
from sidecar.statistics.groups import GroupTally, group_tallies, parse_bias
from tests.statistics.row_samples import assert_adds, field, streams, table

DECISION = parse_decision("outputs.p == 1")
FIELDS = {
    "inputs.black": field("black", "categorical", {"no": 90, "yes": 10}),
    "inputs.sex": field("sex", "categorical", {"f": 60, "m": 40}),
    "inputs.dir": field("dir", "numeric", [float(edge) for edge in range(21)]),
}


def tallies(entry: dict[str, Any], **options: Any) -> list[GroupTally]:
    return group_tallies(parse_bias([entry]), DECISION, FIELDS, **options)


@given(stream=streams, at=st.integers(0, 12))
def test_counts_of_parts_add(stream: list[Sample], at: int) -> None:
    entry = {"protected": "inputs.x", "groups": ["a", 1, True], "reference": 1, "legitimate": ["inputs.dir"]}
    for each in tallies(entry | {"stratum": {"of": "inputs.y", "edges": [-1, 0, 1]}}):
        assert_adds(each, stream, at)
    for each in tallies({"protected": ["inputs.x", "inputs.y"], "groups": ["a & a", "1 & 1", "0 & b"]}):
        assert_adds(each, stream, at)


ROW = st.tuples(
    st.sampled_from(["no", "yes", "?", None]),
    st.sampled_from([1, 0, None]),
    st.sampled_from([1, 7, 30, None]),
)


@given(st.lists(ROW, max_size=40))
def test_counts_are_those_of_counting_by_hand(rows: list[tuple[Any, Any, Any]]) -> None:
    entry = {"protected": "inputs.black", "stratum": {"of": "inputs.dir", "edges": [0, 5, 10]}}
    found = tallies(entry, favourable=False)[0]
    groups, answers, ratios = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    counts = found.count(table({"black": groups, "dir": ratios}, {"p": answers}))
    hand = Counter((ratio, group, answer) for group, answer, ratio in rows)
    bins: list[set[Any]] = [{1}, {7}, {30, None}]
    for stratum, members in enumerate(bins):
        for place, group in enumerate(["no", "yes", "?", None]):
            expected = [sum(hand[ratio, group, answer] for ratio in members) for answer in (0, 1, None)]
            assert found.table(counts)[stratum, place].tolist() == expected
    (watched,) = found.quantities(1000)
    pairs = counts[watched.start - 1000 :][: 4 * watched.strata].reshape(-1, 4)
    cells = found.table(counts)
    for stratum in range(3):
        no, yes = cells[stratum, 0], cells[stratum, 1]
        assert pairs[stratum].tolist() == [no[0], no[0] + no[1], yes[0], yes[0] + yes[1]]


def test_the_largest_group_of_the_baseline_is_the_reference() -> None:
    (found,) = tallies({"protected": "inputs.black"})
    assert found.groups.labels == ("no", "yes")
    (watched,) = found.quantities(0)
    assert (watched.name, watched.ratio, watched.minimum, watched.strata) == (
        "bias/inputs.black/yes",
        0.8,
        30,
        1,
    )


def test_an_intersection_takes_the_pairs_of_what_the_baseline_has() -> None:
    entry = {"protected": ["inputs.black", "inputs.sex"]}
    assert tallies(entry)[0].groups.labels == ("no & f", "no & m", "yes & f", "yes & m")
    assert tallies(entry | {"reference": ["yes", "m"]})[0].reference == 3


def test_legitimate_features_bring_a_watch_in_both_directions() -> None:
    both = tallies({"protected": "inputs.black", "legitimate": ["inputs.dir"]})[1]
    assert both.name == "information/inputs.black"
    below, above = both.quantities(0)
    rows = table({"black": ["no", "yes", "yes"], "dir": [1, 1, 9]}, {"p": [1, 0, 1]})
    counts = both.count(rows)
    first = counts[below.start : below.start + 4 * below.strata].reshape(-1, 4)
    second = counts[above.start : above.start + 4 * above.strata].reshape(-1, 4)
    assert np.array_equal(first[:, [2, 3, 0, 1]], second)
    assert first.sum(axis=0).tolist() == [1, 1, 1, 2]
    assert below.strata == both.depth == 6


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"protected": "black"}, r"^bias\[0\]: 'black': no path"),
        ({"protected": ["inputs.a", "inputs.b", "inputs.c"]}, "a list of two"),
        ({"protected": "inputs.black", "ratio": 1.2}, "above 0 and at most 1"),
        ({"protected": "inputs.black", "reference": "maybe"}, "'maybe' is none of the groups no, yes"),
        ({"protected": "inputs.race"}, "the baseline has no inputs.race"),
        ({"protected": "inputs.black", "groups": ["yes"]}, "only one group"),
        ({"protected": "inputs.black", "outcome": "approved"}, r"bias\[0\] \(inputs.black\): outcome: rule"),
        ({"protected": "inputs.black", "legitimate": ["inputs.dir"] * 4}, "1 to 3 are held alike"),
        ({"protcted": "inputs.black"}, "unknown key 'protcted': takes protected"),
    ],
)
def test_a_wrong_entry_is_one_line(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        tallies(entry)
    assert "\n" not in str(raised.value)
