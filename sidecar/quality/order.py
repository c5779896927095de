"""Which number is never above which other, and whether that is more than coincidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidecar.quality.relation import Comparison

Numbers = npt.NDArray[np.float64]

MAX_FIELDS: Final = 60
SAMPLE: Final = 4_096
LEAST_ROWS: Final = 100
SURPRISING: Final = 20.0
"""Rows that would break the relation if the two fields had nothing to do with each other."""
MAX_RELATIONS: Final = 50


class OrderEvidence:
    """For each pair of fields whether one was ever above the other, and a sample to judge it by."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._above: npt.NDArray[np.bool_] = np.zeros((MAX_FIELDS, MAX_FIELDS), dtype=np.bool_)
        """[i, j]: some row had field i above field j."""
        self._equal = self._above.copy()
        self._both: npt.NDArray[np.int64] = np.zeros((MAX_FIELDS, MAX_FIELDS), dtype=np.int64)
        self._sample: dict[str, list[Numbers]] = {}
        self._kept = 0
        self._stride = 1
        self._seen = 0

    def add(self, columns: Mapping[str, Numbers]) -> None:
        """Take in one batch: numbers per field, NaN where there is none, all of one length."""
        size = len(next(iter(columns.values()), ()))
        if not size:
            return
        for name in columns:
            if name not in self._sample and len(self._names) < MAX_FIELDS:
                self._names.append(name)
                self._sample[name] = [np.full(self._kept, np.nan)]
        table = np.full((len(self._names), size), np.nan)
        for at, name in enumerate(self._names):
            if name in columns:
                table[at] = columns[name]
        table[~np.isfinite(table)] = np.nan
        count = len(self._names)
        for at in range(count):
            self._above[at, :count] |= (table[at] > table).any(axis=1)
            self._equal[at, :count] |= (table[at] == table).any(axis=1)
        there = (~np.isnan(table)).astype(np.float64)
        self._both[:count, :count] += np.rint(there @ there.T).astype(np.int64)
        self._take(table)

    def _take(self, table: Numbers) -> None:
        first = -self._seen % self._stride
        self._seen += table.shape[1]
        for name, values in zip(self._names, table[:, first :: self._stride], strict=True):
            self._sample[name].append(values)
        self._kept += len(range(first, table.shape[1], self._stride))
        while self._kept > SAMPLE:
            self._stride *= 2
            for name in self._names:
                self._sample[name] = [np.concatenate(self._sample[name])[::2]]
            self._kept = -(-self._kept // 2)

    def relations(self) -> list[Comparison]:
        """Relations that held in every row and hardly by chance, without those that follow from others."""
        found: dict[tuple[int, int], Comparison] = {}
        sample = [np.concatenate(self._sample[name]) for name in self._names]
        ranked = [np.sort(values[~np.isnan(values)]) for values in sample]
        for low in range(len(self._names)):
            for high in range(len(self._names)):
                if low == high or self._above[low, high] or self._both[low, high] < LEAST_ROWS:
                    continue
                operator = self._operator(low, high, ranked[low], ranked[high])
                if operator is not None and not (operator == "==" and high < low):
                    names = self._names
                    found[low, high] = Comparison((names[low],), operator, names[high])
        return _without_consequences(found)[:MAX_RELATIONS]

    def _operator(self, low: int, high: int, lows: Numbers, highs: Numbers) -> Any:
        if not len(lows) or not len(highs):
            return None
        rows = int(self._both[low, high])
        below = np.searchsorted(highs, lows, side="left").sum()
        above = below / (len(lows) * len(highs))
        equal = (np.searchsorted(highs, lows, side="right").sum() - below) / (len(lows) * len(highs))
        if not self._above[high, low]:
            # Never above and never below: equal, or else two constants.
            return "==" if (1 - equal) * rows >= SURPRISING else None
        if above * rows < SURPRISING or above < 0.01:
            return None
        return "<=" if self._equal[low, high] or equal * rows < SURPRISING else "<"


def _without_consequences(found: dict[tuple[int, int], Comparison]) -> list[Comparison]:
    """a ≤ c is no news where a ≤ b and b ≤ c."""
    middle: dict[int, set[int]] = {}
    for low, high in found:
        middle.setdefault(low, set()).add(high)
    kept = []
    for (low, high), relation in found.items():
        between = middle.get(low, set()) - {high}
        follows = relation.operator == "<=" and any(high in middle.get(each, set()) for each in between)
        if not follows:
            kept.append(relation)
    return kept
