"""Glue: ground truth as a watcher follows it: new labels joined, counted, and held against their bands."""

from __future__ import annotations

import logging
from collections import ChainMap
from collections.abc import Mapping

import numpy as np

from sidecar.archive.labelled import Labelled, Span, Wanted
from sidecar.archive.source import Source
from sidecar.errors import StoreError
from sidecar.fleet.pane_file import Series
from sidecar.fleet.shares import ModelBudget
from sidecar.label_alarms import LabelRun
from sidecar.label_join import Truth
from sidecar.label_panes import Owners, join_panes
from sidecar.label_store import label_files, read_label_file
from sidecar.series_run import SeriesRun
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.label_event import LabelEvent

log = logging.getLogger(__name__)

HOUR_US = 3_600_000_000
HORIZON_US = 30 * 24 * HOUR_US
"""Decisions that are older are not followed any more: `drift` and `labels --report` know them."""
EVERY_US = 60_000_000
"""Time between two looks for labels, and length of a step of their detectors, at least."""
MOST_LABELS = 1_000_000
"""Remembered at a time."""
MOST_UNMATCHED = 100_000
"""Labels whose records are not in the store yet, which are looked for again."""
AGAIN_US = 600_000_000
"""Time between two such looks: each asks every file of records."""
PATIENCE_US = 24 * HOUR_US
"""A record that has not come by then is not looked for any more until the next start."""

Target = tuple[str, str]


class LabelWatch:
    """The labels of one store, for the series that a watcher knows."""

    def __init__(self, source: Source | None, model: str | None) -> None:
        """`source` None: labels are left alone."""
        self._source = source
        self._model = model
        self.runs: dict[Series, LabelRun] = {}
        self._truth = Truth()
        self._names: set[str] = set()
        """Files of labels that were read."""
        self._unmatched: dict[Target, int] = {}
        """With the time since when."""
        self._looked_us = self._again_us = 0
        self._joined: frozenset[Series] = frozenset()
        """Series into which everything that is remembered is counted."""
        self.left_out = 0
        """Labels for which there was no room."""
        self.changed = False
        """Whether `state` would give something else than it did last."""
        self._told: set[str] = set()

    def follow(self, runs: Mapping[Series, SeriesRun]) -> None:
        """Takes in the series whose watch file names labels."""
        for series, run in runs.items():
            if series not in self.runs and run.plan.watch.labels is not None and self._source is not None:
                self.runs[series] = LabelRun(run, HOUR_US, max(EVERY_US, series.pane_us))

    def look(
        self, runs: Mapping[Series, SeriesRun], budgets: Mapping[str, ModelBudget], now_us: int
    ) -> list[tuple[Series, Alarm]]:
        """Counts the labels that have come; the alarms that changed by it.

        Raises StoreError when the store cannot be listed; then nothing was taken.
        """
        self.follow(runs)
        if self._source is None or not self.runs or now_us - self._looked_us < EVERY_US:
            return []
        self.changed |= self._count(self._source, runs, now_us)
        self._looked_us = now_us
        followed = {series: each for series, each in self.runs.items() if self.needs(series, now_us)}
        for series, each in followed.items():
            budgets[series.model].labels.note(series, now_us // each.step_us * each.step_us)
        alarms = [
            (series, alarm)
            for series, each in self.runs.items()
            if series not in followed
            for alarm in each.evaluator.end(now_us)
        ]
        for series, each in followed.items():
            budget = budgets[series.model]
            share = budget.labels.of(series, now_us // each.step_us * each.step_us) * budget.for_labels
            alarms += [(series, alarm) for alarm in each.step(now_us, share)]
        return alarms

    def needs(self, series: Series, now_us: int) -> bool:
        """Whether labels of a series may still come."""
        each = self.runs.get(series)
        return each is not None and bool(each.panes.panes or each.run.stepped_us >= now_us - HORIZON_US)

    def let_go(self, series: Series) -> None:
        """Forgets a series that is over."""
        if self.runs.pop(series, None) is not None:
            self._joined -= {series}

    def _count(self, source: Source, runs: Mapping[Series, SeriesRun], now_us: int) -> bool:
        """Whether there was anything to count."""
        since_us = (now_us - HORIZON_US) // HOUR_US * HOUR_US
        for each in self.runs.values():
            each.panes.panes = {at: counts for at, counts in each.panes.panes.items() if at >= since_us}
        names = [name for name in label_files(source) if name not in self._names]
        anew = self._joined != frozenset(self.runs)
        again = bool(self._unmatched) and now_us - self._again_us >= AGAIN_US
        if not names and not again and not anew:
            return False
        own: dict[Target, LabelEvent] = {}
        fresh = Truth(ChainMap(own, self._truth.by_target))
        for name in names:
            self._read(source, name, fresh)
        waiting = {
            target: since for target, since in self._unmatched.items() if since >= now_us - PATIENCE_US
        }
        targets = [*fresh.by_target] if anew else [*dict.fromkeys([*own, *(waiting if again else ())])]
        wanted = Wanted({value for name, value in targets if not name}, {each for each in targets if each[0]})
        wanted.known = fresh.by_target.keys()
        # Counted apart, so that a store which fails half way leaves everything as it was.
        made = {series: LabelRun(each.run, HOUR_US, each.step_us).panes for series, each in self.runs.items()}
        old = Truth() if anew else self._truth
        found = join_panes(
            source,
            wanted,
            lambda record: (self._counted(record, old), fresh.of(record)),
            Owners(runs.values()),
            made,
            Span(since_us),
            self._model,
            self._problem,
        )
        for series, panes in made.items():
            each = self.runs[series]
            change = panes.total - (each.panes.total if anew else 0)
            if anew:
                each.panes = panes
            else:
                for start_us, counts in panes.panes.items():
                    each.panes.add(start_us, counts)
            each.wait(np.asarray(change, dtype=np.int64))
        self._truth.by_target.update(own)
        self._names.update(names)
        left = waiting | {target: waiting.get(target, now_us) for target in targets}
        missing = [item for item in left.items() if item[0] not in found.targets]
        self._unmatched = dict(missing[-MOST_UNMATCHED:])
        self._again_us = now_us if again or anew else self._again_us
        self._joined = frozenset(self.runs)
        return True

    def _counted(self, record: Labelled, old: Truth) -> LabelEvent | None:
        """The label under which a record is counted; None where the record was not there when it came."""
        targets = [each for each in (("", record.record_id), *record.keys) if each in old.by_target]
        return None if all(each in self._unmatched for each in targets) else old.of(record)

    def _read(self, source: Source, name: str, truth: Truth) -> None:
        try:
            for event in read_label_file(source, name):
                if len(truth.by_target) < MOST_LABELS or event.target in truth.by_target:
                    truth.add(event)
                else:
                    self.left_out += 1
        except StoreError as error:
            self._problem(error)

    def _problem(self, error: StoreError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            log.error("%s; its labels are left out", error)

    def state(self) -> list[tuple[Series, bytes]]:
        """What `load` takes."""
        self.changed = False
        return [(series, each.state()) for series, each in self.runs.items()]

    def load(self, state: list[tuple[Series, bytes]], runs: Mapping[Series, SeriesRun]) -> None:
        """Takes what `state` gave; what labels say is counted anew, and only the change is evaluated."""
        self.follow(runs)
        for series, data in state:
            each = self.runs.get(series)
            if each is not None:
                try:
                    each.load(data)
                except ValueError as error:
                    log.error("labels of %s begin anew: %s", series.text, error)
