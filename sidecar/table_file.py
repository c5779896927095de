"""A CSV or Parquet file of any size, some thousand rows at a time, as the values that requests carry."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from io import TextIOWrapper
from math import inf, nan
from os import SEEK_END
from pathlib import Path
from typing import Any, Final

from sidecar.damage import refused
from sidecar.errors import UsageError

ROWS_AT_ONCE: Final = 8_192
MOST_CELLS: Final = 4_000_000
"""Values of a table that is held whole."""
_PLAIN = frozenset({int, float, str, bool, list, type(None)})
Kind = str
"""What a CSV column holds: `number`, `boolean` or `text`."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_NO_NUMBER: Final[dict[str, float | None]] = {
    **dict.fromkeys(("NA", "N/A", "#N/A", "<NA>", "null", "NULL", "None", "NaT")),
    **dict.fromkeys(("nan", "NaN", "NAN", "-nan"), nan),
    **dict.fromkeys(("inf", "Inf", "INF", "+inf", "Infinity"), inf),
    **dict.fromkeys(("-inf", "-Inf", "-INF", "-Infinity"), -inf),
}
"""What the tools that people train with write where a number is missing or is none."""
_FLAGS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Advance = Callable[[int, int], None]
"""Told how many of how many bytes were read."""


def table_parts(
    path: Path, kinds: Mapping[str, Kind] | None = None, advance: Advance = lambda done, total: None
) -> Iterator[dict[str, list[Any]]]:
    """The file's columns, part by part.

    Empty CSV cells are null. A CSV column is of the kind given in `kinds`, cells
    that are not so being texts; else of the kind that all its cells have, which
    takes a reading beforehand (a number with a leading zero is a text). Among
    numbers `NA`, `null` and the like are null, and `nan` and `inf` what they say.
    Raises UsageError for a file that cannot be read.
    """
    try:
        if not is_parquet(path):
            yield from _csv_parts(path, dict(kinds or {}), advance)
            return
        said = f"{path}: is no Parquet file that can be read: "
        with refused(lambda reason: UsageError(said + reason), UsageError, OSError):
            for names, columns in _parquet_parts(path):
                yield dict(zip(names, map(list, columns), strict=True))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}: give a CSV or Parquet file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: is no CSV file in UTF-8 ({error}): give a CSV or Parquet file") from error


def whole_table(path: Path) -> dict[str, list[Any]]:
    """Every column's values, at most MOST_CELLS in all, without the rows beyond. Raises as `table_parts`."""
    columns: dict[str, list[Any]] = {}
    for part in table_parts(path):
        for name, values in part.items():
            columns.setdefault(name, []).extend(values)
        if sum(map(len, columns.values())) >= MOST_CELLS:
            most = MOST_CELLS // max(1, len(columns))
            return {name: column[:most] for name, column in columns.items()}
    return columns


def is_parquet(path: Path) -> bool:
    """Whether it begins as Parquet files do. Raises OSError."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet_parts(path: Path) -> Iterator[tuple[Sequence[str], Sequence[Sequence[Any]]]]:
    """Names and columns, some thousand rows at a time. Raises whatever the Parquet reader does."""
    from arro3.io import read_parquet

    with path.open("rb") as file:
        file.seek(max(4, file.seek(0, SEEK_END) - 4))
        if file.read(4) != b"PAR1":
            # The reader would panic, with lines of its own.
            raise UsageError(f"{path}: is a Parquet file without its end: copy it again")
    reader = read_parquet(path, batch_size=ROWS_AT_ONCE)
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


def _csv_parts(path: Path, kinds: dict[str, Kind], advance: Advance) -> Iterator[dict[str, list[Any]]]:
    total = path.stat().st_size
    guessed = any(name not in kinds for name in _header(path))
    passes = 2 if guessed else 1
    if guessed:
        kinds = _guessed(path, lambda done: advance(done, total * passes)) | kinds
    for names, lines in _lines(path, lambda done: advance(total * (passes - 1) + done, total * passes)):
        columns = zip(*lines, strict=True)
        yield {
            name: _typed(cells, kinds.get(name, "text")) for name, cells in zip(names, columns, strict=True)
        }


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        names = next(csv.reader(file), [])
    if not names or len(set(names)) != len(names):
        raise UsageError(f"{path}: its first line is no header of different names: give a CSV with one")
    return names


def _lines(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[list[str], list[list[str]]]]:
    with path.open("rb") as binary, TextIOWrapper(binary, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = next(reader)
        lines: list[list[str]] = []
        for line in reader:
            if len(line) != len(names):
                raise UsageError(
                    f"{path}: line {reader.line_num} has {len(line)} values for {len(names)} columns: mend it"
                )
            lines.append(line)
            if len(lines) == ROWS_AT_ONCE:
                yield names, lines
                lines = []
                advance(binary.tell())
        if lines:
            yield names, lines
            advance(binary.tell())


def _guessed(path: Path, advance: Callable[[int], None]) -> dict[str, Kind]:
    """The kind that all cells of each column have."""
    possible: dict[str, set[Kind]] = {}
    filled: set[str] = set()
    """Columns with a cell that says something."""
    for names, lines in _lines(path, advance):
        for name, cells in zip(names, zip(*lines, strict=True), strict=True):
            kinds = possible.setdefault(name, {"number", "boolean"})
            if not kinds:
                continue
            values = {cell for cell in cells if cell}
            numbers = values - _NO_NUMBER.keys()
            filled.update({name} if numbers else ())
            if "number" in kinds and not all(map(_NUMBER.fullmatch, numbers)):
                kinds.discard("number")
            if "boolean" in kinds and not values <= _FLAGS.keys():
                kinds.discard("boolean")
    # A column without any cell filled could be anything.
    return {
        name: min(kinds) if len(kinds) == 1 and name in filled else "text" for name, kinds in possible.items()
    }


def _typed(cells: Sequence[str], kind: Kind) -> list[Any]:
    if kind == "number":
        return [_number(cell) for cell in cells]
    if kind == "boolean":
        return [_FLAGS.get(cell, cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _number(cell: str) -> int | float | str | None:
    if not cell:
        return None
    if cell in _NO_NUMBER:
        return _NO_NUMBER[cell]
    found = _NUMBER.fullmatch(cell)
    if found is None:
        return cell
    return float(cell) if found[1] or found[2] else int(cell)
