"""Glue: rows to infer rules from or to check, out of a file or a store, some thousand at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.archive.commands import Problems
from sidecar.archive.observed import observed
from sidecar.archive.query import Query
from sidecar.archive.source import Source
from sidecar.errors import UsageError
from sidecar.quality.checker import Batch
from sidecar.quality.rules import Schema
from sidecar.quality_rules import batch_of
from sidecar.statistics.rows import Rows
from sidecar.table_file import Advance, Kind, table_parts

SAMPLES_AT_ONCE = 2_048


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows, and what a person calls them."""

    batch: Batch
    paths: list[str]
    """Fields that some row has."""
    label: Callable[[int], str]
    """A row's name: its record, or its number in the file."""


def file_parts(
    path: Path,
    outputs: Iterable[str] = (),
    drop: Iterable[str] = (),
    schema: Schema | None = None,
    advance: Advance = lambda done, total: None,
) -> Iterator[Part]:
    """A file's rows. Columns in `outputs` are the model's answers, the others its inputs.

    With a schema, columns are named and typed as that has them. Raises
    UsageError for a file that cannot be read and for columns it lacks.
    """
    answers, dropped = set(outputs), set(drop)
    known = set(schema.paths) if schema else set()
    first = 0
    for table in table_parts(path, _kinds(schema), advance):
        if not first:
            _all_there(table, answers, "--outputs")
            _all_there(table, dropped, "--drop")
        columns = {
            _path(name, answers, known): values for name, values in table.items() if name not in dropped
        }
        size = max(map(len, columns.values()), default=0)
        yield Part(_batch(columns, first, size), list(columns), _numbered(first))
        first += size


def _batch(columns: Mapping[str, list[Any]], first: int, size: int) -> Batch:
    rows = np.arange(first, first + size, dtype=np.uint64)
    empty: list[Any] = [None] * size
    return Batch(lambda path: columns.get(path, empty), size, lambda: rows)


def _numbered(first: int) -> Callable[[int], str]:
    return lambda row: f"row {first + row + 1:,}"


def _path(name: str, outputs: set[str], known: set[str]) -> str:
    if name.startswith(("inputs.", "outputs.", "exchange.")):
        return name
    if name in outputs or (f"outputs.{name}" in known and f"inputs.{name}" not in known):
        return f"outputs.{name}"
    return f"inputs.{name}"


def _kinds(schema: Schema | None) -> dict[str, Kind]:
    """How columns of a CSV file are to be read where the schema names a type."""
    found: dict[str, Kind] = {}
    for path, rules in (schema.fields if schema else {}).items():
        kind = {"integer": "number", "number": "number", "boolean": "boolean", "text": "text"}.get(
            rules.type or ("text" if rules.format or rules.pattern else "")
        )
        if kind is not None:
            found[path] = found[path.partition(".")[2]] = kind
    return found


def _all_there(table: Mapping[str, object], names: set[str], flag: str) -> None:
    for name in sorted(names - table.keys()):
        raise UsageError(
            f"{flag}: the file has no column {name[:60]!r}: it has {', '.join(list(table)[:20])}"
        )


def store_parts(
    source: Source, query: Query, limit: int, problems: Problems, advance: Advance = lambda done, total: None
) -> Iterator[Part]:
    """The decoded exchanges of a span, at most `limit`. Raises UsageError when there is none."""
    samples = islice(observed(source, query, problems), limit)
    seen = decoded = 0
    while batch := list(islice(samples, SAMPLES_AT_ONCE)):
        rows = Rows(batch)
        seen += len(batch)
        decoded += len(rows.decoded)
        advance(seen, 0)
        if rows.count:
            names = dict.fromkeys(f"inputs.{name}" for table in rows.table("inputs") for name in table)
            names |= dict.fromkeys(f"outputs.{name}" for table in rows.table("outputs") for name in table)
            yield Part(batch_of(rows), list(names), rows.record_id)
    if not decoded:
        why = "is in that span" if not seen else f"of {seen:,} is decoded (encrypted, perhaps)"
        raise UsageError(
            f"store {source.objects.description}: no exchange of {query.model} {why}: widen --since"
        )
