"""Glue: the panes of one series, assembled and evaluated."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from sidecar.fleet.assembly import Assembled, Assembly
from sidecar.fleet.pane_file import Series
from sidecar.fleet.sums import vector
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.evaluator import QUIET_US, Evaluator, Vector
from sidecar.statistics.plan import Plan


class SeriesRun:
    """One series: its assembly and the detectors over the whole fleet."""

    def __init__(self, series: Series, plan: Plan, wait_us: int) -> None:
        self.series = series
        self.plan = plan
        self.layout = [(tally.name, tally.size) for tally in plan.tallies]
        self.assembly = Assembly(wait_us)
        self.evaluator = Evaluator(
            plan.quantities, plan.watch.budget, series.pane_us, segments=plan.segment_parts()
        )
        self.stepped_us = 0

    def vector(self, pane: Assembled) -> Vector | None:
        """The pane's counts in the plan's order; None, and counted, when they do not fit."""
        try:
            return vector(pane.sum.counts, self.layout)
        except ValueError:
            self.assembly.tallied.refused += pane.sum.exchanges
            return None

    def step(self, pane: Assembled) -> list[Alarm]:
        """Evaluates a pane of the fleet; what opened, escalated or was resolved by it."""
        counts = self.vector(pane)
        if counts is None or pane.start_us <= self.stepped_us:
            return []
        self.stepped_us = pane.start_us
        return self.evaluator.step(pane.start_us, counts, pane.sum.record_ids)

    def heard_us(self) -> int:
        """When the latest of its files was taken; 0 once that is too long ago to be remembered."""
        return max((writer.seen_us for writer in self.assembly.writers.by_id.values()), default=0)

    def end(self, now_us: int) -> list[Alarm]:
        """Ends the alarms where nothing has come for a day: a model that is gone is nobody's to mend."""
        if self.assembly.open or self.heard_us() >= now_us - QUIET_US:
            return []
        return self.evaluator.end(now_us)

    def alarm_id(self, alarm: Alarm) -> str:
        """The alarm's name in the store: two models may have an alarm of one quantity at one time."""
        parts = (self.series.model, self.series.digest, self.series.plan, alarm.id)
        return sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def named(self, alarm: Alarm) -> Alarm:
        """A copy of the alarm under its name in the store."""
        return msgspec.structs.replace(alarm, id=self.alarm_id(alarm))

    def state(self) -> tuple[bytes, bytes, int]:
        return self.assembly.state(), self.evaluator.state(), self.stepped_us

    @classmethod
    def restore(
        cls, series: Series, plan: Plan, wait_us: int, assembly: bytes, evaluator: bytes, stepped_us: int
    ) -> SeriesRun:
        """The run that gave this state. Raises ValueError for another version's."""
        made = cls(series, plan, wait_us)
        made.assembly = Assembly.restore(assembly, wait_us)
        made.evaluator = Evaluator.restore(
            plan.quantities,
            plan.watch.budget,
            series.pane_us,
            evaluator,
            segments=plan.segment_parts(),
        )
        made.stepped_us = stepped_us
        return made
