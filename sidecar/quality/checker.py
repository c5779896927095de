"""A schema as a function of columns: which rows break which rule."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.quality.automaton import Automaton
from sidecar.quality.column import ARRAYS, Column, Mask
from sidecar.quality.formats import FORMATS
from sidecar.quality.relation import Comparison, Implication
from sidecar.quality.rules import DEFAULT_LIMIT, FieldRules, Schema, names_of
from sidecar.quality.window import Hashes, Window, hashes

Result = tuple[Mask, Mask]
"""Rows that a rule has something to say of, and those of them that break it."""
Test = Callable[["Batch"], Result]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule says of some rows."""

    checked: int
    violated: npt.NDArray[np.int64]
    """Numbers of the rows that break it, ascending."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to be applied."""

    name: str
    """`inputs.age/range`, or a relation as it is written."""
    paths: tuple[str, ...]
    allowed: float
    """The share of checked rows that may break it."""
    test: Test

    @property
    def limit(self) -> float:
        """The share beyond which an alarm is raised; see `rules.DEFAULT_LIMIT`."""
        return self.allowed or DEFAULT_LIMIT


class Batch:
    """Rows to be checked: `column` gives the values of a path, one per row, null where there is none.

    `answered` masks the rows that have outputs at all: without an answer, an
    output that is not there breaks no rule. `row_hashes` tells rows apart,
    across batches too, for rules that remember.
    """

    def __init__(
        self,
        column: Callable[[str], Sequence[Any]],
        size: int,
        row_hashes: Callable[[], Hashes],
        answered: Mask | None = None,
        concealed: str | None = None,
    ) -> None:
        self.size = size
        self._column = column
        self._row_hashes = row_hashes
        self._answered = answered
        self._concealed = concealed
        self._columns: dict[str, Column] = {}

    def column(self, path: str) -> Column:
        known = self._columns.get(path)
        if known is None:
            known = self._columns[path] = Column(self._column(path), self._concealed)
        return known

    def expected(self, path: str) -> Mask:
        """Rows in which the field could be."""
        if self._answered is None or not path.startswith("outputs."):
            return np.ones(self.size, dtype=np.bool_)
        return self._answered

    @property
    def row_hashes(self) -> Hashes:
        return self._row_hashes()


class Checker:
    """Applies the rules of a schema. Remembers values only for `unique`, so take one per stream of rows."""

    def __init__(self, schema: Schema) -> None:
        rules: list[Rule] = []
        for path, field in schema.fields.items():
            for name in names_of(field):
                allowed = field.nulls or 0.0 if name == "nulls" else field.tolerate
                rules.append(Rule(f"{path}/{name}", (path,), allowed, _TESTS[name](path, field)))
        for each in schema.relations:
            relation = each.relation
            test = _comparison(relation) if isinstance(relation, Comparison) else _implication(relation)
            rules.append(Rule(str(relation), relation.paths, each.tolerate, test))
        self.rules = tuple(rules)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field that a rule looks at."""
        return tuple(dict.fromkeys(path for rule in self.rules for path in rule.paths))

    def check(self, batch: Batch) -> list[Verdict]:
        """One verdict per rule, in the order of `rules`."""
        found = []
        for rule in self.rules:
            checked, violated = rule.test(batch)
            found.append(Verdict(int(np.count_nonzero(checked)), np.flatnonzero(violated)))
        return found


def _type(path: str, rules: FieldRules) -> Test:
    def test(batch: Batch) -> Result:
        column = batch.column(path)
        if rules.type == "number":
            right = column.is_number & np.isfinite(column.numbers)
        elif rules.type == "integer":
            # JSON has one kind of number: 5.0 is how many clients write 5.
            right = (
                column.is_number & np.isfinite(column.numbers) & (np.rint(column.numbers) == column.numbers)
            )
            right |= column.is_type(int)
        elif rules.type == "array":
            right = column.is_type(*ARRAYS)
        else:
            right = column.is_type(str if rules.type == "text" else bool)
        return column.known, column.known & ~right

    return test


def _range(path: str, rules: FieldRules) -> Test:
    low, high = rules.range or (None, None)

    def test(batch: Batch) -> Result:
        column = batch.column(path)
        checked = column.is_number
        # Written so that NaN, which is neither less nor more, is outside.
        inside = ~np.isnan(column.numbers)
        if low is not None:
            inside &= column.numbers >= low
        if high is not None:
            inside &= column.numbers <= high
        return checked, checked & ~inside

    return test


def _length(path: str, rules: FieldRules) -> Test:
    low, high = rules.length or (None, None)

    def test(batch: Batch) -> Result:
        column = batch.column(path)
        checked = (column.lengths >= 0) & column.known
        outside = np.zeros(column.size, dtype=np.bool_)
        if low is not None:
            outside |= column.lengths < low
        if high is not None:
            outside |= column.lengths > high
        return checked, checked & outside

    return test


def _allowed(path: str, rules: FieldRules) -> Test:
    values = rules.allowed or ()
    flags = frozenset(value for value in values if type(value) is bool)
    others = frozenset(value for value in values if type(value) is not bool)

    def allowed(value: Any) -> bool:
        if type(value) is bool:
            return value in flags
        return type(value) not in ARRAYS and value in others

    def test(batch: Batch) -> Result:
        column = batch.column(path)
        plain = bool not in column.types and not column.types & ARRAYS
        answers = map(others.__contains__ if plain else allowed, column.values)
        return column.known, column.known & ~np.fromiter(answers, dtype=np.bool_, count=column.size)

    return test


def _texts(path: str, matches: Callable[[str], bool]) -> Test:
    def test(batch: Batch) -> Result:
        column = batch.column(path)
        checked = column.is_text
        if not checked.any():
            return checked, checked
        places = np.flatnonzero(checked).tolist()
        texts = [column.values[place] for place in places]
        # Texts repeat: each is matched once a batch.
        answers = {text: matches(text) for text in set(texts)}
        violated = np.zeros(column.size, dtype=np.bool_)
        violated[places] = [not answers[text] for text in texts]
        return checked, violated

    return test


def _format(path: str, rules: FieldRules) -> Test:
    pattern = FORMATS[rules.format or ""]
    return _texts(path, lambda text: pattern.fullmatch(text) is not None)


def _pattern(path: str, rules: FieldRules) -> Test:
    return _texts(path, Automaton(rules.pattern or "").matches)


def _nulls(path: str, rules: FieldRules) -> Test:
    def test(batch: Batch) -> Result:
        checked = batch.expected(path)
        return checked, checked & batch.column(path).null

    return test


def _unique(path: str, rules: FieldRules) -> Test:
    window = Window(rules.unique or 1)

    def test(batch: Batch) -> Result:
        column = batch.column(path)
        violated = np.zeros(column.size, dtype=np.bool_)
        places = np.flatnonzero(column.known).tolist()
        if places:
            values = hashes([column.values[place] for place in places])
            violated[places] = window.repeated(values, batch.row_hashes[places])
        return column.known, violated

    return test


_TESTS: dict[str, Callable[[str, FieldRules], Test]] = {
    "type": _type,
    "range": _range,
    "length": _length,
    "allowed": _allowed,
    "format": _format,
    "pattern": _pattern,
    "nulls": _nulls,
    "unique": _unique,
}

_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
NEARLY = 1e-9
"""Sums are equal up to this part of the numbers in them: fractions do not add exactly."""


def _comparison(relation: Comparison) -> Test:
    compare = _COMPARED[relation.operator]

    def test(batch: Batch) -> Result:
        columns = [batch.column(path) for path in relation.left]
        checked = np.logical_and.reduce([np.isfinite(column.numbers) for column in columns])
        with np.errstate(over="ignore"):
            left = np.sum([column.numbers for column in columns], axis=0)
        if isinstance(relation.right, str):
            other = batch.column(relation.right)
            right = other.numbers
            checked = checked & np.isfinite(right)
        else:
            other = None
            right = np.full(batch.size, float(relation.right))
        holds = compare(left, right)
        if len(columns) > 1 and "=" in relation.operator:
            with np.errstate(over="ignore", invalid="ignore"):
                reach = np.sum([np.abs(column.numbers) for column in columns], axis=0) + np.abs(right)
                holds |= np.isfinite(reach) & (np.abs(left - right) <= NEARLY * reach)
        violated = checked & ~holds
        if other is not None and len(columns) == 1:
            texts, broken = _texts_compared(columns[0], other, compare)
            checked, violated = checked | texts, violated | broken
        return checked, violated

    return test


def _texts_compared(left: Column, right: Column, compare: Callable[[Any, Any], Any]) -> Result:
    """Texts by their characters' order, which for ISO dates is time's."""
    both = left.is_text & right.is_text
    violated = np.zeros(left.size, dtype=np.bool_)
    for place in np.flatnonzero(both).tolist():
        violated[place] = not compare(left.values[place], right.values[place])
    return both, violated


def _implication(relation: Implication) -> Test:
    kinds = (int, float) if type(relation.value) in (int, float) else (type(relation.value),)

    def test(batch: Batch) -> Result:
        condition = batch.column(relation.condition)
        equal = np.fromiter(
            (type(value) in kinds and value == relation.value for value in condition.values),
            dtype=np.bool_,
            count=condition.size,
        )
        checked = equal & batch.expected(relation.then)
        return checked, checked & batch.column(relation.then).null

    return test
