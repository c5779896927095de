"""Glue: `sidecar drift --by segment`: each segment of a series held against its own beginning of the span."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sidecar.series_run import SeriesRun
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.alarm_order import telling_first
from sidecar.statistics.by_segment import BySegment, Part
from sidecar.statistics.coding import STEPS
from sidecar.statistics.evaluator import Evaluator, Vector
from sidecar.statistics.promise import Promise
from sidecar.statistics.psi import MAX_NOISE, psi_noise
from sidecar.statistics.wording import Change, describe

BEGINNING = 4
"""One part in so many of the span is what segments are held against."""


@dataclass
class SegmentLook:
    """The segments of one series over the span."""

    run: SeriesRun
    begins_to_us: int
    """Panes before this are the beginning."""
    alarms: dict[str, Alarm] = field(default_factory=dict)
    beginning_panes: int = 0

    def __post_init__(self) -> None:
        self.by_segment = BySegment(self.run.plan)
        empty = self.by_segment.vector(self.run.plan.empty())
        self.beginning, self.since = empty.copy(), empty.copy()
        self.total: Vector = empty
        """Everything of the span, what came late too."""
        self._evaluator: Evaluator | None = None

    def pane(self, start_us: int, counts: Vector) -> None:
        """Takes one pane of the fleet, in time order."""
        own = self.by_segment.vector(counts)
        if start_us < self.begins_to_us:
            self.beginning += own
            self.beginning_panes += 1
            return
        if self._evaluator is None:
            self._evaluator = Evaluator(
                self.by_segment.watched(self.beginning),
                self.run.plan.watch.budget,
                self.run.series.pane_us,
            )
        self.since += own
        for alarm in self._evaluator.step(start_us, own):
            self.alarms[alarm.id] = alarm

    def end(self, total: Vector) -> None:
        """`total` is all that was counted in the span."""
        self.total = self.by_segment.vector(total)
        if self._evaluator is not None:
            self.alarms |= {alarm.id: alarm for alarm in self._evaluator.alarms()}
        for alarm in self.alarms.values():
            # The whole's detectors have the model's budget; these look once, beside them.
            alarm.promise = alarm.promise.replace(" for this model", " for all its segments together")

    @property
    def promises(self) -> dict[str, Promise]:
        """By quantity, of those that are watched."""
        found = self._evaluator.promises() if self._evaluator is not None else []
        return {promise.quantity: promise for promise in found}

    @property
    def active(self) -> dict[str, Alarm]:
        """By quantity, what is alarmed at the end of the span."""
        return {alarm.quantity: alarm for alarm in self.alarms.values() if alarm.active}

    def ordered_alarms(self) -> list[Alarm]:
        """All of them, the most telling first, then those that are over."""
        return telling_first(self.alarms.values())

    def named_alarms(self) -> list[dict[str, Any]]:
        """All of them in that order, JSON-able."""
        return [msgspec.to_builtins(self.run.named(alarm)) for alarm in self.ordered_alarms()]

    def change(self, part: Part) -> Change:
        """From the beginning to what came after it."""
        return describe(part.quantity(self.beginning), part.counts(self.since))

    def measured(self, part: Part) -> bool:
        """Whether there are enough rows on both sides to speak of effect sizes."""
        return psi_noise(part.counts(self.since), part.counts(self.beginning)) <= MAX_NOISE

    def segmentations(self) -> Iterator[tuple[str, str, list[tuple[str, int]]]]:
        """Name, path, and the rows of each segment."""
        for tally in self.by_segment.tallies:
            name = tally.name.removeprefix("segment/")
            rows = next(
                part for part in self.by_segment.parts if part.segmentation == name and not part.segment
            )
            counts = rows.counts(self.total).tolist()
            yield name, tally.slices.of[0], list(zip(tally.labels, counts, strict=True))

    def parts(self, segmentation: str, segment: str) -> list[Part]:
        """What is counted of one segment; of the segments' shares for an empty name."""
        return [
            part
            for part in self.by_segment.parts
            if (part.segmentation, part.segment) == (segmentation, segment)
        ]


def as_json(look: SegmentLook) -> list[dict[str, Any]]:
    """The segments, JSON-able."""
    promises, active = look.promises, look.active
    found = []
    for name, path, segments in look.segmentations():
        (shares,) = look.parts(name, "")
        found.append(
            {
                "segmentation": name,
                "of": path,
                "held_against": {"to_us": look.begins_to_us, "panes": look.beginning_panes},
                "rows": _part_json(look, shares, promises, active),
                "segments": [
                    {
                        "segment": segment,
                        "rows": rows,
                        "quantities": [
                            _part_json(look, part, promises, active) for part in look.parts(name, segment)
                        ],
                    }
                    for segment, rows in segments
                ],
            }
        )
    return found


def _part_json(
    look: SegmentLook, part: Part, promises: dict[str, Promise], active: dict[str, Alarm]
) -> dict[str, Any]:
    change, alarm = look.change(part), active.get(part.name)
    promise = promises.get(part.name)
    return {
        "quantity": part.what,
        "before": change.before.words,
        "after": change.after.words,
        "rows_before": change.before.rows,
        "rows": change.after.rows,
        "effect": msgspec.to_builtins(change.effect) if look.measured(part) else None,
        "counts": dict(zip(part.labels, part.counts(look.total).tolist(), strict=True)),
        **_sums(look, part),
        "alarm": None if alarm is None else look.run.alarm_id(alarm),
        "since_us": None if alarm is None else alarm.since_us,
        "promise": "not watched: too few rows in the beginning" if promise is None else promise.words,
    }


def _sums(look: SegmentLook, part: Part) -> dict[str, Any]:
    if part.field is None:
        return {}
    numbers, steps = (int(each) for each in look.total[part.sums_at : part.sums_at + 2])
    return {"numbers": numbers, "sum_sd": steps / STEPS, "mean": part.mean(look.total)}
