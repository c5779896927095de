"""One Parquet file of a store, read as rows. What cannot be read is a StoreError, whatever the reader did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from arro3.core import RecordBatchReader
from arro3.io import read_parquet

from sidecar.errors import StoreError

ROWS_AT_ONCE = 2_048
METADATA_KEY = b"sidecar"


class Table:
    """An open file; the footer has been read, rows are read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _naming(path):
            self._reader: RecordBatchReader = read_parquet(path, batch_size=ROWS_AT_ONCE)
            schema = self._reader.schema
            self.columns: list[str] = list(schema.names)
            stored = schema.metadata.get(METADATA_KEY)
            self.metadata: dict[str, Any] = orjson.loads(stored) if stored else {}

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The given columns of every row, in the file's order; a column the file lacks is None."""
        with _naming(self.path):
            for batch in self._reader:
                arrays = [
                    batch.column(name).to_pylist() if name in self.columns else [None] * batch.num_rows
                    for name in columns
                ]
                yield from zip(*arrays, strict=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # The Parquet reader panics on some damaged files, which arrives as a BaseException.
        reason = str(error).strip().splitlines()
        raise StoreError(
            f"{path}: cannot be read: {reason[0] if reason else type(error).__name__}"
        ) from error
