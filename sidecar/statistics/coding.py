"""A field's values → the slots they are counted in, and their distances from the baseline's mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sidecar.records import TOKEN
from sidecar.statistics.baseline import (
    DETAILS,
    HASH_BYTES,
    INVALID,
    MINUS_INFINITY,
    MISSING,
    NAN,
    NEW,
    OTHER,
    OVER,
    PLUS_INFINITY,
    UNDER,
    UNPARSABLE,
    WRONG_TYPE,
    FieldBaseline,
    as_float,
    category,
    category_hash,
)

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

STEPS = 1 << 20
"""Fixed-point steps in one baseline standard deviation."""
REACH = 1024
"""Standard deviations from the baseline's mean beyond which a value's share in a sum grows no more.

With it 2^33 values cannot overflow a sum of 64 bits.
"""

_NUMBERS = frozenset({int, float})
_NONE = type(None)
_KNOWN_TEXTS = 4096
"""Texts whose slot is remembered."""


_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_LONGEST_NUMBER = 400
"""Characters: the longest that a double is written in, and a margin."""


class Unparsable:
    """Stands for a value of the right type that could not be read."""


UNREADABLE = Unparsable()


def reads_as_number(text: str) -> bool:
    """Whether a text is a number that somebody has put in quotes."""
    return len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) is not None


def _what(value: Any) -> int:
    """What kind of invalid a value is where a number belongs.

    A number in quotes, a boolean or an array can be read and is of the wrong
    type; a text that is no number cannot be read. A concealed text is not looked into.
    """
    if type(value) is Unparsable:
        return UNPARSABLE
    if type(value) is str and not value.startswith(TOKEN) and not reads_as_number(value):
        return UNPARSABLE
    return WRONG_TYPE


class Coded(NamedTuple):
    """What the values of one field came to."""

    codes: Codes
    """One slot per value."""
    deviations: Codes | None
    """Per value its fixed-point distance from the mean in deviations, 0 for no number; None for texts."""
    details: Codes | None
    """Counts of the invalid values by what they were; None when there were none."""


class FieldCoder:
    """Codes the values of one field, or of one aspect, under its baseline."""

    def __init__(self, field: FieldBaseline) -> None:
        self.field = field
        self.slots = len(field.counts)
        self._own = field.own_slots
        self._lookup: dict[Any, int] = {None: self._own + MISSING}
        self._inner = np.array(field.edges[1:-1], dtype=np.float64)
        self._numbers = np.array(field.numbers, dtype=np.float64)
        self._texts = field.kind in ("categorical", "text", "timestamp", "image") and not field.aspect
        self._lookup |= (
            {False: 0, True: 1}
            if field.kind == "boolean"
            else {text: slot for slot, text in enumerate(field.categories)}
        )
        hidden = [field.concealed[at : at + HASH_BYTES] for at in range(0, len(field.concealed), HASH_BYTES)]
        self._hidden = {known: len(field.categories) + slot for slot, known in enumerate(hidden)}
        self._rest = np.frombuffer(field.rest, dtype=">u8")

    def code(self, values: Sequence[Any]) -> Coded:
        """One slot per value, with what else is counted of them."""
        kind = self.field.kind
        types = set(map(type, values))
        if not self._texts and kind not in ("boolean", "empty"):
            if types <= _NUMBERS:
                try:
                    return self.code_numbers(np.array(values, dtype=np.float64))
                except OverflowError:
                    pass
            return self._numbers_with_others(values)
        if types <= {_NONE, bool if kind == "boolean" else str}:
            slots = list(map(self._lookup.get, values))
            if None not in slots:
                return Coded(np.array(slots, dtype=np.int64), None, None)
        codes = np.array([self._slot(value) for value in values], dtype=np.int64)
        return Coded(codes, None, self._details_of(values, codes))

    def code_measured(self, values: Floats, unmeasured: npt.NDArray[np.bool_] | None) -> Coded:
        """The same for an array of doubles of which some were not looked at: they are missing."""
        if unmeasured is None or not unmeasured.any():
            return self.code_numbers(values)
        found = self.code_numbers(values[~unmeasured])
        codes = np.full(len(values), self._own + MISSING, dtype=np.int64)
        codes[~unmeasured] = found.codes
        deviations = np.zeros(len(values), dtype=np.int64)
        if found.deviations is not None:
            deviations[~unmeasured] = found.deviations
        return Coded(codes, deviations, found.details)

    def code_numbers(self, values: Floats) -> Coded:
        """The same for an array of doubles."""
        field, own = self.field, self._own
        finite = np.isfinite(values)
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
        # Divided before it is scaled up: no finite value and no scale can then give a NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            deviations = (values - field.mean) / field.scale
        np.clip(deviations, -REACH, REACH, out=deviations)
        if finite.all():
            return Coded(codes, np.rint(deviations * STEPS).astype(np.int64), None)
        codes[~finite] = own + INVALID
        deviations[~finite] = 0.0
        details = np.zeros(DETAILS, dtype=np.int64)
        details[NAN] = np.isnan(values).sum()
        details[MINUS_INFINITY] = (values == -np.inf).sum()
        details[PLUS_INFINITY] = (values == np.inf).sum()
        return Coded(codes, np.rint(deviations * STEPS).astype(np.int64), details)

    def _numbers_with_others(self, values: Sequence[Any]) -> Coded:
        """The general case: nulls, wrong types and giant integers among the numbers."""
        own = self._own
        codes = np.full(len(values), own + INVALID, dtype=np.int64)
        deviations = np.zeros(len(values), dtype=np.int64)
        details = np.zeros(DETAILS, dtype=np.int64)
        places, numbers = [], []
        for place, value in enumerate(values):
            kind = type(value)
            if value is None:
                codes[place] = own + MISSING
            elif kind in _NUMBERS:
                places.append(place)
                numbers.append(as_float(value))
            else:
                details[_what(value)] += 1
        coded = self.code_numbers(np.array(numbers, dtype=np.float64))
        codes[places] = coded.codes
        if coded.deviations is not None:
            deviations[places] = coded.deviations
        if coded.details is not None:
            details += coded.details
        return Coded(codes, deviations, details if details.any() else None)

    def _details_of(self, values: Sequence[Any], codes: Codes) -> Codes | None:
        wrong = np.flatnonzero(codes == self._own + INVALID)
        if not len(wrong):
            return None
        details = np.zeros(DETAILS, dtype=np.int64)
        unread = sum(1 for place in wrong.tolist() if type(values[place]) is Unparsable)
        details[UNPARSABLE], details[WRONG_TYPE] = unread, len(wrong) - unread
        return details

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
        slot = self._lookup.get(value)
        if slot is None:
            slot = self._slot_of_text(category(value))
            if len(self._lookup) < _KNOWN_TEXTS:
                self._lookup[value] = slot
        return slot

    def _slot_of_text(self, text: str) -> int:
        slot = self._lookup.get(text)
        if slot is not None:
            return slot
        if not self._hidden and not len(self._rest):
            return self._own + NEW
        known = category_hash(text)
        if known in self._hidden:
            return self._hidden[known]
        number = np.frombuffer(known, dtype=">u8")[0]
        at = int(np.searchsorted(self._rest, number))
        return self._own + (OTHER if at < len(self._rest) and self._rest[at] == number else NEW)


def mean_of(field: FieldBaseline, fixed_sum: int, valid: int) -> float | None:
    """The mean behind a fixed-point sum of `valid` numbers; None of none."""
    if not valid:
        return None
    mean = field.mean + fixed_sum / STEPS * field.scale / valid
    return mean if np.isfinite(mean) else None
