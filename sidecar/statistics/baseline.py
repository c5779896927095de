"""What normal looked like: per field the bins, the known values and how often each was seen.

Immutable and named by its content hash, so that counts made anywhere under
the same baseline can be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import Any, Literal

import msgspec
import numpy as np

Kind = Literal["numeric", "categorical", "boolean", "array", "empty"]

BINS = 20
ROWS_PER_BIN = 50
"""Fewer bins for a small baseline: PSI between samples of one distribution grows with the bins."""
MAX_DISTINCT_NUMBERS = 20
ROWS_PER_NUMBER = 5
"""Numbers that repeat this often on average, and are few, are counted each by itself."""
MAX_CATEGORIES = 100
MAX_REST = 4096
"""Known values beyond the counted categories that are still told from new ones."""
MAX_TEXT = 256
"""Characters of a category; a longer text is known by its beginning and its hash."""

UNDER, OVER, NEW, OTHER, MISSING, INVALID = range(6)
"""The slots after a field's own ones.

Out of range (two), never seen, known but rare, null or absent, of a wrong type or not finite.
"""
TAIL = 6

ARRAYS = frozenset({list, range})
"""Only lengths are watched, so a range does for an array that is not worth its memory."""


class FieldBaseline(msgspec.Struct, frozen=True):
    """One field, frozen."""

    name: str
    kind: Kind
    edges: list[float]
    """Ascending bounds of the bins, minimum and maximum included; empty unless numbers are binned."""
    numbers: list[float]
    """Ascending; each counted by itself; empty unless numbers are few."""
    categories: list[str]
    """Most frequent first, ties in code point order."""
    rest: bytes
    """8-byte hashes, ascending, of further known categories."""
    counts: list[int]
    """Rows of the baseline in each slot: the field's own, then the tail."""
    mean: float
    scale: float
    """Standard deviation, or what stands in for it when there is none: the unit of fixed-point sums."""

    @property
    def own_slots(self) -> int:
        """Slots before the tail."""
        return len(self.counts) - TAIL

    def labels(self) -> list[str]:
        """What each own slot counts; for bins their upper bound's interval."""
        if self.numbers:
            return [number_label(number) for number in self.numbers]
        if self.edges:
            pairs = zip(self.edges[:-1], self.edges[1:], strict=True)
            return [f"{number_label(low)}..{number_label(high)}" for low, high in pairs]
        return self.categories


class Baseline(msgspec.Struct, frozen=True):
    """All fields of one model."""

    exchanges: int
    rows: int
    answered_rows: int
    inputs: list[FieldBaseline]
    outputs: list[FieldBaseline]
    version: int = 1

    def encode(self) -> bytes:
        """Canonical bytes; equal baselines have equal bytes."""
        return msgspec.msgpack.encode(self)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of `encode()`, the baseline's name."""
        return sha256(self.encode()).hexdigest()


def number_label(number: float) -> str:
    """Shortest text that reads back as the same number, without `.0`."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def category(text: str) -> str:
    """The category that `text` is counted under: itself unless it is long."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:64]}…{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def category_hash(text: str) -> bytes:
    """8 bytes that stand for a category."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def kind_of_values(values: Sequence[Any]) -> Kind:
    """The kind most of the values have; `empty` if none has any."""
    types = Counter(map(type, values))
    found: list[tuple[int, Kind]] = [
        (types[int] + types[float], "numeric"),
        (types[str], "categorical"),
        (types[bool], "boolean"),
        (types[list] + types[range], "array"),
    ]
    rows, kind = max(found, key=lambda pair: pair[0])
    return kind if rows else "empty"


def freeze_field(name: str, values: Sequence[Any]) -> FieldBaseline:
    """The baseline without counts (all 0) of a field with these values.

    `coding.counted` fills the counts in with the very code that later counts traffic.
    """
    kind = kind_of_values(values)
    if kind == "categorical":
        texts = Counter(category(value) for value in values if type(value) is str)
        ranked = sorted(texts, key=lambda text: (-texts[text], text))
        rest = sorted(category_hash(text) for text in ranked[MAX_CATEGORIES : MAX_CATEGORIES + MAX_REST])
        return _field(name, kind, categories=ranked[:MAX_CATEGORIES], rest=b"".join(rest))
    if kind == "boolean":
        return _field(name, kind, categories=["false", "true"])
    if kind == "empty":
        return _field(name, kind)
    sample = np.sort(finite_numbers(values, kind))
    if not len(sample):
        return _field(name, kind, numbers=[])
    mean, scale = _centre(sample)
    distinct = np.unique(sample)
    if len(distinct) <= MAX_DISTINCT_NUMBERS and (
        len(distinct) == 1 or len(distinct) * ROWS_PER_NUMBER <= len(sample)
    ):
        return _field(name, kind, numbers=distinct.tolist(), mean=mean, scale=scale)
    return _field(name, kind, edges=quantile_edges(sample), mean=mean, scale=scale)


def finite_numbers(values: Sequence[Any], kind: Kind) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The numbers (or array lengths) among `values`, without NaN and infinities."""
    if kind == "array":
        plain: list[Any] = [len(value) for value in values if type(value) in ARRAYS]
    else:
        plain = [as_float(value) for value in values if type(value) in (int, float)]
    numbers = np.array(plain, dtype=np.float64)
    return numbers[np.isfinite(numbers)]


def as_float(number: int | float) -> float:
    """The nearest double; an integer beyond all doubles is infinite."""
    try:
        return float(number)
    except OverflowError:
        return float("inf")


def quantile_edges(ordered: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """Bounds of up to `BINS` bins with about equally many of the ascending numbers in each.

    Every bound is one of the numbers (inverse of the empirical distribution
    function), so no platform's interpolation can change a baseline's hash.
    """
    bins = min(BINS, max(2, len(ordered) // ROWS_PER_BIN))
    ranks = [max(0, -(-len(ordered) * step // bins) - 1) for step in range(bins + 1)]
    edges: list[float] = np.unique(ordered[ranks]).tolist()
    return edges if len(edges) > 1 else [edges[0], edges[0]]


def _centre(sample: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(sample.mean()), float(sample.std())
    if not np.isfinite(mean) or not np.isfinite(deviation):
        # Numbers near the largest double: half the way between the extremes serves as well.
        return 0.0, float(np.abs(sample).max())
    return mean, deviation or abs(mean) or 1.0


def _field(
    name: str,
    kind: Kind,
    *,
    edges: list[float] | None = None,
    numbers: list[float] | None = None,
    categories: list[str] | None = None,
    rest: bytes = b"",
    mean: float = 0.0,
    scale: float = 1.0,
) -> FieldBaseline:
    edges, numbers, categories = edges or [], numbers or [], categories or []
    own = len(numbers) + len(categories) + max(0, len(edges) - 1)
    return FieldBaseline(name, kind, edges, numbers, categories, rest, [0] * (own + TAIL), mean, scale)
