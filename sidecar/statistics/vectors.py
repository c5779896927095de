"""Arrays of numbers (embeddings) → length, norm, mean, distance to the baseline's centroid, projections.

Elements are taken as 32-bit floats, and reduced row by row, so that a row's
numbers do not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import shake_128
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.facts import BriefVector, Facts, Floats

PROJECTIONS: Final = 3
ASPECTS: Final = ("norm", "mean", "distance", *(f"projection-{number}" for number in range(PROJECTIONS)))
MOST_ELEMENTS: Final = 4096
"""Of a longer array only the length is watched."""
_NUMBERS = frozenset({int, float})


_STRANGE = object()


def lengths(values: Sequence[Any]) -> list[Any]:
    """The length of every array; null stays, anything else is strange."""
    return [_length(value) for value in values]


def _length(value: Any) -> Any:
    if type(value) is list:
        return len(value)
    # A number among arrays is of a wrong type, not an array of that length.
    return value.length if type(value) is BriefVector else None if value is None else _STRANGE


def packed(value: list[Any]) -> BriefVector:
    """An array as a baseline's rows hold it."""
    if not value or len(value) > MOST_ELEMENTS:
        return BriefVector(len(value))
    if not _NUMBERS.issuperset(map(type, value)):
        return BriefVector(len(value), strange=True)
    try:
        elements = np.array(value, dtype=np.float64)
    except OverflowError:
        return BriefVector(len(value), strange=True)
    with np.errstate(over="ignore"):
        return BriefVector(len(value), elements.astype("<f4").tobytes())


def matrix(values: Sequence[Any], elements: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """The rows that are arrays of so many elements, and these; all NaN where one is no finite number."""
    places, rows = [], []
    nothing = np.full(elements, np.nan, dtype="<f4").tobytes()
    for at, value in enumerate(values):
        brief = packed(value) if type(value) is list and len(value) == elements else value
        if type(brief) is BriefVector and brief.length == elements and (brief.packed or brief.strange):
            places.append(at)
            rows.append(brief.packed or nothing)
    found = np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), elements).astype(np.float64)
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return np.array(places, dtype=np.int64), found


def centroid_of(values: Sequence[Any], elements: int) -> list[float]:
    """The mean of each element, as 32-bit floats tell them."""
    _, rows = matrix(values, elements)
    rows = rows[np.isfinite(rows[:, 0])] if len(rows) else rows
    if not len(rows):
        return []
    return [float(mean) for mean in rows.mean(axis=0).astype(np.float32)]


@lru_cache(maxsize=64)
def _signs(elements: int) -> Floats:
    """Fixed random directions of ±1/√elements, shape (PROJECTIONS, elements); the same everywhere."""
    count = PROJECTIONS * elements
    bits = np.unpackbits(np.frombuffer(shake_128(b"sidecar projections 1").digest(-(-count // 8)), np.uint8))
    signs: Floats = bits[:count].astype(np.float64).reshape(PROJECTIONS, elements) * 2 - 1
    return signs / float(np.sqrt(elements))


def vector_facts(values: Sequence[Any], field: FieldBaseline) -> Facts:
    """The length of every array, and the aspects of those as long as the baseline's centroid."""
    main = lengths(values)
    centroid = np.array(field.centroid, dtype=np.float64)
    places, rows = (
        matrix(values, len(centroid)) if len(centroid) else (np.zeros(0, np.int64), np.zeros((0, 1)))
    )
    aspects = {
        "norm": np.sqrt((rows * rows).sum(axis=1)),
        "mean": rows.mean(axis=1) if len(rows) else np.zeros(0),
        "distance": np.sqrt(((rows - centroid) ** 2).sum(axis=1)) if len(rows) else np.zeros(0),
    }
    signs = _signs(max(1, len(centroid)))
    for number in range(PROJECTIONS):
        aspects[f"projection-{number}"] = (rows * signs[number]).sum(axis=1) if len(rows) else np.zeros(0)
    return Facts(main, places, aspects)
