"""A CSV or Parquet file of any size, some thousand rows at a time, as the values that requests carry."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sidecar.errors import UsageError
from sidecar.training_file import is_parquet, parquet_parts

ROWS_AT_ONCE: Final = 8_192
Kind = str
"""What a CSV column holds: `number`, `boolean` or `text`."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_FLAGS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Advance = Callable[[int, int], None]
"""Told how many of how many bytes were read."""


def table_parts(
    path: Path, kinds: Mapping[str, Kind] | None = None, advance: Advance = lambda done, total: None
) -> Iterator[dict[str, list[Any]]]:
    """The file's columns, part by part.

    Empty CSV cells are null. A CSV column is of the kind given in `kinds`, cells
    that are not so being texts; else of the kind that all its cells have, which
    takes a reading beforehand (a number with a leading zero is a text). Raises
    UsageError for a file that cannot be read.
    """
    try:
        if is_parquet(path):
            for names, columns in parquet_parts(path):
                yield dict(zip(names, map(list, columns), strict=True))
        else:
            yield from _csv_parts(path, dict(kinds or {}), advance)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}: give a CSV or Parquet file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: is no CSV file in UTF-8 ({error}): give a CSV or Parquet file") from error
    except (UsageError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # The Parquet reader has many kinds of errors of its own, and panics on damaged files.
        reason = str(error).strip().splitlines()
        said = reason[0] if reason else type(error).__name__
        raise UsageError(f"{path}: is no Parquet file that can be read: {said}") from error


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
        while lines := list(islice(reader, ROWS_AT_ONCE)):
            for number, line in enumerate(lines, reader.line_num - len(lines) + 1):
                if len(line) != len(names):
                    raise UsageError(
                        f"{path}: about line {number}: {len(line)} values for {len(names)} columns: mend it"
                    )
            yield names, lines
            advance(binary.tell())


def _guessed(path: Path, advance: Callable[[int], None]) -> dict[str, Kind]:
    """The kind that all cells of each column have."""
    possible: dict[str, set[Kind]] = {}
    for names, lines in _lines(path, advance):
        for name, cells in zip(names, zip(*lines, strict=True), strict=True):
            kinds = possible.setdefault(name, {"number", "boolean"})
            if not kinds:
                continue
            values = {cell for cell in cells if cell}
            if "number" in kinds and not all(map(_NUMBER.fullmatch, values)):
                kinds.discard("number")
            if "boolean" in kinds and not values <= _FLAGS.keys():
                kinds.discard("boolean")
    # A column without any cell filled could be anything.
    return {name: min(kinds) if len(kinds) == 1 else "text" for name, kinds in possible.items()}


def _typed(cells: Sequence[str], kind: Kind) -> list[Any]:
    if kind == "number":
        return [_number(cell) for cell in cells]
    if kind == "boolean":
        return [_FLAGS.get(cell, cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _number(cell: str) -> int | float | str | None:
    if not cell:
        return None
    found = _NUMBER.fullmatch(cell)
    if found is None:
        return cell
    return float(cell) if found[1] or found[2] else int(cell)
