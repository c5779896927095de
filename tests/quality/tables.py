"""Tables and schemas for tests of data quality: strategies and shorthands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sidecar.quality.checker import Batch, Checker, Verdict
from sidecar.quality.formats import FORMATS
from sidecar.quality.relation import Comparison, Implication
from sidecar.quality.rules import TYPES, FieldRules, RelationRule, Schema

Table = dict[str, list[Any]]

PATHS = ("inputs.a", "inputs.b c", "outputs.d[0]", "exchange.status")
NUMBERS = st.integers(-5, 5) | st.floats(-5, 5).map(lambda number: round(number, 2))
ODD = st.sampled_from([float("nan"), float("inf"), -0.0, 2.0, 10**400, 2**53 + 1, True, False, None])
TEXTS = st.sampled_from(["", "a", "ab", "AB-12", "2026-11-25", "ada@example.org", "no", "1", "é", "a" * 3000])
VALUES = NUMBERS | ODD | TEXTS | st.none() | st.lists(st.integers(0, 3), max_size=3)


def batch(
    table: Table, first: int = 0, answered: Sequence[bool] | None = None, concealed: str | None = None
) -> Batch:
    """Rows of a table, the first one being row `first` of a longer one."""
    size = max(map(len, table.values()), default=0)
    rows = np.arange(first, first + size, dtype=np.uint64)
    mask = None if answered is None else np.array(answered, dtype=np.bool_)
    return Batch(lambda path: table.get(path, [None] * size), size, lambda: rows, mask, concealed)


def checked(schema: Schema, table: Table, **told: Any) -> dict[str, Verdict]:
    """What each rule says of a table."""
    checker = Checker(schema)
    verdicts = checker.check(batch(table, **told))
    return {rule.name: verdict for rule, verdict in zip(checker.rules, verdicts, strict=True)}


def one(**rules: Any) -> Schema:
    """A schema with rules for the field inputs.a."""
    return Schema({"inputs.a": FieldRules(**rules)})


def broken(values: list[Any], **rules: Any) -> list[int]:
    """Rows of inputs.a that break its one rule."""
    (verdict,) = checked(one(**rules), {"inputs.a": values}).values()
    rows: list[int] = verdict.violated.tolist()
    return rows


@st.composite
def tables(draw: st.DrawFn, rows: int | None = None) -> Table:
    size = draw(st.integers(0, 12)) if rows is None else rows
    return {path: draw(st.lists(VALUES, min_size=size, max_size=size)) for path in PATHS}


def _pairs(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.tuples(values, values).map(lambda pair: tuple(sorted(pair)))
        | values.map(lambda low: (low, None))
        | values.map(lambda high: (None, high))
    )


SHARES = st.sampled_from([0.0, 0.01, 1 / 3, 1.0])
SCALARS = NUMBERS | st.booleans() | st.sampled_from(["no", "a", "1", "é\n'\"\\", "null", "2026-11-25", " x "])
FIELDS = st.builds(
    FieldRules,
    type=st.none() | st.sampled_from(TYPES),
    range=st.none() | _pairs(NUMBERS),
    length=st.none() | _pairs(st.integers(0, 9)),
    allowed=st.none() | st.lists(SCALARS, min_size=1, max_size=30).map(tuple),
    format=st.none() | st.sampled_from(sorted(FORMATS)),
    pattern=st.none() | st.sampled_from(["[A-Z]{2}-[0-9]{2}", "a*", "it's|\\w+", "\\\\x"]),
    nulls=st.none() | SHARES,
    unique=st.none() | st.integers(1, 5),
    tolerate=SHARES,
)
RELATIONS = st.builds(
    Comparison,
    left=st.lists(st.sampled_from(PATHS), min_size=1, max_size=3).map(tuple),
    operator=st.sampled_from(["<=", "<", "==", ">=", ">"]),
    right=st.sampled_from(PATHS) | NUMBERS,
) | st.builds(
    Implication,
    condition=st.sampled_from(PATHS),
    value=NUMBERS | st.booleans() | st.sampled_from(["a", 'x"\\y', "é"]),
    then=st.sampled_from(PATHS),
)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    fields = draw(st.dictionaries(st.sampled_from(PATHS), FIELDS))
    related = draw(st.lists(RELATIONS, max_size=3, unique_by=str))
    return Schema(fields, tuple(RelationRule(each, draw(SHARES)) for each in related))
