"""Slices: every row in exactly one of them, by edges, values or what the baseline knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.countable import Countable, token_key
from sidecar.records import Sample
from sidecar.statistics.freezing import freeze_field
from sidecar.statistics.rows import Rows
from sidecar.statistics.slices import Slicing, slicing
from tests.statistics.row_samples import field, streams, table


def codes(found: Slicing, values: list[Any]) -> list[int]:
    return [int(code) for code in found.codes(table({"x": values}))]


def test_bands_hold_their_lower_edge_and_the_last_its_upper_too() -> None:
    bands = slicing(["inputs.x"], {}, "here", edges=[300, 600, 850])
    assert bands.labels == ("300..600", "600..850")
    assert codes(bands, [300, 599.9, 600, 850, 299, 851, "x", None, float("nan")]) == [
        0,
        0,
        1,
        1,
        2,
        2,
        2,
        3,
        3,
    ]


def test_equal_numbers_are_one_value_and_texts_another_name_for_them() -> None:
    groups = slicing(["inputs.x"], {}, "here", values=[0, "yes", True])
    assert groups.labels == ("0", "yes", "true")
    assert codes(groups, [0, 0.0, "0", "yes", True, 1, [0], None, "redacted:text"]) == [
        0,
        0,
        0,
        1,
        2,
        3,
        3,
        4,
        4,
    ]


def test_an_intersection_has_the_pairs_that_are_given() -> None:
    pairs = slicing(["inputs.x", "inputs.y"], {}, "here", values=["a & 1", "b & 2"])
    assert pairs.labels == ("a & 1", "b & 2")
    rows = table({"x": ["a", "b", "a", None], "y": [1, 2, 2, 1]})
    assert pairs.codes(rows).tolist() == [0, 1, 2, 3]


def test_the_baseline_says_the_values_of_few_and_the_fifths_of_many() -> None:
    fields = {
        "inputs.x": field("x", "categorical", {"n": 70, "y": 30}),
        "inputs.s": field("s", "numeric", [float(edge) for edge in range(21)]),
    }
    assert slicing(["inputs.x"], fields, "here").labels == ("n", "y")
    fifths = slicing(["$.inputs.s"], fields, "here")
    assert fifths.labels == ("0..4", "4..8", "8..12", "12..16", "16..20")
    assert slicing(["inputs.x[0]"], fields, "here").labels == ("n", "y")


def test_groups_of_concealed_values_are_told_apart_without_their_text() -> None:
    countable = Countable(token_key(b"k" * 32))
    yes, no = countable.token("yes"), countable.token("no")
    given = slicing(["inputs.x"], {}, "here", values=["no", "yes"]).tokenised(countable.token)
    assert codes(given, [yes, no, "yes", "no", countable.token("?")]) == [1, 0, 1, 0, 2]
    found = slicing(["inputs.x"], {"inputs.x": freeze_field("x", [yes, yes, no])}, "here")
    assert codes(found, [yes, no]) == [0, 1]
    assert found.labels == ("(redacted) 1", "(redacted) 2")
    assert yes not in str(found)
    pairs = slicing(["inputs.x", "inputs.y"], {}, "here", values=["yes & 1"]).tokenised(countable.token)
    assert pairs.codes(table({"x": [yes, no], "y": [1, 1]})).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"edges": [1]}, "ascending"),
        ({"edges": [1, 1]}, "ascending"),
        ({"edges": [1, float("inf")]}, "finite"),
        ({"edges": [1, 2], "values": [1]}, "one of them"),
        ({"edges": list(range(30))}, "at most 20"),
        ({"values": list(range(30))}, "at most 20"),
        ({}, "the baseline has no inputs.x"),
    ],
)
def test_slices_that_cannot_be_are_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        slicing(["inputs.x"], {}, "bands[3]", **arguments)
    assert str(raised.value).startswith("bands[3]: ")


@given(stream=streams, at=st.integers(0, 12), edges=st.booleans())
def test_every_row_is_in_one_slice_whatever_the_batch(stream: list[Sample], at: int, edges: bool) -> None:
    found = (
        slicing(["inputs.x"], {}, "here", edges=[-1, 0, 1])
        if edges
        else slicing(["inputs.x", "outputs.p"], {}, "here", values=["a & 1", "true & b", "0 & 0"])
    )
    whole = found.codes(Rows(stream))
    parts = [found.codes(Rows(part)) for part in (stream[:at], stream[at:])]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert set(whole.tolist()) <= set(range(found.size))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("(redacted)", "'(redacted)' stands for a redacted value"),
        ("(redacted) 2", "'(redacted) 2' stands for a redacted value"),
        ("north & (redacted) 1", "'(redacted) 1' stands for a redacted value"),
        ("redacted:text", "'redacted:text' stands for a redacted value"),
        ("redacted:0f0f", "'redacted:0f0f' stands for a redacted value"),
        (None, "null is no value to tell apart"),
        (float("nan"), "nan is no value to tell apart"),
    ],
)
def test_what_stands_for_a_redacted_value_is_no_group_that_can_be_given(value: Any, words: str) -> None:
    """It would match no row, and the group would be empty for ever without a word."""
    with pytest.raises(ValueError, match=r"^bias\[0\]: ") as refused:
        slicing(["inputs.g"], {}, "bias[0]", values=["a", value])
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
