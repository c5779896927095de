"""Arrays and embeddings: length, and of vectors norm, mean, distance and projections against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.statistics.baseline import INVALID, MISSING, NEW, OVER, FieldBaseline
from sidecar.statistics.field_counter import FieldCounter
from sidecar.statistics.freezing import freeze_field
from sidecar.statistics.vectors import ASPECTS, MOST_ELEMENTS, vector_facts

ELEMENTS = 6


def embeddings(rows: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> list[list[float]]:
    found: list[list[float]] = (np.random.default_rng(seed).normal(shift, scale, (rows, ELEMENTS))).tolist()
    return found


@pytest.fixture(scope="module")
def field() -> FieldBaseline:
    return freeze_field("e", embeddings(500, 1))


def test_the_aspects_are_numpys(field: FieldBaseline) -> None:
    assert field.kind == "vector"
    assert tuple(each.aspect for each in field.aspects) == ASPECTS
    rows = np.array(embeddings(40, 2)).astype(np.float32).astype(np.float64)
    base = np.array(embeddings(500, 1)).astype(np.float32).astype(np.float64)
    assert field.centroid == pytest.approx(base.mean(axis=0), abs=1e-6)
    found = vector_facts(rows.tolist(), field).aspects
    assert found["norm"] == pytest.approx(np.linalg.norm(rows, axis=1))
    assert found["mean"] == pytest.approx(rows.mean(axis=1))
    assert found["distance"] == pytest.approx(np.linalg.norm(rows - np.array(field.centroid), axis=1))
    signs = {tuple(np.round(np.abs(vector_facts(np.eye(ELEMENTS).tolist(), field).aspects[f"projection-{n}"]), 9))
             for n in range(3)}  # fmt: skip
    assert signs == {tuple([round(1 / np.sqrt(ELEMENTS), 9)] * ELEMENTS)}


@settings(deadline=None)
@given(st.lists(st.integers(0, 499), min_size=1, max_size=20), st.integers(0, 19))
def test_a_rows_numbers_do_not_depend_on_its_neighbours(chosen: list[int], at: int) -> None:
    """To the last bit: else a batch cut elsewhere could count it in another bin."""
    field = freeze_field("e", embeddings(500, 1))
    rows = embeddings(500, 1)
    together = vector_facts([rows[each] for each in chosen], field)
    place = at % len(chosen)
    alone = vector_facts([rows[chosen[place]]], field)
    for name in ASPECTS:
        assert together.aspects[name][place] == alone.aspects[name][0]


def test_nothing_is_dropped(field: FieldBaseline) -> None:
    good = embeddings(1, 3)[0]
    values: list[Any] = [
        good, good[:-1], [*good[:-1], float("nan")], [*good[:-1], float("inf")], [*good[:-1], None],
        [*good[:-1], "1"], [*good[:-1], 10**400], [], None, "e", 3.0,
    ]  # fmt: skip
    found = FieldCounter(field).counted(values)
    own = field.own_slots
    codes = found.main.codes.tolist()
    assert codes[0] == codes[2] == codes[6] == 0, "an array of the known length, whatever is in it"
    assert codes[8:] == [own + MISSING, own + INVALID, own + INVALID]
    assert {codes[1], codes[7]} <= {own + NEW, own, own + OVER}, "other lengths"
    for aspect, coded in zip(field.aspects, found.aspects, strict=True):
        assert len(coded.codes) == 6, "of the arrays of the known length"
        assert coded.codes[1:].tolist() == [aspect.own_slots + INVALID] * 5
    assert found.places.tolist() == [0, 2, 3, 4, 5, 6]


def test_strange_vectors_of_the_baseline_are_in_its_counts() -> None:
    rows: list[Any] = embeddings(200, 1)
    rows[7][2] = "x"
    rows[9][0] = float("nan")
    found = freeze_field("e", rows)
    assert [each.counts[each.own_slots + INVALID] for each in found.aspects] == [2] * len(ASPECTS)
    assert np.isfinite(found.centroid).all()


@pytest.mark.parametrize(
    ("shift", "scale", "moves"),
    [(2.0, 1.0, {"norm", "mean", "distance"}), (0.0, 4.0, {"norm", "distance"})],
)
def test_what_moves_is_seen_where_it_should_be(
    field: FieldBaseline, shift: float, scale: float, moves: set[str]
) -> None:
    found = FieldCounter(field).counted(embeddings(200, 4, shift, scale))
    outside = {
        aspect.aspect: float(np.mean(coded.codes >= aspect.own_slots))
        for aspect, coded in zip(field.aspects, found.aspects, strict=True)
    }
    assert {name for name in ("norm", "mean", "distance") if outside[name] > 0.5} == moves - (
        {"mean"} if scale > 1 else set()
    )


def test_arrays_of_no_one_length_are_watched_by_length() -> None:
    found = freeze_field("tags", [["a"] * (number % 5) for number in range(100)])
    assert (found.kind, found.aspects) == ("array", [])
    codes = FieldCounter(found).counted([["a"], ["a"] * 50, "a", None]).main.codes.tolist()
    own = found.own_slots
    assert codes == [1, own + OVER, own + INVALID, own + MISSING]


def test_of_very_long_arrays_only_the_length_is_watched() -> None:
    found = freeze_field("e", [[0.5] * (MOST_ELEMENTS + 1)] * 30)
    assert (found.kind, found.numbers) == ("array", [MOST_ELEMENTS + 1.0])
