"""Glue: the labels of a store joined with the records of a drift report's span."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sidecar.archive.labelled import Span
from sidecar.archive.source import Source
from sidecar.drift_labels import LabelReport
from sidecar.drift_report import DriftReport, SeriesReport
from sidecar.errors import StoreError
from sidecar.fleet.pane_file import Series
from sidecar.fleet.shares import ModelBudget
from sidecar.label_alarms import LabelRun
from sidecar.label_join import Truth
from sidecar.label_panes import Owners, join_panes
from sidecar.label_store import stored_labels
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.label_bands import band_counts

MOST_PANES = 20_000
"""Of labels, of one series; of a longer span several panes are one."""


def join_labels(
    report: DriftReport, source: Source, budgets: Mapping[str, ModelBudget], model: str | None
) -> None:
    """Adds ground truth to every series whose watch file names it, and the alarms that follow."""
    wanted = {each.run.series: each for each in report.series if each.run.plan.watch.labels is not None}
    if not wanted:
        return
    runs = {series: _label_run(each) for series, each in wanted.items()}
    truth = Truth()

    def problem(error: StoreError) -> None:
        if str(error) not in report.problems:
            report.problems.append(str(error))

    for event in stored_labels(source, problem):
        truth.add(event)
    first_us = min(each.first_us for each in wanted.values())
    last_us = max(each.last_us for each in wanted.values())
    found = join_panes(
        source,
        truth.wanted,
        lambda record: (None, truth.of(record)),
        Owners(each.run for each in report.series),
        {series: each.panes for series, each in runs.items()},
        Span(max(first_us, report.since_us or 0), min(last_us, report.until_us or last_us)),
        model,
        problem,
    )
    for series, each in wanted.items():
        alarms = _alarms(series, runs[series], budgets[series.model])
        each.labels = LabelReport(runs[series], each.bucket_us, found, alarms)
        each.seen_alarms.update({alarm.id: alarm for alarm in alarms})


def _label_run(each: SeriesReport) -> LabelRun:
    pane_us = each.run.series.pane_us
    span_us = max(1, each.last_us - each.first_us)
    length_us = pane_us * max(1, -(-span_us // pane_us // MOST_PANES))
    return LabelRun(each.run, length_us, length_us)


def _alarms(series: Series, run: LabelRun, budget: ModelBudget) -> list[Alarm]:
    """What the detectors of its bands say over the decisions in the order of time."""
    seen: dict[str, Alarm] = {}
    for start_us, counts in sorted(run.panes.panes.items()):
        if band_counts(run.panes.tally, counts).any():
            run.wait(np.asarray(counts, dtype=np.int64))
            at_us = min(start_us + run.step_us - 1, budget.panes.frontier_us)
            for alarm in run.step(start_us, budget.panes.of(series, at_us) * budget.for_labels):
                seen[alarm.id] = alarm
    return [*seen.values()]
