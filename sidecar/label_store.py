"""Glue: the labels in a store, read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from sidecar.archive.source import Source
from sidecar.archive.table import Table
from sidecar.errors import StoreError
from sidecar.shipping.labels_file import COLUMNS, FORMAT, LABELS
from sidecar.statistics.label_event import LabelEvent, event_of


def label_files(source: Source) -> Iterator[str]:
    """Names of all files of labels."""
    return (entry.name for entry in source.objects.list(LABELS) if entry.name.endswith(".parquet"))


def read_label_file(source: Source, name: str) -> Iterator[LabelEvent]:
    """The labels in a file. Raises StoreError, which names it, for one that cannot be read."""
    try:
        table = Table(source, name)
        if table.metadata.get("format") != FORMAT:
            raise StoreError(f"{name}: no labels of format {FORMAT}: use a newer Sidecar")
        for row in table.rows(COLUMNS):
            yield _event(row)
    except ValueError as error:
        raise StoreError(f"{name}: {error}") from error


def stored_labels(source: Source, problem: Callable[[StoreError], None]) -> Iterator[LabelEvent]:
    """Every label in the store; a file that cannot be read is passed over and given to `problem`."""
    for name in label_files(source):
        try:
            yield from read_label_file(source, name)
        except StoreError as error:
            problem(error)


def _event(row: tuple[Any, ...]) -> LabelEvent:
    record_id, name, value, label, t_us, attributes = row
    told: dict[str, Any] = {"label": orjson.loads(label), "attributes": orjson.loads(attributes)}
    told |= {"record_id": record_id} if name is None else {"key": {"name": name, "value": value}}
    if t_us:
        told["t"] = datetime.fromtimestamp(t_us / 1e6, UTC).isoformat()
    return event_of(told, "label")
