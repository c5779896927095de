"""Glue: labels joined with the records that they are about, into the panes of the decisions, by series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from sidecar.archive.catalog import RecordId
from sidecar.archive.labelled import Labelled, Span, Wanted, labelled
from sidecar.archive.source import Source
from sidecar.errors import StoreError, UsageError
from sidecar.fleet.pane_file import Series
from sidecar.label_join import RECORDS_AT_ONCE, judged
from sidecar.series_run import SeriesRun
from sidecar.statistics.label_event import LabelEvent
from sidecar.statistics.labels import Judged, LabelTally
from sidecar.statistics.tally import Vector

Pairs = list[tuple[Labelled, LabelEvent]]


@dataclass(slots=True)
class LabelPanes:
    """One series' counts of labels, by the time of the decisions."""

    tally: LabelTally
    span_us: int
    """Length of its panes."""
    panes: dict[int, Vector] = field(default_factory=dict)

    def add(self, start_us: int, counts: Vector) -> None:
        """Adds counts to a pane; those of a label that was replaced are taken away with a minus."""
        known = self.panes.get(start_us)
        self.panes[start_us] = counts.copy() if known is None else known + counts

    def start_of(self, t_us: int) -> int:
        """The beginning of the pane of that time."""
        return t_us // self.span_us * self.span_us

    @property
    def total(self) -> Vector:
        """Of all panes."""
        return sum(self.panes.values(), self.tally.empty())


@dataclass(slots=True)
class Found:
    """What became of the records that labels are about."""

    records: int = 0
    undecoded: int = 0
    encrypted: int = 0
    other_number: int = 0
    """With another number of instances than labels."""
    unplaced: int = 0
    """Of which no series here has the pane."""
    targets: set[tuple[str, str]] = field(default_factory=set)
    """Record ids and keys that were found."""


class Owners:
    """Which series counted a record: told by boot and route where several have one model and digest."""

    def __init__(self, runs: Iterable[SeriesRun]) -> None:
        self._by_model: dict[tuple[str, str], set[Series]] = defaultdict(set)
        self._by_boot: dict[tuple[str, str], set[Series]] = defaultdict(set)
        for run in runs:
            self._by_model[run.series.model, run.series.digest].add(run.series)
            for writer in run.assembly.writers.by_id.values():
                for boot in writer.boots:
                    for route in writer.routes:
                        self._by_boot[boot, route].add(run.series)

    def of(self, record: Labelled) -> Series | None:
        """None for a record that nothing here has counted."""
        candidates = self._by_model.get((record.model, record.digest), set())
        if len(candidates) > 1:
            try:
                known = RecordId.parse(record.record_id)
            except UsageError:
                return None
            candidates = candidates & self._by_boot.get((known.boot, known.route), set())
        return min(candidates, default=None)


Events = Callable[[Labelled], tuple[LabelEvent | None, LabelEvent | None]]
"""A record's label as it was counted before, and as it is now."""


def join_panes(
    source: Source,
    wanted: Wanted,
    events: Events,
    owners: Owners,
    into: Mapping[Series, LabelPanes],
    span: Span,
    model: str | None,
    problem: Callable[[StoreError], None],
) -> Found:
    """Counts every wanted record's labels into its decision's pane; what is in `into` then is the sum."""
    found = Found()
    if not wanted.ids and not wanted.keys:
        return found
    records = labelled(source, wanted, model, problem, span)
    while some := list(islice(records, RECORDS_AT_ONCE)):
        before: dict[Series, Pairs] = defaultdict(list)
        after: dict[Series, Pairs] = defaultdict(list)
        for record in some:
            series = _place(record, owners, into, found)
            if series is not None:
                for pairs, event in zip((before, after), events(record), strict=True):
                    if event is not None:
                        pairs[series].append((record, event))
        for pairs, sign in ((before, -1), (after, 1)):
            for series, theirs in pairs.items():
                found.other_number += _count(into[series], theirs, sign)
    return found


def _place(
    record: Labelled, owners: Owners, into: Mapping[Series, LabelPanes], found: Found
) -> Series | None:
    found.targets |= {("", record.record_id), *record.keys}
    found.records += 1
    if record.inputs is None and record.outputs is None:
        found.encrypted += record.encrypted
        found.undecoded += not record.encrypted
        return None
    series = owners.of(record)
    if series not in into:
        found.unplaced += 1
        return None
    return series


def _count(panes: LabelPanes, pairs: Pairs, sign: int) -> int:
    """Records, where labels are added, whose labels are of another number."""
    rows: dict[int, list[Judged]] = defaultdict(list)
    other = 0
    for record, instances in judged(panes.tally.spec, pairs):
        if instances is None:
            other += sign > 0
        else:
            rows[panes.start_of(record.t_us)] += instances
    for start_us, some in rows.items():
        panes.add(start_us, np.int64(sign) * panes.tally.count(some))
    return other
