"""Rules that hold in the rows that were seen, loose enough to hold in the next ones too."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from sidecar.quality.checker import Batch
from sidecar.quality.column import ARRAYS, Column
from sidecar.quality.evidence import WINDOW, FieldEvidence
from sidecar.quality.order import SURPRISING, Numbers, OrderEvidence
from sidecar.quality.rules import FieldRules, RelationRule, Scalar, Schema

MAX_FIELDS: Final = 550
"""Fields that rules are inferred for; the first ones."""
MARGIN: Final = 0.1
"""Part of the seen span by which a range is widened at either end."""
ROWS_PER_VALUE: Final = 20
"""Rows for each different value, on average, from which on the values count as a set."""
FEW_NUMBERS: Final = 12
"""More different numbers are a range, not a set."""
LEAST_ROWS: Final = 50
"""Fewer rows tell nothing of shapes and uniqueness."""
MOST_NOT_FINITE: Final = 0.05
Z_99: Final = 2.5758
"""Quantile of the normal distribution for an interval of 99 %."""


class Inference:
    """Takes rows in batch by batch, in bounded memory; `schema` gives the rules."""

    def __init__(self) -> None:
        self.rows = 0
        self.left_out = 0
        """Fields beyond MAX_FIELDS."""
        self.notes: dict[str, str] = {}
        """What was seen, by rule, once `schema` was called."""
        self._fields: dict[str, FieldEvidence] = {}
        self._outside: set[str] = set()
        self._order = OrderEvidence()

    def add(self, batch: Batch, paths: Iterable[str]) -> None:
        """Take in a batch with these fields; one that is missing from it was null there."""
        names = list(paths)
        for path in names:
            if path not in self._fields:
                self._begin(path)
        ordered: dict[str, Numbers] = {}
        for path, evidence in self._fields.items():
            column = batch.column(path)
            evidence.add(column, batch.expected(path), batch.row_hashes)
            numbers = _ordered(column, evidence)
            if numbers is not None:
                ordered[path] = numbers
        self._order.add(ordered)
        self.rows += batch.size
        self.left_out = len(self._outside)

    def _begin(self, path: str) -> None:
        if len(self._fields) >= MAX_FIELDS:
            if len(self._outside) < MAX_FIELDS:
                self._outside.add(path)
            return
        evidence = self._fields[path] = FieldEvidence()
        # In the batches before it was in no row.
        evidence.rows = evidence.nulls = self.rows

    def schema(self) -> Schema:
        """The rules, inputs before outputs; `notes` says for each what it rests on."""
        self.notes = {}
        paths = sorted(self._fields, key=lambda path: not path.startswith("inputs."))
        fields = {path: self._rules(path, self._fields[path]) for path in paths}
        related = tuple(RelationRule(each) for each in self._order.relations())
        return Schema(fields, related)

    def _rules(self, path: str, seen: FieldEvidence) -> FieldRules:
        values: dict[str, Any] = {}

        def rule(name: str, value: Any, note: str | None = None) -> None:
            if value is not None:
                values[name] = value
                if note:
                    self.notes[f"{path}/{name}"] = note

        kind = _type_of(seen)
        if seen.known == 0:
            self.notes[path] = "never had a value"
            return FieldRules()
        if kind is None:
            names = sorted({_NAMES.get(each, each.__name__) for each in seen.types})
            self.notes[path] = f"no rule for its type: had {', '.join(names)}"
        rule("type", kind)
        allowed = _allowed(seen, kind)
        rule("allowed", allowed)
        if kind in ("integer", "number") and allowed is None:
            rule("range", *_range(seen, kind))
        if kind == "text" and allowed is None:
            self._text_rules(rule, seen)
        if kind == "array" and seen.shortest is not None and seen.longest is not None:
            fixed = seen.shortest == seen.longest
            rule("length", (seen.shortest, seen.longest if fixed else 2 * seen.longest), _spread(seen))
        rule("nulls", *_nulls(seen))
        if kind == "integer" and allowed is None and _never_twice(seen):
            rule("unique", WINDOW)
        if seen.not_finite and kind == "number":
            _, most = share_interval(seen.not_finite, seen.known)
            rule("tolerate", _rounded_up(most), f"{seen.not_finite:,} of {seen.known:,} were not finite")
        return FieldRules(**values)

    def _text_rules(self, rule: Any, seen: FieldEvidence) -> None:
        pattern = seen.shape.pattern() if seen.known >= LEAST_ROWS else None
        if seen.formats and seen.known >= LEAST_ROWS:
            rule("format", seen.formats[0])
        elif pattern is not None:
            rule("pattern", pattern)
        elif seen.shortest is not None and seen.longest is not None:
            rule("length", (min(seen.shortest, 1), _up(2 * max(seen.longest, 1), 1)), _spread(seen))
        shaped = pattern is not None or "uuid" in seen.formats
        if shaped and not seen.repeated and seen.known >= LEAST_ROWS and "date" not in seen.formats:
            rule("unique", WINDOW)


_NAMES: Final[dict[type, str]] = {
    int: "numbers",
    float: "numbers",
    str: "texts",
    bool: "booleans",
    list: "arrays",
}


def _type_of(seen: FieldEvidence) -> str | None:
    """The type that all values had; None when there were several, or too much that is not finite."""
    types = set(seen.types)
    if seen.not_finite > MOST_NOT_FINITE * seen.known:
        return None
    if types <= {int}:
        return "integer"
    if types <= {int, float}:
        return "number"
    if types <= ARRAYS:
        return "array"
    return {frozenset({str}): "text", frozenset({bool}): "boolean"}.get(frozenset(types))


def _allowed(seen: FieldEvidence, kind: str | None) -> tuple[Scalar, ...] | None:
    """The values of a field that has few, each often; ascending."""
    if kind not in ("text", "integer", "number") or not seen.distinct or seen.not_finite:
        return None
    if len(seen.distinct) * ROWS_PER_VALUE > seen.known or (
        kind != "text" and len(seen.distinct) > FEW_NUMBERS
    ):
        return None
    # 1 and 1.0 are one value here.
    values = dict.fromkeys(value for _, value in seen.distinct)
    return tuple(sorted(values))


def _range(seen: FieldEvidence, kind: str) -> tuple[tuple[Any, Any] | None, str | None]:
    """Seen bounds, widened and rounded outward so that the next rows and another day's data give the same."""
    low, high = seen.low, seen.high
    if low is None or high is None:
        return None, None
    note = f"seen {number(low)} to {number(high)}"
    if kind == "number" and low >= 0 and high <= 1 and type(high) is float:
        return (0, 1), note
    try:
        span = float(high) - float(low) or abs(float(high)) or 1.0
        least, most = float(low) - MARGIN * span, float(high) + MARGIN * span
    except OverflowError:
        return None, None
    if not math.isfinite(least) or not math.isfinite(most):
        return None, None
    unit = 10.0 ** (math.floor(math.log10(span)) - 1)
    if kind == "integer":
        unit = max(unit, 1.0)
    least = 0 if low >= 0 > least else _outward(least, unit, math.floor)
    most = 0 if high <= 0 < most else _outward(most, unit, math.ceil)
    # Rounding must not cut off what was seen, nor leave it out for want of digits.
    return (min(least, low), max(most, high)), note


def _outward(value: float, unit: float, rounding: Any) -> int | float:
    if not unit or not math.isfinite(value / unit):
        return value
    digits = -math.floor(math.log10(unit))
    rounded = round(rounding(value / unit) * unit, digits)
    return int(rounded) if float(rounded).is_integer() and abs(rounded) < 1e15 else rounded


def share_interval(count: int, rows: int) -> tuple[float, float]:
    """Wilson's interval at 99 % for the share behind `count` of `rows`."""
    if not rows:
        return 0.0, 1.0
    share, z2 = count / rows, Z_99 * Z_99
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    reach = Z_99 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    return (0.0 if not count else max(0.0, middle - reach)), (
        1.0 if count == rows else min(1.0, middle + reach)
    )


def _nulls(seen: FieldEvidence) -> tuple[float | None, str | None]:
    least, most = share_interval(seen.nulls, seen.rows)
    allowed = _rounded_up(most)
    if allowed >= 1:
        return None, None
    share = seen.nulls / seen.rows
    if not seen.nulls:
        return allowed, f"none in {_up(seen.rows, 2, math.floor):,} rows or more"
    return allowed, f"seen {percent(share)}, 99 % interval {percent(least)} to {percent(most)}"


def _never_twice(seen: FieldEvidence) -> bool:
    """Whether integers, spread evenly over what was seen, would have met by now."""
    if seen.repeated or seen.known < LEAST_ROWS or seen.low is None or seen.high is None:
        return False
    near = min(seen.known, WINDOW)
    return seen.known * near / 2 / (seen.high - seen.low + 1) >= SURPRISING


def _spread(seen: FieldEvidence) -> str:
    return f"seen {seen.shortest:,} to {seen.longest:,}"


def _ordered(column: Column, seen: FieldEvidence) -> Numbers | None:
    """What the order of fields is told by: numbers, or dates as days."""
    if seen.types.keys() & {int, float}:
        return column.numbers
    if seen.formats[:1] != ["date"] or str not in column.types:
        return None
    texts = [value if type(value) is str else "NaT" for value in column.values]
    try:
        days = np.array(texts, dtype="datetime64[D]")
    except ValueError:
        return None
    numbers = days.astype(np.float64)
    numbers[np.isnat(days)] = np.nan
    return numbers


def _rounded_up(share: float) -> float:
    """Two significant digits, upward."""
    if share <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(share))
    return min(1.0, round(math.ceil(share * 10.0**digits - 1e-9) / 10.0**digits, digits))


def _up(count: int, digits: int, rounding: Any = math.ceil) -> int:
    """A count with so many significant digits."""
    unit: int = 10 ** max(0, len(str(count)) - digits)
    return int(rounding(count / unit)) * unit


def number(value: int | float) -> str:
    """For people: at most five significant digits."""
    return f"{value:,}" if type(value) is int and abs(value) < 10**15 else f"{float(value):.5g}"


def percent(share: float) -> str:
    """For people: two significant digits."""
    return f"{float(f'{share * 100:.2g}'):g} %"
