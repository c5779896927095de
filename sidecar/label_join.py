"""Glue: labels beside the records that they are about, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sidecar.archive.labelled import Labelled, Wanted, labelled
from sidecar.archive.source import Source
from sidecar.errors import StoreError
from sidecar.records import Observation, Sample
from sidecar.statistics.field_path import parse_path
from sidecar.statistics.label_event import LabelEvent
from sidecar.statistics.labels import ATTRIBUTES, Judged, LabelsSpec, LabelTally
from sidecar.statistics.rows import Rows
from sidecar.statistics.tally import Vector

RECORDS_AT_ONCE = 512


@dataclass(slots=True)
class Truth:
    """The labels by what they are about; of several the last by time."""

    by_target: MutableMapping[tuple[str, str], LabelEvent] = field(default_factory=dict)
    replaced: int = 0

    def add(self, event: LabelEvent) -> None:
        """Takes one in; a later one wins, of one time the later taken."""
        known = self.by_target.get(event.target)
        if known is not None:
            self.replaced += 1
            if known.t_us > event.t_us:
                known, event = event, known
            event = _beside(event, known)
        self.by_target[event.target] = event

    @property
    def wanted(self) -> Wanted:
        """What to look for in the store."""
        ids = {value for name, value in self.by_target if not name}
        return Wanted(ids, {target for target in self.by_target if target[0]})

    def of(self, record: Labelled) -> LabelEvent | None:
        """A record's label: that of its own id before that of a key."""
        targets = [("", record.record_id), *record.keys]
        found = [self.by_target[target] for target in targets if target in self.by_target]
        if not found:
            return None
        event = found[0]
        for other in found[1:]:
            event = _beside(event, other)
        return event


def _beside(event: LabelEvent, other: LabelEvent) -> LabelEvent:
    """`event`, with what only the other one tells."""
    label = other.label if event.label is None else event.label
    return LabelEvent(event.record_id, event.key, label, event.t, {**other.attributes, **event.attributes})


@dataclass(slots=True)
class Joined:
    """Labels and records together."""

    tally: LabelTally | None
    records: int = 0
    undecoded: int = 0
    encrypted: int = 0
    other_number: int = 0
    """Records with another number of instances than labels."""
    matched: set[tuple[str, str]] = field(default_factory=set)
    days: dict[str, Vector] = field(default_factory=dict)

    def take(self, pairs: list[tuple[Labelled, LabelEvent]]) -> None:
        """Counts some records with their labels."""
        usable = []
        for record, event in pairs:
            self.records += 1
            self.matched |= {("", record.record_id), *record.keys}
            if record.inputs is None and record.outputs is None:
                self.encrypted += record.encrypted
                self.undecoded += not record.encrypted
            else:
                usable.append((record, event))
        if self.tally is not None and usable:
            self._count(self.tally, usable)

    def _count(self, tally: LabelTally, pairs: list[tuple[Labelled, LabelEvent]]) -> None:
        by_day: dict[str, list[Judged]] = {}
        for record, rows in judged(tally.spec, pairs):
            if rows is None:
                self.other_number += 1
            else:
                day = datetime.fromtimestamp(record.t_us // 1_000_000, UTC).date().isoformat()
                by_day.setdefault(day, []).extend(rows)
        for day, rows_of_day in by_day.items():
            counts = tally.count(rows_of_day)
            self.days[day] = self.days[day] + counts if day in self.days else counts


def judged(
    spec: LabelsSpec, pairs: Sequence[tuple[Labelled, LabelEvent]]
) -> Iterator[tuple[Labelled, list[Judged] | None]]:
    """Each record's instances with their labels; None where their numbers differ."""
    rows = Rows([_sample(record) for record, _ in pairs])
    columns = _columns(spec, rows)
    at = 0
    for (record, event), size in zip(pairs, rows.sizes, strict=True):
        labels = event.labels(size)
        if labels is None:
            yield record, None
        else:
            group = _attribute(spec, event)
            yield (
                record,
                [
                    Judged(columns[0][place], label, columns[1][place], group or columns[2][place])
                    for place, label in enumerate(labels, at)
                ],
            )
        at += size


def _sample(record: Labelled) -> Sample:
    inputs, outputs = record.inputs or {}, record.outputs or {}
    size = max((len(column) for column in (*inputs.values(), *outputs.values())), default=0)
    # A column about the batch as a whole is no instance's.
    kept = [{n: c for n, c in side.items() if len(c) == size} for side in (inputs, outputs)]
    return Sample(record.record_id, record.t_us, 0, 0, -1, Observation("stored", size, kept[0], kept[1]))


def _columns(spec: LabelsSpec, rows: Rows) -> list[list[Any]]:
    """Prediction, score and group of every row."""

    def values(path: str | None) -> list[Any]:
        return [None] * rows.count if path is None else parse_path(path).values(rows)

    by = None if spec.by is None or spec.by.startswith(ATTRIBUTES) else spec.by
    return [values(spec.outcome), values(spec.score), values(by)]


def _attribute(spec: LabelsSpec, event: LabelEvent) -> Any:
    if spec.by is None or not spec.by.startswith(ATTRIBUTES):
        return None
    return event.attributes.get(spec.by.removeprefix(ATTRIBUTES))


def joined(
    source: Source,
    truth: Truth,
    spec: LabelsSpec | None,
    model: str | None,
    problem: Callable[[StoreError], None],
) -> Joined:
    """Every record that a label is about, counted."""
    found = Joined(LabelTally(spec) if spec else None)
    records = labelled(source, truth.wanted, model, problem)
    pairs = ((record, event) for record in records if (event := truth.of(record)) is not None)
    while some := list(islice(pairs, RECORDS_AT_ONCE)):
        found.take(some)
    return found
