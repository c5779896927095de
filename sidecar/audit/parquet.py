"""One batch object opened from its bytes; whatever the Parquet reader does with damage is a StoreError."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from arro3.core import RecordBatchReader
from arro3.io import read_parquet

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
        with _naming(self.name):
            for batch in self._reader:
                count = batch.num_rows
                columns: Columns = {}
                for name in wanted:
                    if name not in self.columns:
                        columns[name] = [None] * count
                        continue
                    array = batch.column(name)
                    # Half of the columns are null throughout; a list of None is made ten times faster here.
                    columns[name] = [None] * count if array.null_count == count else list(array.to_pylist())
                yield count, columns


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except (GeneratorExit, KeyboardInterrupt, SystemExit, StoreError):
        raise
    except BaseException as error:
        # The Parquet reader panics on some damaged files, which arrives as a BaseException.
        reason = str(error).strip().splitlines()
        raise StoreError(
            f"{name}: cannot be read: {reason[0] if reason else type(error).__name__}"
        ) from error
