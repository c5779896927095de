"""All rows of one damaged batch in memory, and what a row's leaf would be with other values.

Only for objects that something is wrong with, one at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]

from sidecar.audit.leaves import NEEDED, leaf_hashes
from sidecar.audit.parquet import BatchFile, Columns
from sidecar.ledger.leaf import commitment
from sidecar.schema import BLOB_COLUMNS, CANONICAL_VERSION, LOG_COLUMNS, ROW_COLUMNS

LOG_NAMES = tuple(LOG_COLUMNS)
ROW_NAMES = tuple(ROW_COLUMNS)


class Sheet:
    """Columns of every row of one batch, with the leaf hashes stored and recomputed."""

    def __init__(self, name: str, data: bytes) -> None:
        self.columns: Columns = {column: [] for column in NEEDED}
        self.hashes: list[bytes] = []
        for count, columns in BatchFile(name, data).slices(NEEDED):
            self.hashes += leaf_hashes(count, columns)
            for column, values in columns.items():
                self.columns[column] += values
        self.rows = len(self.hashes)
        self.stored = [each or b"" for each in self.columns["leaf_hash"]]

    def unlike(self) -> list[int]:
        """Rows whose stored leaf hash is not their own."""
        return [row for row in range(self.rows) if self.hashes[row] != self.stored[row]]

    def values(self, row: int) -> dict[str, Any]:
        return {name: values[row] for name, values in self.columns.items()}

    def ids(self, rows: Iterable[int]) -> list[str]:
        return [self.id(row) for row in rows]

    def id(self, row: int) -> str:
        return str(self.columns["record_id"][row])

    def row(self, row: int) -> RowHasher:
        return RowHasher(self.values(row))

    def with_log(self, values: Sequence[Any]) -> list[bytes]:
        """Leaf hashes if the log columns held these values in every row."""
        columns = dict(self.columns)
        for name, value in zip(LOG_NAMES, values, strict=True):
            columns[name] = [value] * self.rows
        return leaf_hashes(self.rows, columns)


class RowHasher:
    """One row whose values can be swapped out one by one; what is not touched is packed once."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self._packer = msgpack.Packer()
        self._pieces = [self.piece(name, values[name]) for name in ROW_NAMES]
        log = self._packer.pack([values[name] for name in LOG_NAMES])
        # The row's values are an array of their own: its header stands before the first.
        header = self._packer.pack_array_header(len(ROW_NAMES))
        self._head = b"\x00\x93" + self._packer.pack(CANONICAL_VERSION) + log + header
        self._around: dict[str, tuple[bytes, bytes]] = {}

    def piece(self, name: str, value: Any) -> bytes:
        """Canonical bytes of one value of this row."""
        if name in BLOB_COLUMNS and value is not None:
            value = commitment(self.values["salt"] or b"", name, value)
        elif ROW_COLUMNS[name] == "map" and value is not None:
            items = value.items() if isinstance(value, dict) else value
            value = sorted((list(pair) for pair in items), key=lambda pair: pair[0])
        packed: bytes = self._packer.pack(value)
        return packed

    def leaf(self) -> bytes:
        return hashlib.sha256(self._head + b"".join(self._pieces)).digest()

    def leaf_with(self, name: str, value: Any) -> bytes:
        """Leaf hash if one column held this value."""
        around = self._around.get(name)
        if around is None:
            at = ROW_NAMES.index(name)
            around = self._around[name] = (
                self._head + b"".join(self._pieces[:at]),
                b"".join(self._pieces[at + 1 :]),
            )
        before, after = around
        return hashlib.sha256(before + self.piece(name, value) + after).digest()

    def leaf_with_all(self, changed: dict[str, Any]) -> bytes:
        """Leaf hash if these columns held these values."""
        pieces = list(self._pieces)
        for name, value in changed.items():
            pieces[ROW_NAMES.index(name)] = self.piece(name, value)
        return hashlib.sha256(self._head + b"".join(pieces)).digest()
