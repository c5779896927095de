"""A column's values as arrays, each made once for all rules that look at it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

NUMBERS = frozenset({int, float})
ARRAYS = frozenset({list, range})
_NULL = type(None)


class Column:
    """One field's value in each row.

    Texts that begin with `concealed` stand for values that may not be looked at:
    they are there, and nothing else is known of them.
    """

    def __init__(self, values: Sequence[Any], concealed: str | None = None) -> None:
        self.values = values
        self.size = len(values)
        self.types = frozenset(map(type, values))
        self._concealed = concealed

    @cached_property
    def null(self) -> Mask:
        """Rows without a value."""
        if _NULL not in self.types:
            return self._none()
        return self._where(value is None for value in self.values)

    @cached_property
    def known(self) -> Mask:
        """Rows with a value that can be looked at."""
        prefix = self._concealed
        if prefix is None or str not in self.types:
            return ~self.null
        return ~self.null & ~self._where(
            type(value) is str and value.startswith(prefix) for value in self.values
        )

    @cached_property
    def is_number(self) -> Mask:
        """Rows with an integer or a float, NaN and infinities included; booleans are none."""
        if self.types <= NUMBERS:
            return np.ones(self.size, dtype=np.bool_)
        if not self.types & NUMBERS:
            return self._none()
        return self._where(type(value) in NUMBERS for value in self.values)

    @cached_property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The nearest double of each number, NaN elsewhere."""
        values: Sequence[Any] = self.values
        if not self.types <= NUMBERS:
            if not self.types & NUMBERS:
                return np.full(self.size, np.nan)
            values = [value if type(value) in NUMBERS else np.nan for value in values]
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            return np.array([_as_float(value) for value in values], dtype=np.float64)

    @cached_property
    def is_text(self) -> Mask:
        """Rows with a text that can be looked at."""
        if str not in self.types:
            return self._none()
        if self.types == {str} and self._concealed is None:
            return np.ones(self.size, dtype=np.bool_)
        return self._where(type(value) is str for value in self.values) & self.known

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Characters of a text, values of an array, -1 elsewhere."""
        sized = ARRAYS | {str}
        if self.types == {str}:
            return np.fromiter(map(len, self.values), dtype=np.int64, count=self.size)
        lengths = (len(value) if type(value) in sized else -1 for value in self.values)
        return np.fromiter(lengths, dtype=np.int64, count=self.size)

    def is_type(self, *types: type) -> Mask:
        """Rows whose value is of one of these very types."""
        wanted = frozenset(types)
        if self.types <= wanted:
            return np.ones(self.size, dtype=np.bool_)
        if not self.types & wanted:
            return self._none()
        return self._where(type(value) in wanted for value in self.values)

    def _none(self) -> Mask:
        return np.zeros(self.size, dtype=np.bool_)

    def _where(self, answers: Any) -> Mask:
        return np.fromiter(answers, dtype=np.bool_, count=self.size)


def _as_float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")
