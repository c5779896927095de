"""Freezing: kinds, bins and known values."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.statistics.baseline import (
    INVALID,
    MAX_CATEGORIES,
    MAX_REST,
    MISSING,
    NEW,
    OTHER,
    OVER,
    TAIL,
    UNDER,
    FieldBaseline,
    freeze_field,
    quantile_edges,
)
from sidecar.statistics.coding import FieldCoder
from sidecar.statistics.layout import counted
from tests.statistics.observations import ANYTHING


def frozen(values: list[Any]) -> FieldBaseline:
    return counted([freeze_field("x", values)], [values])[0]


def tail(field: FieldBaseline, value: Any) -> int:
    """The tail slot a value is counted in; negative for the field's own slots."""
    codes, _ = FieldCoder(field).code([value])
    return int(codes[0]) - field.own_slots


def test_quantile_bins_are_those_of_numpy() -> None:
    # A prime number of rows: with 3000, numpy's 0.15 * 3000 is a little more than 450.
    sample = np.sort(np.random.default_rng(1).normal(size=2999))
    expected = np.quantile(sample, np.linspace(0, 1, 21), method="inverted_cdf")
    assert quantile_edges(sample) == pytest.approx(expected.tolist(), abs=0)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400))
def test_quantile_edges_ascend_and_span_the_sample(numbers: list[float]) -> None:
    edges = quantile_edges(np.sort(np.array(numbers)))
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (min(numbers), max(numbers))
    assert 2 <= len(edges) <= 21


def test_bins_hold_the_same_number_of_rows() -> None:
    source = random.Random(1)
    field = frozen([source.gauss(0, 1) for _ in range(1000)])
    assert field.counts[:20] == [50] * 20
    assert field.counts[20:] == [0] * TAIL


@pytest.mark.parametrize(("rows", "bins"), [(60, 2), (100, 2), (250, 5), (1000, 20), (5000, 20)])
def test_a_small_baseline_has_fewer_bins(rows: int, bins: int) -> None:
    assert len(frozen([index * 1.5 for index in range(rows)]).edges) == bins + 1


def test_counts_of_bins_are_those_of_numpy() -> None:
    source = random.Random(2)
    values = [source.gauss(0, 1) for _ in range(1000)]
    field = frozen(values)
    traffic = np.random.default_rng(3).normal(0.5, 2, size=5000)
    codes, _ = FieldCoder(field).code(traffic.tolist())
    edges = np.array(field.edges)
    # numpy's bins are closed below, ours above: mirror both.
    inside = traffic[(traffic >= edges[0]) & (traffic <= edges[-1])]
    expected = np.histogram(-inside, bins=-edges[::-1])[0][::-1]
    assert np.bincount(codes, minlength=len(field.counts))[:20].tolist() == expected.tolist()
    assert int((codes == 20 + UNDER).sum()) == int((traffic < edges[0]).sum())
    assert int((codes == 20 + OVER).sum()) == int((traffic > edges[-1]).sum())


def test_few_numbers_are_counted_each_by_itself() -> None:
    field = frozen([0, 1, 1, 3] * 10)
    assert (field.kind, field.numbers, field.counts[:3]) == ("numeric", [0, 1, 3], [10, 20, 10])
    assert [tail(field, value) for value in (-1, 0.5, 2, 4)] == [UNDER, NEW, NEW, OVER]


def test_a_constant_is_one_number() -> None:
    field = frozen([7.5] * 3)
    assert (field.numbers, field.scale) == ([7.5], 7.5)
    assert [tail(field, value) for value in (7.4, 7.6)] == [UNDER, OVER]


def test_wrong_types_and_numbers_that_are_none_are_counted_apart() -> None:
    field = frozen([index / 7 for index in range(100)])
    for value in ("1.5", True, [1], float("nan"), float("inf"), -float("inf"), 10**400):
        assert tail(field, value) == INVALID
    assert tail(field, None) == MISSING
    assert tail(field, 2**63) == OVER


def test_categories_beyond_the_known_are_other_and_unseen_ones_new() -> None:
    values = [f"v{index:04}" for index in range(300)] + [f"v{index:04}" for index in range(100)]
    field = frozen(values)
    assert field.categories == [f"v{index:04}" for index in range(MAX_CATEGORIES)]
    assert field.counts[MAX_CATEGORIES + OTHER] == 200
    assert [tail(field, value) for value in ("v0200", "unseen", 5, True, None)] == [
        OTHER,
        NEW,
        INVALID,
        INVALID,
        MISSING,
    ]


def test_an_identifier_takes_bounded_memory() -> None:
    field = frozen([f"{index}" + "x" * 1000 for index in range(10_000)])
    assert len(field.categories) == MAX_CATEGORIES
    assert max(map(len, field.categories)) < 100
    assert len(field.rest) == 8 * MAX_REST


def test_long_texts_that_differ_at_the_end_are_different() -> None:
    field = frozen(["x" * 1000 + "a", "x" * 1000 + "b", "x" * 1000 + "b"])
    assert field.counts[:2] == [2, 1]
    assert tail(field, "x" * 1000 + "c") == NEW


def test_booleans_are_not_numbers() -> None:
    field = frozen([True, False, True])
    assert (field.kind, field.counts[:2]) == ("boolean", [1, 2])
    assert [tail(field, value) for value in (1, 0, "true", None)] == [INVALID, INVALID, INVALID, MISSING]


def test_arrays_are_watched_by_their_length() -> None:
    field = frozen([[1], [1, 2], [3, 4]] * 5)
    assert (field.kind, field.numbers) == ("array", [1, 2])
    assert [tail(field, value) for value in ([], [1] * 3, 1, None)] == [UNDER, OVER, INVALID, MISSING]


def test_a_field_without_values_takes_any_value_for_new() -> None:
    field = frozen([None, None])
    assert field.kind == "empty"
    assert [tail(field, value) for value in (1, "x", None)] == [NEW, NEW, MISSING]


def test_a_number_field_that_was_never_finite_has_no_bins() -> None:
    field = frozen([float("nan")] * 3)
    assert field.counts == [0, 0, 0, 0, 0, 3]
    assert tail(field, 1.0) == NEW


@given(st.lists(ANYTHING, min_size=1, max_size=60), st.lists(ANYTHING, max_size=60))
def test_one_by_one_equals_all_at_once(reference: list[Any], values: list[Any]) -> None:
    coder = FieldCoder(frozen(reference))
    codes, total = coder.code(values)
    singles = [coder.code([value]) for value in values]
    assert codes.tolist() == [int(single[0]) for single, _ in singles]
    assert total == sum(part for _, part in singles)
    assert all(0 <= code < coder.slots for code in codes)
