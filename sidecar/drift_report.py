"""What `sidecar drift` says of a span of time: every quantity, from what to what, and its alarms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from sidecar.drift_labels import LabelReport
from sidecar.drift_labels import as_json as labels_json
from sidecar.drift_segments import BEGINNING, SegmentLook
from sidecar.drift_segments import as_json as segments_json
from sidecar.errors import StoreError
from sidecar.fleet.assembly import Assembled, Tallied
from sidecar.fleet.naming import FOLDS, PANES, PaneName
from sidecar.fleet.pane_file import Facts, PaneFile, Series
from sidecar.fleet.shares import ModelBudget
from sidecar.fleet.sums import Sum, vector
from sidecar.fleet.writers import Writers, missing
from sidecar.fleet_store import FleetStore
from sidecar.series_run import SeriesRun
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.alarm_order import telling_first
from sidecar.statistics.evaluator import Vector
from sidecar.statistics.hours import between
from sidecar.statistics.label_bands import part_for_labels
from sidecar.statistics.quantity import Band, Distribution, Mean, Quantity, TwoSample
from sidecar.statistics.wording import Change, describe

BUCKETS = 96
SOURCES_KEPT = 500


@dataclass(slots=True)
class Bucket:
    """The counts of one stretch of the span."""

    start_us: int
    counts: Vector


@dataclass(slots=True)
class SeriesReport:
    """One series over the span."""

    run: SeriesRun
    total: Vector
    bucket_us: int
    panes: int = 0
    exchanges: int = 0
    first_us: int = 0
    last_us: int = 0
    buckets: dict[int, Bucket] = field(default_factory=dict)
    sources: dict[str, Sum] = field(default_factory=dict)
    seen_alarms: dict[str, Alarm] = field(default_factory=dict)
    labels: LabelReport | None = None
    """Where the watch file says how ground truth is read."""
    segments: SegmentLook | None = None
    """Where it was asked for, and the plan has segments."""

    @property
    def alarms(self) -> list[Alarm]:
        """The most telling first, then those that are over."""
        return telling_first(self.seen_alarms.values())

    def change(self, quantity: Quantity, counts: Vector, start_us: int = 0) -> Change:
        """What moved of a quantity, under these counts: of the span, or of the bucket that begins then."""
        return describe(self.against(quantity, start_us), part(quantity, counts))

    def against(self, quantity: Quantity, start_us: int = 0) -> Quantity:
        """The quantity as it is normal in the hours of the span, or of the bucket that begins then."""
        if not isinstance(quantity, Distribution):
            return quantity
        span = (start_us, start_us + self.bucket_us) if start_us else (self.first_us, self.last_us)
        return between(quantity, *span)


def part(quantity: Quantity, counts: Vector) -> Vector:
    """The integers of one quantity out of a pane's vector."""
    match quantity:
        case Distribution():
            size = len(quantity.reference)
        case Band():
            size = 2
        case Mean():
            size = 2 + len(quantity.bets)
        case TwoSample():
            size = 4 * quantity.strata
    return counts[quantity.start : quantity.start + size]


@dataclass(slots=True)
class DriftReport:
    """All series of the span."""

    store: str
    since_us: int | None
    until_us: int | None
    series: list[SeriesReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was asked for and is not there."""
    missing_files: int | None = None
    """Files between those that are there; None where other series' files were not looked for."""
    tallied: Tallied = field(default_factory=Tallied)

    def trouble(self, error: StoreError) -> None:
        """Notes what could not be read, once."""
        if str(error) not in self.problems:
            self.problems.append(str(error))

    @property
    def drifted(self) -> bool:
        """Whether anything is alarmed at the end of the span, a segment included."""
        return any(
            any(alarm.active for alarm in each.alarms) or (each.segments is not None and each.segments.active)
            for each in self.series
        )


class Sweep:
    """Reads files in the order of their panes and evaluates as it goes, in bounded memory."""

    def __init__(self, fleet: FleetStore, report: DriftReport, by: str) -> None:
        """`by` is `pod`, `segment`, or anything else for neither."""
        self._fleet = fleet
        self._report = report
        self._by_source, self._by_segment = by == "pod", by == "segment"
        self._folders: dict[str, tuple[int, int]] = {}
        """When the panes of a model's digest begin in this span, and its last ones."""
        self._runs: dict[Series, SeriesReport] = {}
        self._folds: list[Facts] = []
        self.budgets: dict[str, ModelBudget] = {}
        """By model."""

    def over(self, names: Sequence[PaneName]) -> None:
        """All of these files."""
        ordered = sorted(names, key=lambda name: (name.first_us, name.order))
        if not ordered:
            return
        report = self._report
        self._folds = [name.fold for name in ordered if name.fold is not None]
        first_us = max(ordered[0].first_us, report.since_us or 0)
        last_us = max(name.last_us for name in ordered)
        last_us = min(last_us, report.until_us) if report.until_us else last_us
        span_us = max(1, last_us - first_us + 1)
        for name in ordered:
            begin, end = self._folders.get(folder_of(name.name), (last_us, first_us))
            self._folders[folder_of(name.name)] = (
                min(begin, max(first_us, name.first_us)),
                max(end, min(last_us, name.last_us)),
            )
        for name, found in zip(ordered, self._fleet.read(ordered), strict=True):
            self._hand_out(name.first_us)
            if isinstance(found, StoreError):
                report.problems.append(str(found))
                continue
            self._take(found, span_us)
        self._hand_out(2**62)
        for each in self._runs.values():
            self._end(each)
        report.series = [self._runs[key] for key in sorted(self._runs)]

    def _take(self, file: PaneFile, span_us: int) -> None:
        report, facts = self._report, file.facts
        known = self._runs.get(facts.series)
        if known is None:
            try:
                plan = self._fleet.plan(facts.plan)
            except StoreError as error:
                report.trouble(error)
                return
            pane_us = facts.pane_us
            bucket_us = max(1, -(-span_us // BUCKETS // pane_us)) * pane_us
            known = SeriesReport(SeriesRun(facts.series, plan, 0), plan.empty(), bucket_us)
            self._runs[facts.series] = known
            for fold in self._folds:
                if fold.series == facts.series:
                    known.run.assembly.expect(fold)
            if self._by_segment and plan.segments:
                begin, end = self._folders[folder_of(file.name)]
                known.segments = SegmentLook(known.run, begin + (end + pane_us - begin) // BEGINNING)
        kept = [pane for pane in file.panes if self._inside(pane.start_us)]
        budget = self.budgets.setdefault(facts.model, ModelBudget())
        budget.ask(part_for_labels(known.run.plan.watch, known.run.evaluator))
        for pane in kept:
            if not pane.late:
                budget.panes.note(facts.series, pane.start_us)
        taken = known.run.assembly.take(PaneFile(file.name, facts, kept), 0)
        if taken and self._by_source and facts.folded:
            for each in facts.folded.values():
                if each.source in known.sources or len(known.sources) < SOURCES_KEPT:
                    # Whole files: of a fold nothing else is known of each pod.
                    known.sources.setdefault(each.source, Sum()).exchanges += each.exchanges
            self._folded_note()
        elif (
            taken and self._by_source and (facts.source in known.sources or len(known.sources) < SOURCES_KEPT)
        ):
            total = known.sources.setdefault(facts.source, Sum())
            for pane in kept:
                total.add(pane, facts.source)

    def _folded_note(self) -> None:
        note = "some of the span is folded: of each pod its exchanges there are known, and no more"
        if note not in self._report.notes:
            self._report.notes.append(note)

    def _inside(self, start_us: int) -> bool:
        report = self._report
        return (report.since_us is None or start_us >= report.since_us) and (
            report.until_us is None or start_us < report.until_us
        )

    def _hand_out(self, to_us: int) -> None:
        ready = [
            (pane.start_us, series, pane)
            for series, each in self._runs.items()
            for pane in each.run.assembly.hand_out(to_us)
        ]
        for start_us, series, pane in sorted(ready, key=lambda each: each[:2]):
            each = self._runs[series]
            each.run.evaluator.give(self.budgets[series.model].of(series, start_us))
            self._pane(each, pane)

    def _pane(self, each: SeriesReport, pane: Assembled) -> None:
        counts = each.run.vector(pane)
        if counts is None:
            return
        each.total += counts
        each.panes += 1
        each.exchanges += pane.sum.exchanges
        each.first_us = min(each.first_us or pane.start_us, pane.start_us)
        each.last_us = max(each.last_us, pane.start_us + pane.length_us)
        start_us = pane.start_us - pane.start_us % each.bucket_us
        bucket = each.buckets.setdefault(start_us, Bucket(start_us, each.run.plan.empty()))
        bucket.counts += counts
        if each.segments is not None:
            each.segments.pane(pane.start_us, counts)
        for alarm in each.run.step(pane):
            each.seen_alarms[alarm.id] = alarm

    def _end(self, each: SeriesReport) -> None:
        assembly, told = each.run.assembly, self._report.tallied
        behind = assembly.behind
        if behind.exchanges:
            try:
                each.total += vector(behind.counts, each.run.layout)
                each.exchanges += behind.exchanges
            except ValueError:
                told.refused += behind.exchanges
        if each.segments is not None:
            each.segments.end(each.total)
        for alarm in each.run.evaluator.alarms():
            each.seen_alarms[alarm.id] = alarm
        for name in ("on_time", "late", "overdue", "recounted", "repeated_files", "refused"):
            setattr(told, name, getattr(told, name) + getattr(assembly.tallied, name))


def folder_of(name: str) -> str:
    """What the name of a file of panes begins with, for one model and digest."""
    folder = name.partition("/date=")[0]
    return PANES + folder.removeprefix(FOLDS) if folder.startswith(FOLDS) else folder


def selected(names: Iterable[PaneName], since_us: int | None, until_us: int | None) -> list[PaneName]:
    """Those that may hold panes of the span."""
    return [
        name
        for name in names
        if (until_us is None or name.first_us < until_us)
        and (since_us is None or name.last_us >= since_us - 1_000_000)
    ]


def missing_files(names: Iterable[PaneName]) -> int:
    """Files between these, which are all that their writers shipped since some time."""
    writers = Writers()
    for name in names:
        files = [(name.writer, name.serial)]
        if name.fold is not None:
            files = [
                (writer, serial)
                for writer, each in name.folded.items()
                for first, last in each.runs
                for serial in range(first, last + 1)
            ]
        for writer, serial in files:
            if not writers.has(writer, serial):
                writers.take(writer, serial, 0)
    return missing([writers])


def as_json(report: DriftReport) -> dict[str, Any]:
    """The whole, JSON-able."""
    return {
        "format": 1,
        "store": report.store,
        "since_us": report.since_us,
        "until_us": report.until_us,
        "drifted": report.drifted,
        "counted": {name: getattr(report.tallied, name) for name in Tallied.__slots__},
        "missing_files": report.missing_files,
        "problems": report.problems,
        "series": [_series_json(each) for each in report.series],
    }


def _series_json(each: SeriesReport) -> dict[str, Any]:
    run = each.run
    promises = {promise.quantity: promise for promise in run.evaluator.promises()}
    active = {alarm.quantity: alarm for alarm in each.alarms if alarm.active}
    return {
        "model": run.series.model,
        "digest": run.series.digest or None,
        "plan": run.series.plan,
        "pane_us": run.series.pane_us,
        "budget": run.plan.watch.budget.words(),
        "panes": each.panes,
        "exchanges": each.exchanges,
        "first_us": each.first_us,
        "last_us": each.last_us,
        "quantities": [
            _quantity_json(each, quantity, active.get(quantity.name), promises[quantity.name].words)
            for quantity in run.plan.quantities
        ],
        "alarms": [msgspec.to_builtins(run.named(alarm)) for alarm in each.alarms],
        "sources": {
            source: {"exchanges": total.exchanges, "psi": source_psi(each, total)}
            for source, total in sorted(each.sources.items())
        },
        "labels": None if each.labels is None else labels_json(each.labels),
        "segments": [] if each.segments is None else segments_json(each.segments),
        "segment_alarms": [] if each.segments is None else each.segments.named_alarms(),
    }


def _quantity_json(
    each: SeriesReport, quantity: Quantity, alarm: Alarm | None, promise: str
) -> dict[str, Any]:
    change = each.change(quantity, each.total)
    return {
        "quantity": quantity.name,
        "before": change.before.words,
        "after": change.after.words,
        "rows": change.after.rows,
        "effect": msgspec.to_builtins(change.effect),
        "alarm": None if alarm is None else each.run.alarm_id(alarm),
        "since_us": None if alarm is None else alarm.since_us,
        "promise": promise,
    }


def source_psi(each: SeriesReport, total: Sum) -> dict[str, float]:
    """PSI by quantity of what one source counted; where it says nothing, nothing."""
    try:
        counts = vector(total.counts, each.run.layout)
    except ValueError:
        return {}
    found = {}
    for quantity in each.run.plan.quantities:
        if isinstance(quantity, Distribution) and np.any(part(quantity, counts)):
            psi = each.change(quantity, counts).effect.psi
            if psi is not None:
                found[quantity.name] = psi
    return found
