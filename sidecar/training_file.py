"""A training file's columns, CSV or Parquet, as the values that requests carry."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from os import SEEK_END
from pathlib import Path
from typing import Any

from sidecar.errors import UsageError

MOST_CELLS = 4_000_000
"""Values read; rows beyond are passed over."""
_PLAIN = frozenset({int, float, str, bool, list, type(None)})

Columns = dict[str, list[Any]]


def read_columns(path: Path) -> Columns:
    """Every column's values, at most MOST_CELLS in all. Raises UsageError for a file that cannot be read."""
    try:
        rows = parquet_parts(path) if is_parquet(path) else _csv(path)
        return _gathered(rows)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}: give a CSV or Parquet file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: is no CSV file in UTF-8 ({error}): give a CSV or Parquet file") from error
    except (UsageError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # The Parquet reader has many kinds of errors of its own, and panics on damaged files.
        reason = str(error).strip().splitlines()
        said = reason[0] if reason else type(error).__name__
        raise UsageError(f"{path}: is no Parquet file that can be read: {said}") from error


def is_parquet(path: Path) -> bool:
    """Whether it begins as Parquet files do. Raises OSError."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _gathered(parts: Iterator[tuple[Sequence[str], Sequence[Sequence[Any]]]]) -> Columns:
    columns: Columns = {}
    for names, values in parts:
        for name, column in zip(names, values, strict=True):
            columns.setdefault(name, []).extend(column)
        if sum(map(len, columns.values())) >= MOST_CELLS:
            most = MOST_CELLS // max(1, len(columns))
            return {name: column[:most] for name, column in columns.items()}
    return columns


def parquet_parts(path: Path) -> Iterator[tuple[Sequence[str], Sequence[Sequence[Any]]]]:
    """Names and columns, some thousand rows at a time. Raises whatever the Parquet reader does."""
    from arro3.io import read_parquet

    with path.open("rb") as file:
        file.seek(max(4, file.seek(0, SEEK_END) - 4))
        if file.read(4) != b"PAR1":
            # The reader would panic, with lines of its own.
            raise UsageError(f"{path}: is a Parquet file without its end: copy it again")
    reader = read_parquet(path, batch_size=8_192)
    names = list(reader.schema.names)
    for batch in reader:
        yield names, [list(map(_plain, batch.column(name).to_pylist())) for name in names]


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value.hex() if isinstance(value, bytes) else str(value)


def _csv(path: Path) -> Iterator[tuple[Sequence[str], Sequence[Sequence[Any]]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        names = next(lines, [])
        if not names or len(set(names)) != len(names):
            raise UsageError(f"{path}: its first line is no header of different names: give a CSV with one")
        columns: list[list[Any]] = [[] for _ in names]
        most = MOST_CELLS // len(names)
        for line in lines:
            if len(line) != len(names):
                raise UsageError(
                    f"{path}: line {lines.line_num} has {len(line)} values for {len(names)} columns: mend it"
                )
            for column, text in zip(columns, line, strict=True):
                column.append(text)
            if len(columns[0]) >= most:
                break
    yield names, [_typed(column) for column in columns]


def _typed(texts: list[str]) -> list[Any]:
    """Numbers or booleans if all are such, empty cells being null; else texts."""
    present = [text for text in texts if text]
    if present and all(text.lower() in ("true", "false") for text in present):
        return [text.lower() == "true" if text else None for text in texts]
    try:
        return [(float(text) if _is_float(text) else int(text)) if text else None for text in texts]
    except ValueError:
        return [text or None for text in texts]


def _is_float(text: str) -> bool:
    return not text.lstrip("+-").isdigit()
