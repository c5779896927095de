"""A field's values → the slots they are counted in, and their sum in fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import (
    ARRAYS,
    INVALID,
    MISSING,
    NEW,
    OTHER,
    OVER,
    UNDER,
    FieldBaseline,
    as_float,
    category,
    category_hash,
)

Codes = npt.NDArray[np.int64]

STEPS = 1 << 20
"""Fixed-point steps in one baseline standard deviation."""
REACH = 1024
"""Standard deviations from the baseline's mean beyond which a value's share in a sum grows no more.

With it 2^33 values cannot overflow a sum of 64 bits.
"""

_NUMBERS = frozenset({int, float})
_NONE = type(None)
_HASH_BYTES = 8


class FieldCoder:
    """Codes the values of one field under its baseline."""

    def __init__(self, field: FieldBaseline) -> None:
        self.field = field
        self.slots = len(field.counts)
        self._own = field.own_slots
        self._lookup: dict[Any, int] = {None: self._own + MISSING}
        self._inner = np.array(field.edges[1:-1], dtype=np.float64)
        self._numbers = np.array(field.numbers, dtype=np.float64)
        if field.kind == "categorical":
            self._lookup |= {text: slot for slot, text in enumerate(field.categories)}
        elif field.kind == "boolean":
            self._lookup |= {False: 0, True: 1}
        at = range(0, len(field.rest), _HASH_BYTES)
        self._rest = frozenset(field.rest[start : start + _HASH_BYTES] for start in at)

    def code(self, values: Sequence[Any]) -> tuple[Codes, int]:
        """One slot per value, and the fixed-point sum of the valid numbers among them."""
        kind = self.field.kind
        types = set(map(type, values))
        if kind == "numeric" and types <= _NUMBERS:
            try:
                return self._coded_numbers(np.array(values, dtype=np.float64))
            except OverflowError:
                pass
        if kind in ("numeric", "array"):
            return self._numbers_with_others(values)
        if types <= {_NONE, bool if kind == "boolean" else str}:
            slots = list(map(self._lookup.get, values))
            if None not in slots:
                return np.array(slots, dtype=np.int64), 0
        return np.array([self._slot(value) for value in values], dtype=np.int64), 0

    def _coded_numbers(self, values: npt.NDArray[np.float64]) -> tuple[Codes, int]:
        field, own = self.field, self._own
        finite = np.isfinite(values)
        whole = bool(finite.all())
        if field.numbers:
            low, high = field.numbers[0], field.numbers[-1]
            codes = np.searchsorted(self._numbers, values).astype(np.int64, copy=False)
            np.minimum(codes, own - 1, out=codes)
            codes[self._numbers[codes] != values] = own + NEW
        elif field.edges:
            low, high = field.edges[0], field.edges[-1]
            codes = np.searchsorted(self._inner, values).astype(np.int64, copy=False)
        else:
            low = high = 0.0
            codes = np.full(len(values), own + NEW, dtype=np.int64)
        if own:
            codes[values < low] = own + UNDER
            codes[values > high] = own + OVER
        if not whole:
            codes[~finite] = own + INVALID
            values = values[finite]
        return codes, self._fixed_sum(values)

    def _fixed_sum(self, values: npt.NDArray[np.float64]) -> int:
        # Divided before it is scaled up: no finite value and no scale can then give a NaN.
        with np.errstate(over="ignore"):
            deviations = (values - self.field.mean) / self.field.scale
        np.maximum(deviations, -REACH, out=deviations)
        np.minimum(deviations, REACH, out=deviations)
        return int(np.rint(deviations * STEPS).astype(np.int64).sum())

    def _numbers_with_others(self, values: Sequence[Any]) -> tuple[Codes, int]:
        """The general case: nulls, wrong types and giant integers among the numbers."""
        codes = np.full(len(values), self._own + INVALID, dtype=np.int64)
        array = self.field.kind == "array"
        places, numbers = [], []
        for place, value in enumerate(values):
            if value is None:
                codes[place] = self._own + MISSING
            elif array and type(value) in ARRAYS:
                places.append(place)
                numbers.append(float(len(value)))
            elif not array and type(value) in _NUMBERS:
                places.append(place)
                numbers.append(as_float(value))
        coded, total = self._coded_numbers(np.array(numbers, dtype=np.float64))
        codes[places] = coded
        return codes, total

    def _slot(self, value: Any) -> int:
        if value is None:
            return self._own + MISSING
        kind = self.field.kind
        if kind == "empty":
            return self._own + NEW
        if kind == "boolean":
            return int(value) if type(value) is bool else self._own + INVALID
        if type(value) is not str:
            return self._own + INVALID
        text = category(value)
        slot = self._lookup.get(text)
        if slot is not None:
            return slot
        return self._own + (OTHER if self._rest and category_hash(text) in self._rest else NEW)


def mean_of(field: FieldBaseline, fixed_sum: int, valid: int) -> float | None:
    """The mean behind a fixed-point sum of `valid` numbers; None of none."""
    if not valid:
        return None
    mean = field.mean + fixed_sum / STEPS * field.scale / valid
    return mean if np.isfinite(mean) else None
