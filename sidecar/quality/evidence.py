"""What was seen of a field, in bounded memory however many rows there are."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np

from sidecar.quality.column import Column, Mask
from sidecar.quality.formats import FORMATS
from sidecar.quality.shape import Shape
from sidecar.quality.window import Hashes, Window, hashes

MAX_DISTINCT: Final = 50
"""Different values that are told apart."""
MAX_DISTINCT_TEXT: Final = 256
"""Characters; a field with longer texts has no set of values."""
WINDOW: Final = 10_000
"""How far back a value is looked for."""


class FieldEvidence:
    """One field's values so far; take a `Column` at a time with `add`."""

    def __init__(self) -> None:
        self.rows = 0
        """Rows in which it could have been."""
        self.nulls = 0
        self.types: Counter[type] = Counter()
        self.not_finite = 0
        self.low: int | float | None = None
        self.high: int | float | None = None
        self.shortest: int | None = None
        self.longest: int | None = None
        self.distinct: dict[tuple[type, Any], int] | None = {}
        """Rows with each value by type and value; None once there are too many."""
        self.formats: list[str] = list(FORMATS)
        """Those that every text so far had."""
        self.shape = Shape()
        self.repeated = False
        """Whether a value was there again within WINDOW."""
        self._window: Window | None = Window(WINDOW)

    @property
    def known(self) -> int:
        """Rows with a value."""
        return sum(self.types.values())

    def add(self, column: Column, expected: Mask, row_hashes: Hashes) -> None:
        """Take in one more batch; `expected` masks the rows in which the field could be."""
        self.rows += int(np.count_nonzero(expected))
        self.nulls += int(np.count_nonzero(column.null & expected))
        values = [value for value in column.values if value is not None]
        self.types.update(map(type, values))
        self._numbers(column)
        self._lengths(column)
        texts = {value for value in values if type(value) is str}
        if texts:
            self.formats = [
                name for name in self.formats if all(FORMATS[name].fullmatch(text) for text in texts)
            ]
            self.shape.add(texts)
        self._count(values)
        self._look_back(column, values, row_hashes)

    def _numbers(self, column: Column) -> None:
        numbers = column.numbers[column.is_number]
        finite = np.isfinite(numbers)
        self.not_finite += int(np.count_nonzero(~finite))
        if finite.any():
            # The value itself, not its double: integers beyond 2^53 keep their last digits.
            places = np.flatnonzero(column.is_number)[finite]
            seen = [column.values[place] for place in places.tolist()]
            low, high = min(seen), max(seen)
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)

    def _lengths(self, column: Column) -> None:
        lengths = column.lengths[column.lengths >= 0]
        if len(lengths):
            shortest, longest = int(lengths.min()), int(lengths.max())
            self.shortest = shortest if self.shortest is None else min(self.shortest, shortest)
            self.longest = longest if self.longest is None else max(self.longest, longest)

    def _count(self, values: list[Any]) -> None:
        if self.distinct is None:
            return
        if list in self.types or range in self.types or (self.longest or 0) > MAX_DISTINCT_TEXT:
            self.distinct = None
            return
        for pair, times in Counter(zip(map(type, values), values, strict=True)).items():
            self.distinct[pair] = self.distinct.get(pair, 0) + times
            if len(self.distinct) > MAX_DISTINCT:
                self.distinct = None
                return

    def _look_back(self, column: Column, values: list[Any], row_hashes: Hashes) -> None:
        if self._window is None:
            return
        places = np.flatnonzero(~column.null)
        if self._window.repeated(hashes(values), row_hashes[places]).any():
            self.repeated, self._window = True, None
