"""One batch object opened from its bytes; whatever the Parquet reader does with damage is a StoreError."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from arro3.core import RecordBatch, RecordBatchReader
from arro3.io import read_parquet

from sidecar.damage import reading
from sidecar.errors import StoreError

ROWS_AT_ONCE = 1_024
METADATA_KEY = b"sidecar"

Columns = dict[str, list[Any]]


class BatchFile:
    """An open batch: column names and the `sidecar` metadata are known, rows are read when asked for."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        with _naming(name):
            self._reader: RecordBatchReader = read_parquet(io.BytesIO(data), batch_size=ROWS_AT_ONCE)
            schema = self._reader.schema
            self.columns: list[str] = list(schema.names)
            stored = schema.metadata.get(METADATA_KEY)
            found = orjson.loads(stored) if stored else {}
        if not isinstance(found, dict):
            raise StoreError(f"{name}: its `sidecar` metadata is no JSON object")
        self.metadata: dict[str, Any] = found

    def slices(self, wanted: Sequence[str]) -> Iterator[tuple[int, Columns]]:
        """Row count and the wanted columns as lists, some rows at a time; what the file lacks is None."""
        while True:
            with _naming(self.name):
                batch = next(self._reader, None)
                if batch is None:
                    return
                columns = {name: self._values(batch, name) for name in wanted}
            yield batch.num_rows, columns

    def _values(self, batch: RecordBatch, name: str) -> list[Any]:
        if name not in self.columns:
            return [None] * batch.num_rows
        column = batch.column(name)
        # Half of the columns are null throughout; a list of None is made ten times faster here.
        return [None] * batch.num_rows if column.null_count == batch.num_rows else list(column.to_pylist())


@contextmanager
def _naming(name: str) -> Iterator[None]:
    with reading(name), _quiet():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing reaches stderr meanwhile: a panic of the reader writes its own report there first."""
    try:
        kept = os.dup(2)
    except OSError:
        # There is no stderr to keep quiet.
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
