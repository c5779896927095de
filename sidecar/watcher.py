"""Glue: one watcher over a store: what is new, which panes are complete, which alarms follow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sidecar.alarm_notice import notice_of
from sidecar.alarm_store import TAKE_OVER_US, AlarmStore, Told
from sidecar.alerting.notice import Notice
from sidecar.archive.source import Source
from sidecar.clock import Clock
from sidecar.errors import ObjectMissing, ObjectUnreadable, StoreError, UsageError
from sidecar.fleet.naming import PaneName, stamp
from sidecar.fleet.pane_file import Facts, PaneFile, Series
from sidecar.fleet.shares import ModelBudget
from sidecar.fleet.sums import Sum
from sidecar.fleet.writers import missing
from sidecar.fleet_store import FleetStore
from sidecar.label_watch import LabelWatch
from sidecar.objects import Store
from sidecar.series_run import SeriesRun
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.label_bands import part_for_labels

log = logging.getLogger(__name__)

STATE_FORMAT = 1
HOUR_US = 3_600_000_000
RECENT_US = HOUR_US
"""How far back every look lists: longer than an upload is normally under way."""
SWEEP_EVERY_US = HOUR_US
HORIZON_US = 3 * 24 * HOUR_US
"""How far back the look once an hour goes: what a store outage delayed for longer is not watched any more."""
MOST_SERIES = 1_000
SPANS_KEPT = 200
STATES = "statistics/watch"

Tell = Callable[[Series, Notice, bool], None]
"""A state of an alarm as it stands; true if this process is the one to tell those who hear it once."""


class _State(msgspec.Struct):
    format: int
    since_us: int
    series: list[tuple[Series, bytes, bytes, int]]
    budgets: dict[str, ModelBudget] = {}
    labels: list[tuple[Series, bytes]] = []


@dataclass(slots=True)
class Health:
    """How the last looks went."""

    looked_us: int = 0
    """When the store was last looked through without an error; 0 before the first time."""
    error: str = ""
    files: int = 0
    unreadable: int = 0
    left_out_series: int = 0
    """Series in the last look for which there is no room."""


class Watcher:
    """Looks at a store again and again. Not for several threads at once."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tell: Tell | None,
        *,
        name: str,
        instance: str,
        model: str | None = None,
        wait_us: int = 600_000_000,
        since_us: int | None = None,
        folder: Path | None = None,
        records: Source | None = None,
    ) -> None:
        """`name` is that of the state, which the next process goes on from; `instance` this process's own.

        `tell` is called with the state of every alarm at each look; `folder` keeps the state, else the
        store; `records` are what labels are about, without which they are left alone.
        """
        self.store = store
        self._fleet = FleetStore(store)
        self._alarms = AlarmStore(store)
        self._clock = clock
        self._tell = tell
        self.name = name
        self._instance = instance
        self._model = model
        self._wait_us = wait_us
        self._folder = folder
        self._since_us = clock.wall_us() - 24 * HOUR_US if since_us is None else since_us
        self._swept_us = 0
        self._fresh = True
        """Whether nothing was taken before: then everything since the beginning is looked through once."""
        self._unread: dict[PaneName, str] = {}
        """Files that were left out, and why; the next process tries them again."""
        self._told: dict[str, Told] = {}
        self._done: list[tuple[Series, Notice]] = []
        self.runs: dict[Series, SeriesRun] = {}
        self._folds: list[Facts] = []
        """What a new watcher began with."""
        self._budgets: dict[str, ModelBudget] = {}
        """By model."""
        self._changed: dict[Series, dict[str, Alarm]] = {}
        """Alarms that are not in the store as they are now."""
        self.labels = LabelWatch(records, model)
        self.health = Health()
        self._restore(given=since_us is not None)

    def look(self) -> int:
        """Takes what is new, evaluates what is complete, keeps and tells what follows.

        Returns the number of files taken. Raises StoreError when the store cannot
        be listed, read or written; then the next look goes on from there.
        """
        now_us = self._clock.wall_us()
        taken = self._take_new(now_us)
        stepped = self._step(now_us)
        for series, alarm in self.labels.look(self.runs, self._budgets, now_us):
            self._changed.setdefault(series, {})[alarm.id] = alarm
        changed = False
        for series, run in list(self.runs.items()):
            for alarm in run.end(now_us):
                self._changed.setdefault(series, {})[alarm.id] = alarm
            changed |= self._keep(series, run, now_us, series in stepped)
            changed |= self._let_go(series, run, now_us)
        if taken or stepped or changed or self.labels.changed:
            self._save()
        self.mark_told()
        self.health.looked_us = now_us
        return taken

    def told(self, series: Series, notice: Notice) -> None:
        """A receiver took the notice; noted in the store with the next look."""
        self._done.append((series, notice))

    def alarms(self) -> list[tuple[Series, Alarm]]:
        """Every alarm that this watcher knows."""
        return [
            (series, run.named(alarm))
            for series, run in list(self.runs.items())
            for alarm in self._alarms_of(series, run)
        ]

    def _alarms_of(self, series: Series, run: SeriesRun) -> list[Alarm]:
        of_labels = self.labels.runs.get(series)
        return [
            *run.evaluator.alarms(),
            *([] if of_labels is None else of_labels.evaluator.alarms()),
        ]

    @property
    def missing_files(self) -> int | None:
        """Files between those that were taken; None where other models' files are not looked for."""
        if self._model is not None:
            return None
        return missing(run.assembly.writers for run in list(self.runs.values()))

    def _take_new(self, now_us: int) -> int:
        sweep = now_us - self._swept_us >= SWEEP_EVERY_US
        back_us = HORIZON_US if sweep else max(RECENT_US, 2 * self._wait_us)
        from_us = self._since_us if self._fresh else max(self._since_us, now_us - back_us)
        names = [
            name
            for folder in self._fleet.folders(self._model)
            for name in self._shipped(folder, from_us)
            if not self._known(name)
        ]
        names.sort(key=lambda name: name.order)
        self._folds += [name.fold for name in names if name.fold is not None]
        taken = 0
        left_out: set[Series] = set()
        for name, found in zip(names, self._fleet.read(names), strict=True):
            if isinstance(found, ObjectMissing):
                continue
            try:
                if isinstance(found, StoreError):
                    raise found
                run = self._run(found.facts.series, found.facts.plan)
            except (ObjectMissing, ObjectUnreadable) as error:
                # One file, or one plan, keeps no other model from being watched.
                self._leave_out(name, error)
                continue
            if run is None:
                left_out.add(found.facts.series)
            else:
                taken += self._take(run, found, now_us)
                # Late counts are in the store for whoever adds them up; the detectors do without.
                run.assembly.behind = Sum()
        if sweep:
            self._swept_us = now_us
            for run in self.runs.values():
                run.assembly.writers.forget(now_us - HORIZON_US - SWEEP_EVERY_US)
            oldest = stamp(now_us - HORIZON_US - SWEEP_EVERY_US)
            self._unread = {name: why for name, why in self._unread.items() if name.shipped >= oldest}
        if len(left_out) > self.health.left_out_series:
            log.error("%d series are watched, %d more are left out", len(self.runs), len(left_out))
        self.health.left_out_series = len(left_out)
        self.health.files += taken
        self._fresh = False
        return taken

    def _shipped(self, folder: str, from_us: int) -> Iterable[PaneName]:
        # Files stay beside their fold for as long as a watcher that has taken some looks back.
        if not self._fresh:
            return self._fleet.shipped_since(folder, from_us)
        return self._fleet.files_since(folder, from_us, lambda error: log.error("%s; left out", error))

    def _take(self, run: SeriesRun, file: PaneFile, now_us: int) -> bool:
        budget = self._budgets.setdefault(run.series.model, ModelBudget())
        budget.ask(part_for_labels(run.plan.watch, run.evaluator))
        for pane in file.panes:
            if not pane.late:
                budget.panes.note(run.series, pane.start_us)
        return run.assembly.take(file, now_us)

    def _known(self, name: PaneName) -> bool:
        return name in self._unread or any(
            run.assembly.writers.has(name.writer, name.serial) for run in self.runs.values()
        )

    def _leave_out(self, name: PaneName, error: StoreError) -> None:
        why = str(error)
        if why not in self._unread.values():
            log.error("%s; left out: restore it and start again", why)
        self.health.unreadable += 1
        self._unread[name] = why

    def _run(self, series: Series, plan: str) -> SeriesRun | None:
        known = self.runs.get(series)
        if known is None:
            if len(self.runs) >= MOST_SERIES:
                return None
            same = [each for each in self.runs if (each.model, each.digest) == (series.model, series.digest)]
            if same:
                log.warning(
                    "model %s has %d plans of one digest: their counts do not add, and they share its "
                    "budget; give all pods one baseline_file",
                    series.model,
                    len(same) + 1,
                )
            known = self.runs[series] = SeriesRun(series, self._fleet.plan(plan), self._wait_us)
            for fold in self._folds:
                if fold.series == series:
                    known.assembly.expect(fold)
        return known

    def _step(self, now_us: int) -> set[Series]:
        """Evaluates the panes that are complete, by time over all series; the series that had some."""
        due = [
            (pane.start_us, series, pane)
            for series, run in self.runs.items()
            for pane in run.assembly.due(now_us)
        ]
        due.sort(key=lambda each: each[:2])
        for start_us, series, pane in due:
            run = self.runs[series]
            run.evaluator.give(self._budgets[series.model].of(series, start_us))
            for alarm in run.step(pane):
                self._changed.setdefault(series, {})[alarm.id] = alarm
        return {series for _, series, _ in due}

    def _keep(self, series: Series, run: SeriesRun, now_us: int, stepped: bool) -> bool:
        """Writes and tells what has become of a series' alarms; whether anything has."""
        changed = self._changed.setdefault(series, {})
        active = [alarm for alarm in self._alarms_of(series, run) if alarm.active]
        if any(alarm.loud for alarm in active):
            acknowledged = self._alarms.acknowledged(series)
            for alarm in active:
                if alarm.loud and run.alarm_id(alarm) in acknowledged:
                    alarm.move("acknowledge", now_us)
                    changed[alarm.id] = alarm
        some = bool(changed)
        for key, alarm in list(changed.items()):
            named = run.named(alarm)
            self._alarms.write(series, self.name, named)
            del changed[key]
            log.warning(
                "%s",
                named.sentence,
                extra={"alarm": named.id, "model": series.model, "state": named.state},
            )
        if stepped and (some or active):
            kept = [run.named(alarm) for alarm in run.evaluator.alarms()][:SPANS_KEPT]
            self._alarms.write_spans(series, kept, run.assembly.handed_to_us)
        self._tell_of(series, run, now_us)
        return some

    def _let_go(self, series: Series, run: SeriesRun, now_us: int) -> bool:
        """Whether the series is over and there is room for another: all of its files are out of sight."""
        if run.heard_us() or run.assembly.open or self.labels.needs(series, now_us):
            return False
        if any(alarm.active for alarm in self._alarms_of(series, run)):
            return False
        del self.runs[series]
        self._changed.pop(series, None)
        self.labels.let_go(series)
        return True

    def _tell_of(self, series: Series, run: SeriesRun, now_us: int) -> None:
        if self._tell is None:
            return
        for alarm in self._alarms_of(series, run):
            named = run.named(alarm)
            notice = notice_of(named, named.id, series.model, series.digest)
            known = self._told.get(notice.key)
            if known is None or (not known.done and known.at_us < now_us - TAKE_OVER_US):
                known = self._told[notice.key] = self._alarms.claim(series, notice, self._instance, now_us)
            self._tell(series, notice, not known.done and known.watcher == self._instance)

    def mark_told(self) -> None:
        """Notes in the store what receivers have taken."""
        now_us = self._clock.wall_us()
        while self._done:
            series, notice = self._done[0]
            known = self._told.get(notice.key)
            if known is None or not known.done:
                self._alarms.told(series, notice, self._instance, now_us)
                self._told[notice.key] = Told(self._instance, now_us, True)
            del self._done[0]

    def _save(self) -> None:
        state = _State(
            STATE_FORMAT,
            self._since_us,
            [(series, *run.state()) for series, run in self.runs.items()],
            self._budgets,
            self.labels.state(),
        )
        data = msgspec.msgpack.encode(state)
        if self._folder is None:
            self.store.put(self._state_name(), data)
            return
        path = self._folder / "watch.state"
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(data)
            fresh.replace(path)
        except OSError as error:
            raise StoreError(f"watch state {path}: {error.strerror}: give a writable --state") from error

    def _restore(self, given: bool) -> None:
        try:
            data = self._saved()
        except ObjectMissing:
            return
        try:
            state = msgspec.msgpack.decode(data, type=_State)
            if state.format != STATE_FORMAT:
                raise UsageError(f"watch state: format {state.format}, this build reads {STATE_FORMAT}")
            self._fresh = False
            self._budgets = {series.model: ModelBudget() for series, *_ in state.series} | state.budgets
            for series, assembly, evaluator, stepped_us in state.series:
                try:
                    plan = self._fleet.plan(series.plan)
                except (ObjectMissing, ObjectUnreadable) as error:
                    log.error("%s: %s", series.text, error)
                    continue
                self.runs[series] = SeriesRun.restore(
                    series, plan, self._wait_us, assembly, evaluator, stepped_us
                )
            self.labels.load(state.labels, self.runs)
            if not given:
                self._since_us = state.since_us
        except (msgspec.MsgspecError, ValueError) as error:
            log.error("watch state begins anew: %s", error)
            self.runs.clear()
            self._budgets.clear()
            self._fresh = True

    def _saved(self) -> bytes:
        if self._folder is None:
            return self.store.get(self._state_name())
        path = self._folder / "watch.state"
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise ObjectMissing(f"watch state {path}: not there") from error
        except OSError as error:
            raise UsageError(f"watch state {path}: {error.strerror}: give a readable --state") from error

    def _state_name(self) -> str:
        return f"{STATES}/{self.name}.state"
