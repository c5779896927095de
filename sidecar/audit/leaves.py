"""Leaf hashes of rows that come as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from sidecar.audit.parquet import Columns
from sidecar.errors import LedgerError
from sidecar.ledger.leaf import LeafEncoder
from sidecar.schema import LOG_COLUMNS, ROW_COLUMNS

NEEDED = (*LOG_COLUMNS, *ROW_COLUMNS, "leaf_index", "leaf_hash", "salt")
"""Columns a leaf is computed from, and what stands beside it."""

NO_LEAF = b""
"""Stands for the hash of a row that has no canonical form; no leaf has it."""


def leaf_hashes(count: int, columns: Columns) -> list[bytes]:
    """Leaf hash of each of `count` rows, from their sealed columns and salts; NO_LEAF where there is none."""
    rows = zip(zip(*(columns[name] for name in ROW_COLUMNS), strict=True), columns["salt"], strict=True)
    hashes: list[bytes] = []
    for values, length in _log_runs(count, columns):
        encode = LeafEncoder(values).leaf
        for _ in range(length):
            row, salt = next(rows)
            try:
                hashes.append(encode(row, salt))
            except LedgerError:
                hashes.append(NO_LEAF)
    return hashes


def log_values(columns: Columns) -> Sequence[Sequence[Any]]:
    """The log columns, in their order."""
    return [columns[name] for name in LOG_COLUMNS]


def same_log(count: int, columns: Columns) -> tuple[Any, ...] | None:
    """The log columns' values when all rows share them."""
    logs = log_values(columns)
    if count and all(each.count(each[0]) == count for each in logs):
        return tuple(each[0] for each in logs)
    return None


def _log_runs(count: int, columns: Columns) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Log values with the number of rows in a row that have them: one run, in a batch as sealed."""
    shared = same_log(count, columns)
    if shared is not None:
        yield shared, count
        return
    for values, run in groupby(zip(*log_values(columns), strict=True)):
        yield values, len(list(run))
