"""All detectors and alarms of one plan, fed with closed panes in time order.

A sidecar's own evaluator is advisory; the one over the sum of all pods' panes
owns the model's budget of false alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.statistics.alarm import Alarm, SegmentPart
from sidecar.statistics.alarm_order import telling_first
from sidecar.statistics.budget import Budget, thresholds
from sidecar.statistics.change_point import History
from sidecar.statistics.promise import Promise
from sidecar.statistics.quantity import Quantity
from sidecar.statistics.watch import Watch, watchable

Vector = npt.NDArray[np.int64]

STATE_VERSION = 1
WORTH_SAYING = 0.5
"""Part of a change from which a sentence names the segment."""
SegmentFinder = Callable[[str, Vector, Vector], list[SegmentPart]]
"""A quantity's name, whole vectors before and since a change → its segments, as `SegmentParts` finds them."""
QUIET_US = 24 * 3_600_000_000
"""So long without a pane, and what was watched is over: a quiet night ends nothing."""
KEPT_RESOLVED = 100
"""Alarms that are over and still listed, the latest ones."""


class Evaluator:
    """Detectors of the quantities of one plan under one budget."""

    def __init__(
        self,
        quantities: Sequence[Quantity],
        budget: Budget,
        pane_us: int,
        *,
        advisory: bool = False,
        segments: SegmentFinder | None = None,
    ) -> None:
        """`pane_us` is the length of the panes that `step` will get; `segments` finds where a change is.

        Raises ValueError for a weight that is not above 0 or two quantities of one name.
        """
        names = [quantity.name for quantity in quantities]
        if len(set(names)) != len(names):
            raise ValueError("two quantities have one name")
        self.quantities = tuple(quantities)
        self.budget = budget
        self.pane_us = pane_us
        self.advisory = advisory
        self.share = 1.0
        """The part of the budget that it has; the rest is for other evaluators of the same model."""
        self._segments = segments
        self._unwatched = {q.name: why for q in quantities if (why := watchable(q)) is not None}
        watched = [quantity for quantity in quantities if quantity.name not in self._unwatched]
        weights = [quantity.weight for quantity in watched]
        levels = thresholds(budget, pane_us, weights)
        self.weight = whole = sum(weights)
        self.watches = [
            Watch(quantity, quantity.weight / whole, float(level))
            for quantity, level in zip(watched, levels, strict=True)
        ]
        self._history: History | None = None
        self._resolved: list[Alarm] = []
        self._last_us: int | None = None

    def give(self, share: float) -> None:
        """From the next pane on it has that part of the budget, from 0, when nothing alarms, to 1.

        The part must not hang on what that pane holds.
        """
        if share != self.share:
            for watch in self.watches:
                watch.give(self.share, share)
            self.share = share

    def step(
        self, pane_start_us: int, vector: Vector, exemplars: Mapping[str, Sequence[str]] | None = None
    ) -> list[Alarm]:
        """Takes one closed pane; the alarms that opened, escalated or were resolved by it.

        `exemplars` names records by quantity, the best first; it is asked only for
        quantities that alarm. Raises ValueError for a pane that is not later
        than the last one: what is late is counted apart.
        """
        if self._last_us is not None and pane_start_us <= self._last_us:
            raise ValueError(f"pane {pane_start_us} is not after {self._last_us}")
        self._last_us = pane_start_us
        if self._history is None:
            self._history = History(len(vector))
        history = self._history
        history.add(pane_start_us, vector)
        end_us = pane_start_us + self.pane_us
        changed: list[Alarm] = []
        for watch in self.watches:
            over = watch.step(pane_start_us, vector)
            alarm = watch.alarm
            if alarm is None and over:
                ids = (exemplars or {}).get(watch.quantity.name, ())
                changed.append(watch.open(end_us, self.pane_us, history, ids, self.advisory))
                self._promised(changed[-1])
                self._locate(changed[-1], history)
            elif alarm is not None and watch.follow(end_us, self.pane_us, history):
                changed.append(alarm)
                if not alarm.active:
                    self._resolved = [*self._resolved, alarm][-KEPT_RESOLVED:]
        return changed

    @property
    def last_us(self) -> int:
        """The end of the last pane; 0 before the first."""
        return 0 if self._last_us is None else self._last_us + self.pane_us

    def end(self, at_us: int) -> list[Alarm]:
        """Ends all alarms where no pane is expected any more; those that it ended."""
        found = (watch.end(self.last_us, at_us) for watch in self.watches)
        ended = [alarm for alarm in found if alarm is not None]
        self._resolved = [*self._resolved, *ended][-KEPT_RESOLVED:]
        return ended

    def _promised(self, alarm: Alarm) -> None:
        words = self.budget.words()
        alarm.promise = f"{words} for this model" if alarm.promise == "kept" else f"{words}: {alarm.promise}"
        if self.advisory:
            alarm.promise += "; advisory: of what this one sidecar has seen"

    def _locate(self, alarm: Alarm, history: History) -> None:
        """Which segments the change comes from, by the whole vectors before and since."""
        if self._segments is None:
            return
        _, since = history.since(alarm.since_us)
        alarm.segments = self._segments(alarm.quantity, history.totals[-1] - since, since)
        if alarm.segments and alarm.segments[0].part >= WORTH_SAYING:
            alarm.sentence += f"; mostly where {alarm.segments[0].segment}"

    def alarms(self) -> list[Alarm]:
        """Active alarms, the most telling first, then the latest resolved ones, newest first."""
        active = [watch.alarm for watch in self.watches if watch.alarm is not None]
        return telling_first([*active, *self._resolved])

    def acknowledge(self, alarm_id: str, at_us: int | None = None) -> Alarm:
        """Keeps an active alarm quiet until it is over. Raises KeyError when there is none of that id."""
        for watch in self.watches:
            if watch.alarm is not None and watch.alarm.id == alarm_id:
                last = (self._last_us or 0) + self.pane_us
                watch.alarm.move("acknowledge", last if at_us is None else at_us)
                return watch.alarm
        raise KeyError(alarm_id)

    def promises(self) -> list[Promise]:
        """Of every quantity, in the order given, whether the promise is kept or why not."""
        found = {watch.quantity.name: watch.promise() for watch in self.watches}
        for name, why in self._unwatched.items():
            found[name] = Promise(name, False, f"not watched: {why}")
        return [found[quantity.name] for quantity in self.quantities]

    def state(self) -> bytes:
        """Everything learnt; `restore` with the same arguments goes on exactly as this one would."""
        active = {watch.quantity.name: watch.alarm for watch in self.watches if watch.alarm is not None}
        return msgspec.msgpack.encode(
            {
                "version": STATE_VERSION,
                "last_us": self._last_us,
                "share": self.share,
                "history": None if self._history is None else self._history.state(),
                "watches": {watch.quantity.name: watch.state() for watch in self.watches},
                "active": msgspec.msgpack.encode(active),
                "resolved": msgspec.msgpack.encode(self._resolved),
            }
        )

    @classmethod
    def restore(
        cls,
        quantities: Sequence[Quantity],
        budget: Budget,
        pane_us: int,
        state: bytes,
        *,
        advisory: bool = False,
        segments: SegmentFinder | None = None,
    ) -> Evaluator:
        """The evaluator that gave this state. Raises ValueError for a state of another version or plan."""
        evaluator = cls(quantities, budget, pane_us, advisory=advisory, segments=segments)
        try:
            kept = msgspec.msgpack.decode(state, type=dict[str, Any])
            version = kept["version"]
            if version != STATE_VERSION:
                raise ValueError(f"is a state of version {version}, this build reads {STATE_VERSION}")
            evaluator._load(kept)
        except (msgspec.MsgspecError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"is no state of these detectors: {error!r}") from error
        return evaluator

    def _load(self, kept: dict[str, Any]) -> None:
        self._last_us = kept["last_us"]
        self.give(kept.get("share", 1.0))
        if kept["history"] is not None:
            self._history = History(0)
            self._history.load(kept["history"])
        active = msgspec.msgpack.decode(kept["active"], type=dict[str, Alarm])
        for watch in self.watches:
            watch.load(kept["watches"][watch.quantity.name], active.get(watch.quantity.name))
        self._resolved = msgspec.msgpack.decode(kept["resolved"], type=list[Alarm])
