"""Files of labels as people have them: CSV, Parquet, or a JSON object per line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import orjson

from sidecar.damage import refused
from sidecar.errors import UsageError
from sidecar.statistics.label_event import LabelEvent, event_of

MOST_ROWS = 5_000_000


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table say what."""

    key: str | None = None
    """Holds a business key of that name; None: `record_id` holds the record's id."""
    label: str = "label"
    time: str = "t"
    attributes: Sequence[str] = ()


def read_labels(path: Path, columns: Columns) -> list[LabelEvent]:
    """The labels in a file, by its name's ending. Raises UsageError naming the file and the row."""
    readers = {".csv": _csv, ".parquet": _parquet, ".ndjson": _lines, ".jsonl": _lines, ".json": _lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: its name should end in {', '.join(readers)}: that says how it is read")
    events: list[LabelEvent] = []
    try:
        for number, value in enumerate(reader(path, columns), 1):
            if number > MOST_ROWS:
                raise UsageError(f"{path}: more than {MOST_ROWS:,} labels: cut it into several files")
            events.append(event_of(value, f"row {number}"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}: give a file that can be read") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path}: {error}") from error
    if not events:
        raise UsageError(f"{path}: holds no labels")
    return events


def _csv(path: Path, columns: Columns) -> Iterator[Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        _check(reader.fieldnames or [], columns)
        for row in reader:
            cells = (columns.label, *columns.attributes)
            yield _event(row | {name: _scalar(row.get(name)) for name in cells}, columns)


def _parquet(path: Path, columns: Columns) -> Iterator[Any]:
    from arro3.io import read_parquet

    def reading() -> AbstractContextManager[None]:
        return refused(lambda reason: ValueError(f"is no Parquet file: {reason}"), OSError)

    with reading():
        reader = read_parquet(path)
        names = list(reader.schema.names)
    _check(names, columns)
    wanted = [name for name in names if name in _used(columns)]
    while True:
        with reading():
            batch = next(reader, None)
            lists = [] if batch is None else [batch.column(name).to_pylist() for name in wanted]
        if batch is None:
            return
        for values in zip(*lists, strict=True):
            yield _event(dict(zip(wanted, values, strict=True)), columns)


def _lines(path: Path, columns: Columns) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield orjson.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number} is no JSON: {error}") from error


def _used(columns: Columns) -> set[str]:
    return {columns.key or "record_id", columns.label, columns.time, *columns.attributes}


def _check(names: Sequence[str], columns: Columns) -> None:
    needed = [columns.key or "record_id", *columns.attributes]
    if not columns.attributes:
        needed.append(columns.label)
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise ValueError(
            f"has no column {lacking[0]!r} but {', '.join(names[:20])}: "
            "say which with --key, --label-column and --attribute"
        )


def _event(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    event: dict[str, Any] = {"label": _plain(row.get(columns.label))}
    if columns.key is None:
        event["record_id"] = _text(row.get("record_id"))
    else:
        event["key"] = {"name": columns.key, "value": _text(row.get(columns.key))}
    time = row.get(columns.time)
    if isinstance(time, datetime):
        event["t"] = (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
    elif time not in (None, ""):
        event["t"] = time
    event["attributes"] = {name: _plain(row.get(name)) for name in columns.attributes}
    return event


def _text(value: Any) -> Any:
    """A key as the records have it: numbers without `.0`."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _scalar(text: Any) -> Any:
    """A CSV cell as the value it writes; an empty one is null."""
    if not isinstance(text, str) or not text:
        return text or None
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # Digits that another way of writing would lose are a name, not a number: 007, 1_000.
        return number if isfinite(number) and "_" not in text and not text.startswith("0" * 2) else text
    return text
