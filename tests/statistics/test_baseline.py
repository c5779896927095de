"""Freezing: kinds, bins and known values."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.statistics.baseline import INVALID, MISSING, NEW, OTHER, OVER, TAIL, UNDER, FieldBaseline
from sidecar.statistics.coding import FieldCoder
from sidecar.statistics.field_counter import FieldCounter
from sidecar.statistics.freezing import MAX_CATEGORIES, MAX_REST, freeze_field, quantile_edges
from tests.statistics.observations import ANYTHING


def frozen(values: list[Any]) -> FieldBaseline:
    return freeze_field("x", values)


def tail(field: FieldBaseline, value: Any) -> int:
    """The tail slot a value is counted in; negative for the field's own slots."""
    return int(FieldCounter(field).counted([value], None).main.codes[0]) - field.own_slots


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
    codes = FieldCoder(field).code(traffic.tolist()).codes
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
    values = [f"v{index:04}" for index in range(300)] * 3 + [f"v{index:04}" for index in range(100)]
    field = frozen(values)
    assert field.categories == [f"v{index:04}" for index in range(MAX_CATEGORIES)]
    assert field.counts[MAX_CATEGORIES + OTHER] == 600
    assert [tail(field, value) for value in ("v0200", "unseen", 5, True, None)] == [
        OTHER,
        NEW,
        INVALID,
        INVALID,
        MISSING,
    ]


def test_categories_take_bounded_memory() -> None:
    field = frozen([f"{index}" + "x" * 1000 for index in range(3000)] * 3)
    assert len(field.categories) == MAX_CATEGORIES
    assert max(map(len, field.categories)) < 100
    assert len(field.rest) == 8 * MAX_REST


def test_values_seen_once_let_new_ones_be_expected() -> None:
    field = frozen(["a"] * 60 + ["b"] * 30 + [f"rare {index}" for index in range(10)])
    own = field.own_slots
    assert field.counts[own + NEW] == 0
    assert field.reference()[own + NEW] == 10


def test_texts_that_hardly_repeat_are_watched_as_texts() -> None:
    field = frozen([f"order {index}, please" for index in range(50)])
    assert field.kind == "text"
    assert [aspect.aspect for aspect in field.aspects] == ["length", "tokens", "letters", "digits", "marks"]


def test_long_texts_that_differ_at_the_end_are_different() -> None:
    field = frozen(["x" * 1000 + "a", "x" * 1000 + "b", "x" * 1000 + "b"])
    assert field.counts[:2] == [2, 1]
    assert tail(field, "x" * 1000 + "c") == NEW


def test_tokens_of_redacted_values_are_not_in_a_baseline() -> None:
    token = "redacted:" + "ab" * 16
    field = frozen([token] * 40 + ["plain"] * 20)
    assert token.encode() not in msgspec.json.encode(field)
    assert (field.labels(), field.counts[:2]) == (["plain", "(redacted)"], [20, 40])
    assert tail(field, token) < 0
    assert tail(field, "redacted:" + "cd" * 16) == NEW


def test_a_coarse_baseline_has_two_significant_digits() -> None:
    source = random.Random(3)
    values = [source.gauss(52_345.678, 1234.5) for _ in range(1000)]
    field = freeze_field("x", values, coarse=True)
    for number in (*field.edges, field.mean, field.scale):
        assert float(f"{number:.1e}") == number
    assert field.edges[0] <= min(values)
    assert field.edges[-1] >= max(values)
    assert sum(field.counts[field.own_slots :]) == 0


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
    coder = FieldCounter(frozen(reference))
    whole = coder.counted(values)
    singles = [coder.counted([value]).main for value in values]
    assert whole.main.codes.tolist() == [int(single.codes[0]) for single in singles]
    assert _sum(whole.main.deviations) == sum(_sum(single.deviations) for single in singles)
    assert _sum(whole.main.details) == sum(_sum(single.details) for single in singles)
    assert all(0 <= code < len(coder.field.counts) for code in whole.main.codes)


def _sum(numbers: Any) -> int:
    return 0 if numbers is None else int(numbers.sum())
