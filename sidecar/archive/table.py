"""One Parquet file of a store, read as rows. What cannot be read is a StoreError, whatever the reader did."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from arro3.core import RecordBatch, RecordBatchReader
from arro3.io import read_parquet

from sidecar.archive.source import Source
from sidecar.damage import reading

ROWS_AT_ONCE = 2_048
METADATA_KEY = b"sidecar"
GROUP_ROWS = 65_536
"""Rows of a row group as batches are written."""


class Table:
    """An open file; the footer has been read, rows are read when asked for."""

    def __init__(self, source: Source, name: str, size: int = 0) -> None:
        self.name = name
        path = source.path(name)
        with reading(name):
            if path is not None:
                size = path.stat().st_size
                self._reader: RecordBatchReader = read_parquet(path, batch_size=ROWS_AT_ONCE)
            else:
                data = source.objects.get(name)
                size = len(data)
                self._reader = read_parquet(io.BytesIO(data), batch_size=ROWS_AT_ONCE)
            schema = self._reader.schema
            self.columns: list[str] = list(schema.names)
            stored = schema.metadata.get(METADATA_KEY)
            self.metadata: dict[str, Any] = orjson.loads(stored) if stored else {}
        source.account.opened += 1
        source.account.row_groups += -(-int(self.metadata.get("rows") or 1) // GROUP_ROWS)
        source.account.bytes_read += size

    def batches(self) -> Iterator[RecordBatch]:
        """The rows as Arrow batches, in the file's order."""
        with reading(self.name):
            yield from self._reader

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The given columns of every row, in the file's order; a column the file lacks is None."""
        for batch in self.batches():
            with reading(self.name):
                arrays = [self._values(batch, name) for name in columns]
            yield from zip(*arrays, strict=True)

    def matching(self, narrow: Sequence[str], wide: Sequence[str], wanted: Any) -> Iterator[tuple[Any, ...]]:
        """The `wide` columns of the rows whose `narrow` ones `wanted` accepts.

        Only those rows become Python values, which for bodies makes the difference.
        """
        for batch in self.batches():
            with reading(self.name):
                found = [
                    number
                    for number, values in enumerate(
                        zip(*(self._values(batch, each) for each in narrow), strict=True)
                    )
                    if wanted(values)
                ]
                rows = [
                    tuple(self._values(batch.slice(number, 1), name)[0] for name in wide) for number in found
                ]
            yield from rows

    def _values(self, batch: RecordBatch, name: str) -> list[Any]:
        if name not in self.columns:
            return [None] * batch.num_rows
        array = batch.column(name)
        if array.null_count == batch.num_rows:
            return [None] * batch.num_rows
        values: list[Any] = list(array.to_pylist())
        return [None if each is None else dict(each) for each in values] if name == "keys" else values
