"""One model's statistics: samples in; exact counts by pane, alarms and a summary out.

Bounded memory, no clock, no randomness: the same samples give the same counts
however they are batched, and panes under one plan add exactly. A pane closes
when `advance` says that its end lies a watermark back; what comes later is
counted apart, by hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from sidecar.records import Sample
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.baseline import Baseline
from sidecar.statistics.comparison import compare
from sidecar.statistics.decision import Token
from sidecar.statistics.evaluator import QUIET_US, Evaluator
from sidecar.statistics.exemplars import Exemplars
from sidecar.statistics.field_tally import EXCHANGES, UNWATCHED_INPUTS, UNWATCHED_OUTPUTS
from sidecar.statistics.monitor_state import (
    VERSION,
    MonitorSettings,
    MonitorState,
    Waiting,
    read_state,
    written_state,
)
from sidecar.statistics.news import News
from sidecar.statistics.panes import HOT_OPEN, HOUR_US, ClosedPane, Folds, Series, packed, unpacked
from sidecar.statistics.plan import Plan
from sidecar.statistics.rows import Rows, check_columns
from sidecar.statistics.rule_tally import Checks
from sidecar.statistics.rule_watch import RuleWatch
from sidecar.statistics.summary import counts_summary, warmup_summary
from sidecar.statistics.tally import Vector
from sidecar.statistics.warmup import Warmup

__all__ = ["Monitor", "MonitorSettings"]

WINDOW_EXCHANGES: Final = 1000
WINDOW_PANES: Final = 60
"""The window that is shown: the newest panes until there are so many exchanges, or panes."""
MOST_RECENT_BYTES: Final = 160 * 1024
MOST_OPEN: Final = 4096
"""Open panes; what would open another is counted as late, so that a clock gone mad costs no memory."""
MOST_WAITING_BYTES: Final = 2 << 20
"""Of closed panes that wait to be shipped; beyond it they are joined by hour."""
MOVING: Final = 0.5
"""Power of a threshold from which on a quantity's examples are shipped with its panes: half way, in nats."""
ROWS_AT_ONCE: Final = 8192


class Monitor:
    """Counts one model's traffic against a given baseline, or that of its first exchanges."""

    def __init__(
        self,
        settings: MonitorSettings,
        baseline: Baseline | None = None,
        token: Token | None = None,
        checks: Checks | None = None,
    ) -> None:
        """`token` gives what is counted in place of a concealed value, where any is.

        `checks`, this monitor's own, are what the data-quality rules of the specification stand for.
        Raises ValueError if the watch specification asks for what the baseline does not have.
        """
        if settings.baseline_exchanges < 1 or settings.pane_us < 1 or settings.watermark_us < 0:
            raise ValueError("baseline_exchanges, pane and watermark must be positive")
        self.settings = settings
        self._token = token
        self._rules = RuleWatch(settings.watch.rules, checks)
        self.pane_us = settings.pane_us
        self.complete_to_us = 0
        """Every pane that ends at or before this is closed."""
        self.plan: Plan | None = None
        self._previous: Baseline | None = None
        self._switch: dict[str, Any] | None = None
        self._trouble = ""
        named = settings.watch.named("inputs"), settings.watch.named("outputs")
        self._warmup: Warmup | None = Warmup.begin(settings.baseline_exchanges, *named)
        if baseline is not None:
            self._begin(Plan(baseline, settings.watch, token, checks))

    @property
    def baseline(self) -> Baseline | None:
        """The frozen baseline; None before it is."""
        return self.plan.baseline if self.plan else None

    def follow(self, previous: Baseline | None) -> None:
        """Names the baseline of the model that answered before: what changed is said once both are known."""
        self._previous = previous
        if self.plan is not None and previous is not None:
            self._switch = compare(previous, self.plan.baseline)

    def add(self, samples: Sequence[Sample]) -> None:
        """Takes samples in; cheapest in batches of hundreds.

        Raises ValueError for an observation whose lists do not have one value per instance.
        """
        at = 0
        if self._warmup is not None:
            for sample in samples:
                check_columns(sample)
            at = self._warm_up(self._warmup, samples)
            for batch in _cut(list(samples[:at])):
                self._rules.count(Rows(batch))
        if self.plan is None or at == len(samples):
            return
        by_pane: dict[int, list[Sample]] = {}
        for sample in samples[at:]:
            by_pane.setdefault(sample.t_us // self.pane_us, []).append(sample)
        for number, members in by_pane.items():
            for batch in _cut(members):
                self._count(self.plan, number * self.pane_us, Rows(batch))

    def _warm_up(self, warmup: Warmup, samples: Sequence[Sample]) -> int:
        """How many samples the baseline took."""
        for taken, sample in enumerate(samples, 1):
            if warmup.add(sample):
                epochs = self.settings.watch.times
                baseline = warmup.freeze(self.settings.coarse, self.pane_us, epochs=epochs)
                try:
                    plan = Plan(baseline, self.settings.watch, self._token, self._rules.checks)
                except ValueError as error:
                    # What is asked for and not there is left out, and said; the rest is watched all the same.
                    self._trouble = str(error)
                    plan = Plan(baseline, self.settings.watch.without_sections(), checks=self._rules.checks)
                self._begin(plan)
                return taken
        return len(samples)

    def _begin(self, plan: Plan) -> None:
        self._warmup = None
        self.plan = plan
        self._totals: Vector = plan.empty()
        self._open = Series(plan.size, HOT_OPEN)
        self._recent = Series(plan.size)
        self._folds = Folds(plan.size)
        self._late = Series(plan.size)
        self._late_total = 0
        self._closed: list[Waiting] = []
        self._evaluator = Evaluator(
            plan.quantities, plan.watch.budget, self.pane_us, advisory=True, segments=plan.segment_parts()
        )
        self._exemplars = Exemplars(plan, self._rules.last)
        self._news = News(plan)
        if self._previous is not None:
            self._switch = compare(self._previous, plan.baseline)

    def _count(self, plan: Plan, start_us: int, rows: Rows) -> None:
        vector = plan.count(rows)
        self._totals += vector
        self._exemplars.note(rows, vector)
        for tally in plan.rules:
            self._rules.note(tally, rows, plan.part(vector, tally.name))
        if vector[UNWATCHED_INPUTS] or vector[UNWATCHED_OUTPUTS]:
            self._news.appeared(rows, start_us)
        full = len(self._open) >= MOST_OPEN and start_us not in self._open
        if full or start_us + self.pane_us <= self.complete_to_us:
            self._late_total += rows.exchanges
            hour = start_us // HOUR_US * HOUR_US
            self._folds.add(start_us, vector, late=True)
            if self.settings.ships:
                self._late.add(hour, vector)
        else:
            self._open.add(start_us, vector)

    def advance(self, now_us: int) -> list[Alarm]:
        """Closes the panes that end a watermark before `now_us` or earlier; the alarms that changed by it.

        `now_us` is how far the traffic is known: the wall clock if all of it was read.
        """
        boundary = (now_us - self.settings.watermark_us) // self.pane_us * self.pane_us
        if boundary <= self.complete_to_us:
            return []
        changed: list[Alarm] = []
        if self.plan is not None:
            for start in self._open.starts():
                if start + self.pane_us > boundary:
                    break
                changed += self._close(self.plan, start)
            if 0 < self._evaluator.last_us < boundary - QUIET_US:
                changed += self._evaluator.end(boundary)
        self.complete_to_us = boundary
        return changed

    def _close(self, plan: Plan, start_us: int) -> list[Alarm]:
        vector = self._open.pop(start_us)
        self._folds.add(start_us, vector)
        self._recent.add(start_us, vector)
        while len(self._recent) > WINDOW_PANES or (
            len(self._recent) > 2 and self._recent.held_bytes > MOST_RECENT_BYTES
        ):
            self._recent.drop(self._recent.starts()[0])
        self._news.closed(start_us, vector)
        exemplars = self._exemplars.of(vector)
        changed = self._evaluator.step(start_us, vector, exemplars)
        if self.settings.ships:
            moving = {
                watch.quantity.name: list(exemplars[watch.quantity.name])
                for watch in self._evaluator.watches
                if watch.evidence >= watch.threshold**MOVING
            }
            self._wait(start_us, vector, moving)
        return changed

    def _wait(self, start_us: int, vector: Vector, moving: dict[str, list[str]]) -> None:
        self._closed.append((start_us, int(vector[EXCHANGES]), packed(vector), moving))
        if len(self._closed) > 1 and sum(len(data) for _, _, data, _ in self._closed) > MOST_WAITING_BYTES:
            # Joined with what is late, by hour: coarser, and every count still there.
            for start, _, data, _ in self._closed[: len(self._closed) // 2]:
                self._late.add(start // HOUR_US * HOUR_US, unpacked(data, len(vector)))
            del self._closed[: len(self._closed) // 2]

    def take_closed(self, now_us: int = 0, everything: bool = False) -> list[ClosedPane]:
        """Closed panes that were not taken before, and what came late; with `everything` open panes too.

        To be made durable together with `state()`. Empty unless the settings say that panes are shipped.
        """
        if self.plan is None or not self.settings.ships:
            return []
        if now_us:
            self.advance(now_us)
        if everything:
            for start in self._open.starts():
                self._close(self.plan, start)
                self.complete_to_us = max(self.complete_to_us, start + self.pane_us)
        size = self.plan.size
        taken = [
            ClosedPane(start, self.pane_us, False, exchanges, unpacked(data, size), moving)
            for start, exchanges, data, moving in self._closed
        ]
        taken += [
            ClosedPane(hour, HOUR_US, True, int(vector[EXCHANGES]), vector)
            for hour, vector in self._late.items()
        ]
        self._closed = []
        self._late = Series(size)
        return taken

    def alarms(self) -> list[Alarm]:
        """What is open, and what was lately; advisory: of what this one process has seen."""
        return self._evaluator.alarms() if self.plan else []

    def state(self) -> bytes:
        """Everything that counts, exactly; equal monitors have equal bytes."""
        previous = self._previous.encode() if self._previous else None
        state = MonitorState(
            VERSION, self.settings, self.complete_to_us, previous, self._switch, self._trouble, self._warmup
        )
        state.rules, state.last_broken = self._rules.state()
        if self.plan is not None:
            state.plan = self.plan.encode()
            state.totals = packed(self._totals)
            state.open = self._open.state()
            state.recent = self._recent.state()
            state.folds = self._folds.state()
            state.late = self._late.state()
            state.late_total = self._late_total
            state.closed = self._closed
            state.news = self._news.state()
            state.evaluator = self._evaluator.state()
        return written_state(state)

    @classmethod
    def restore(
        cls,
        data: bytes,
        settings: MonitorSettings | None = None,
        baseline: Baseline | None = None,
        token: Token | None = None,
        checks: Checks | None = None,
    ) -> Monitor:
        """The monitor whose `state()` was `data`; under other settings or another baseline, its successor.

        Raises ValueError if it is no such thing, or as the constructor does.
        """
        state = read_state(data)
        known = state.settings
        wanted = settings or known
        plan = Plan.decode(state.plan, token, checks) if state.plan else None
        previous = Baseline.decode(state.previous) if state.previous else None
        keeps = (wanted.pane_us, wanted.watch, wanted.coarse) == (known.pane_us, known.watch, known.coarse)
        other_baseline = baseline is not None and (plan is None or plan.baseline.digest != baseline.digest)
        if not keeps or other_baseline:
            kept = baseline or (plan.baseline if plan and wanted.coarse == known.coarse else None)
            monitor = cls(wanted, kept, token, checks)
            monitor.follow(previous)
            return monitor
        monitor = cls(wanted, token=token, checks=checks)
        monitor.complete_to_us, monitor._previous, monitor._trouble = (
            state.complete_to_us,
            previous,
            state.trouble,
        )
        monitor._rules.load(state.rules, state.last_broken)
        if plan is None:
            monitor._warmup = state.warmup
        else:
            monitor._load(state, plan)
        monitor._switch = state.switch
        return monitor

    def _load(self, state: MonitorState, plan: Plan) -> None:
        size = plan.size
        self._begin(plan)
        self._totals = unpacked(state.totals, size)
        self._open = Series.restore(size, state.open, HOT_OPEN)
        self._recent = Series.restore(size, state.recent)
        self._folds.load(size, state.folds)
        self._late = Series.restore(size, state.late)
        self._late_total = state.late_total
        self._closed = list(state.closed)
        self._news.load(state.news)
        budget = plan.watch.budget
        self._evaluator = Evaluator.restore(
            plan.quantities,
            budget,
            self.pane_us,
            state.evaluator,
            advisory=True,
            segments=plan.segment_parts(),
        )

    def summary(self) -> dict[str, Any]:
        """JSON-able: `state` (`warming_up`, `watching`), `baseline`, totals since it was frozen, `window`."""
        plan = self.plan
        if plan is None or self._warmup is not None:
            return warmup_summary(self._warmup, self.settings.baseline_exchanges) | self._rules.summary()
        baseline = plan.baseline
        return {
            "state": "watching",
            "plan": plan.digest,
            "baseline": {
                "digest": baseline.digest,
                "source": baseline.source,
                "exchanges": baseline.exchanges,
                "instances": baseline.rows,
                "wanted": self.settings.baseline_exchanges,
            },
            "unwatched": {
                "features": int(self._totals[UNWATCHED_INPUTS]),
                "outputs": int(self._totals[UNWATCHED_OUTPUTS]),
            },
            **counts_summary(plan, self._totals),
            "window": self._window(plan),
            "pane_s": self.pane_us / 1e6,
            "complete_to_us": self.complete_to_us,
            "late_exchanges": self._late_total,
            "folds": {name: len(series) for name, series in self._folds.levels.items()},
            "events": self._news.events(),
            "switch": self._switch,
            "trouble": self._trouble or None,
            "false_alarms": plan.watch.budget.words(),
            **self._rules.summary(),
            "alarms": [msgspec.to_builtins(alarm) for alarm in self.alarms()],
            "promises": [msgspec.to_builtins(promise) for promise in self._evaluator.promises()],
        }

    def _window(self, plan: Plan) -> dict[str, Any]:
        total, starts = plan.empty(), []
        candidates = [(start, self._open) for start in self._open.starts()]
        candidates += [(start, self._recent) for start in self._recent.starts()]
        for start, series in sorted(candidates, key=lambda each: -each[0])[:WINDOW_PANES]:
            if total[EXCHANGES] >= WINDOW_EXCHANGES:
                break
            total += series.get(start)
            starts.append(start)
        from_us, to_us = (min(starts), max(starts) + self.pane_us) if starts else (0, 0)
        window: dict[str, Any] = {"panes": len(starts), "t_from_us": None, "t_to_us": None}
        if starts:
            window |= {"t_from_us": from_us, "t_to_us": to_us}
        return window | counts_summary(plan, total, from_us, to_us)


def _cut(samples: list[Sample]) -> Iterable[list[Sample]]:
    """Batches of about ROWS_AT_ONCE rows."""
    batch: list[Sample] = []
    rows = 0
    for sample in samples:
        batch.append(sample)
        rows += sample.observation.instances if sample.observation else 1
        if rows >= ROWS_AT_ONCE:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch
