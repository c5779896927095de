"""Rows and values to seal in tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sidecar.ledger.leaf import Row
from sidecar.schema import LOG_COLUMNS, ROW_COLUMNS

LOG: Row = ("b1.default", "default", "b1", "mortgage", "sha256:" + "ab" * 32, None, "flag", 3)
SALT = bytes(range(32))

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "utf8": st.text(),
    "binary": st.binary(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "bool": st.booleans(),
    "map": st.dictionaries(st.text(max_size=8), st.none() | st.text(max_size=8), max_size=4),
}


def row(**values: Any) -> Row:
    """A row in the order of ROW_COLUMNS; columns that are not named are null."""
    unknown = values.keys() - ROW_COLUMNS.keys()
    assert not unknown, unknown
    return tuple(values.get(name) for name in ROW_COLUMNS)


def any_values(columns: dict[str, str]) -> st.SearchStrategy[Row]:
    """Values of every column's type, a null among them now and then."""
    return st.tuples(*(st.none() | _VALUES[kind] for kind in columns.values()))


any_row = any_values(ROW_COLUMNS)
any_log = any_values(LOG_COLUMNS)
