"""Bands: counts that add, equal to counting row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.records import Sample
from sidecar.statistics.bands import BandTally, band_tallies, parse_bands
from sidecar.statistics.decision import parse_decision
from tests.statistics.row_samples import assert_adds, streams, table

DECISION = parse_decision("outputs.p == 1")


def tally(**entry: Any) -> BandTally:
    return band_tallies(parse_bands([{"name": "b", "low": 0.2, **entry}]), DECISION, {})[0]


@given(stream=streams, at=st.integers(0, 12))
def test_counts_of_parts_add(stream: list[Sample], at: int) -> None:
    assert_adds(tally(), stream, at)
    assert_adds(tally(by="inputs.x", edges=[-1, 0, 2]), stream, at)
    assert_adds(tally(by="inputs.y", values=["a", 1]), stream, at)


@given(scores=st.lists(st.sampled_from([None, 1, 2, 3, 4, "a"]), max_size=30), data=st.data())
def test_counts_are_those_of_counting_by_hand(scores: list[Any], data: st.DataObject) -> None:
    answers = data.draw(st.lists(st.sampled_from([0, 1, None]), min_size=len(scores), max_size=len(scores)))
    found = tally(by="inputs.s", edges=[1, 2, 4])
    counts = found.count(table({"s": scores}, {"p": answers})).reshape(-1, 3)
    slices: list[set[Any]] = [{1}, {2, 3, 4}, {"a"}, {None}]
    for members, row in zip(slices, counts, strict=True):
        mine = [answer for score, answer in zip(scores, answers, strict=True) if score in members]
        assert row.tolist() == [mine.count(1), len(mine) - mine.count(None), mine.count(None)]


def test_each_named_slice_is_watched_and_the_rest_only_counted() -> None:
    found = tally(by="inputs.s", edges=[1, 2, 4], share="not decision", high=0.9)
    watched = found.quantities(100)
    assert [(each.name, each.start, each.low, each.high, each.weight) for each in watched] == [
        ("band/b/1..2", 100, 0.2, 0.9, 0.5),
        ("band/b/2..4", 103, 0.2, 0.9, 0.5),
    ]
    counts = found.count(table({"s": [1, 1, 3, None]}, {"p": [1, 0, 0, 0]}))
    assert counts[watched[0].start - 100 : watched[0].start - 98].tolist() == [1, 2]
    assert [each["share"] for each in found.shares(counts)] == [0.5, 1.0, None, 1.0]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"name": "x"}, r"^bands: must be a list"),
        ([{"nme": "x"}], r"^bands\[0\]: unknown key 'nme': takes name, share, low"),
        ([{"name": "x", "low": "a"}], r"^bands\[0\]: expected `float`, got `str` - at `low`"),
        ([{"low": 0.5}], r"^bands\[0\]: lacks `name`"),
        ([{"name": "x"}], r"give low or high"),
        ([{"name": "x", "low": 0.7, "high": 0.2}], r"0 ≤ low < high ≤ 1"),
        ([{"name": "x", "low": 0.7, "edges": [1, 2]}], r"edges and values are for 'by'"),
        ([{"name": "x", "low": 0.7}] * 2, r"two entries have one name"),
        ([{"name": str(n), "low": 0.7} for n in range(101)], r"at most 100"),
    ],
)
def test_a_wrong_section_is_one_line_that_names_the_key(section: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        parse_bands(section)
    assert "\n" not in str(raised.value)


def test_a_wrong_rule_names_its_entry() -> None:
    with pytest.raises(ValueError, match=r"^bands\[0\] \(b\): share: rule 'outputs.p =': .* at character 11"):
        tally(share="outputs.p =")
