"""One quantity under watch: its detector, and the alarm that it may have raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf, log
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics import e_detector, wording
from sidecar.statistics.alarm import Alarm, Severity, alarm_id
from sidecar.statistics.bets import Bets
from sidecar.statistics.betting import BandBets, MeanBets
from sidecar.statistics.change_point import Excursions, History
from sidecar.statistics.distribution import DistributionBets
from sidecar.statistics.hourly_bets import HourlyBets
from sidecar.statistics.hours import between
from sidecar.statistics.judgement import Judgement
from sidecar.statistics.promise import Promise, promise_of
from sidecar.statistics.quantity import Band, Distribution, Mean, Quantity, TwoSample
from sidecar.statistics.two_sample import TwoSampleBets

Vector = npt.NDArray[np.int64]

CERTAIN = 2.0
"""Standard errors on whose far side a distance must lie before it is believed."""
GREW = 1.5
"""An alarm escalates when the distance is so many times that of its opening."""
RETURN_PANES = 3
"""No fewer panes say that things are back to normal."""
RETURN_MEMORY = 64
"""Panes after which the older half of what was seen since the alarm counts for less."""

_Kind = Callable[[Any, float], Bets]


def _distribution_bets(quantity: Distribution, share: float) -> Bets:
    return (HourlyBets if quantity.hours else DistributionBets)(quantity, share)


_KINDS: dict[type, _Kind] = {
    Distribution: _distribution_bets,
    Band: BandBets,
    Mean: MeanBets,
    TwoSample: TwoSampleBets,
}
_NAMES = {Distribution: "distribution", Band: "band", Mean: "mean", TwoSample: "two_sample"}


def watchable(quantity: Quantity) -> str | None:
    """Why there is nothing to bet on; None when there is."""
    if isinstance(quantity, Distribution) and not sum(quantity.reference):
        return "its baseline has no rows"
    if isinstance(quantity, Distribution) and len(quantity.reference) < 2:
        return "it has one slot only, which cannot change"
    return None


class Watch:
    """The e-detector of one quantity and the life of its alarms."""

    def __init__(self, quantity: Quantity, share: float, threshold: float) -> None:
        """`share` of the plan's budget, above 0; `threshold` of the e-detector."""
        self.quantity = quantity
        self.bets = _KINDS[type(quantity)](quantity, share)
        self.threshold = self._whole = threshold
        self.m = np.zeros(len(self.bets.weights))
        self.excursions = Excursions(len(self.m))
        self.panes = 0
        self.rows = 0
        self.alarm: Alarm | None = None
        self._start: Vector | None = None
        """Cumulative counts at the change point of the alarm."""
        self._opening = 0.0
        self._recent = np.zeros(self.bets.size)
        self._recent_panes = 0
        self._recent_from_us = 0
        prior = quantity.spread.dispersion if isinstance(quantity, Distribution) else 1.0
        self._judgement = Judgement(prior)

    def give(self, before: float, after: float) -> None:
        """Goes on with another part of the budget, `after` instead of `before` of the whole."""
        self.m = e_detector.reweighed(self.m, before, after)
        self.threshold = self._whole / after if after else inf

    def part(self, vector: Vector) -> Vector:
        """This quantity's integers of a pane's vector."""
        start = self.quantity.start
        return vector[start : start + self.bets.size]

    def step(self, pane_start_us: int, vector: Vector) -> bool:
        """Takes a closed pane, which without rows changes nothing; whether the threshold is crossed."""
        counts = self.part(vector)
        rows = self.bets.rows(counts)
        if not rows:
            return False
        if isinstance(self.bets, HourlyBets):
            self.bets.turn_to(pane_start_us)
        log_e = self.bets.log_e(counts)
        e_detector.step(self.m, log_e, out=self.m)
        self.excursions.step(log_e, pane_start_us)
        self.bets.learn(counts)
        self.panes += 1
        self.rows += rows
        self._judgement.note(pane_start_us, self._dispersion, self.panes, self.alarm is not None)
        if self.alarm is not None:
            if not self._recent_panes:
                self._recent_from_us = pane_start_us
            self._recent += counts
            self._recent_panes += 1
        ready = not isinstance(self.bets, TwoSampleBets) or self.bets.enough()
        return ready and self.evidence >= self.threshold

    @property
    def evidence(self) -> float:
        """The e-detector's value."""
        return float(e_detector.evidence(self.m, self.bets.weights))

    def promise(self) -> Promise:
        """Whether the false-alarm rate is proven here, and why not."""
        dispersion, panes = self._judgement.judged(self._dispersion, self.bets.dispersion.near, self.panes)
        return promise_of(self.quantity, self.bets, panes, self.rows, dispersion)

    @property
    def _dispersion(self) -> float:
        factors = self.bets.dispersion.estimate()
        return float(factors.max()) if len(factors) else 1.0

    def open(
        self, end_us: int, pane_us: int, history: History, record_ids: Sequence[str], advisory: bool
    ) -> Alarm:
        """Raises the alarm, at the end of the pane that brought it."""
        best = int(np.argmax(np.log(self.bets.weights) + self.excursions.height))
        since_us, counts = history.since(int(self.excursions.since_us[best]))
        own = self.part(counts)
        self._start = self.part(history.totals[-1]) - own
        self._opening = max(self._distance(own, since_us, end_us)[0], 1e-9)
        self._recent[:] = 0.0
        self._recent_panes = 0
        evidence = self.evidence
        self._judgement.open(since_us, self.panes, (end_us - since_us) // pane_us)
        promise = self.promise()
        self.alarm = Alarm(
            id=alarm_id(self.quantity.name, end_us),
            quantity=self.quantity.name,
            kind=_NAMES[type(self.quantity)],  # type: ignore[arg-type]
            severity=self._severity(self._opening),
            state="open",
            opened_us=end_us,
            updated_us=end_us,
            since_us=since_us,
            log_evidence=log(evidence),
            threshold=log(self.threshold),
            record_ids=list(record_ids)[:3],
            advisory=advisory,
            promise=promise.words,
            **self._words(own, since_us, end_us, pane_us, evidence),
        )
        return self.alarm

    def follow(self, end_us: int, pane_us: int, history: History) -> bool:
        """Keeps an alarm up to date after a pane; whether its state changed."""
        alarm, start = self.alarm, self._start
        if alarm is None or start is None or not self._recent_panes:
            return False
        distance, error = self._distance(self._recent.astype(np.int64), self._recent_from_us, end_us)
        goal = max(self._opening / 2.0, self.bets.edge)
        if self._recent_panes >= RETURN_PANES and distance + CERTAIN * error <= goal:
            alarm.move("returned", end_us)
            self._forget()
            return True
        changed = False
        if distance - CERTAIN * error >= GREW * self._opening and alarm.loud:
            self._opening = distance
            alarm.severity = "critical"
            changed = alarm.move("grew", end_us)
            alarm.updated_us = end_us
            own = self.part(history.totals[-1]) - start
            evidence = max(self.evidence, exp(min(alarm.log_evidence, 600.0)))
            for name, value in self._words(own, alarm.since_us, end_us, pane_us, evidence).items():
                setattr(alarm, name, value)
        alarm.log_evidence = max(alarm.log_evidence, log(max(self.evidence, 1e-300)))
        self._roll(distance, error, goal, end_us)
        return changed

    def end(self, last_us: int, at_us: int) -> Alarm | None:
        """Ends its alarm, of which nothing was seen after `last_us`; None where there is none."""
        alarm = self.alarm
        if alarm is not None:
            alarm.move("ended", at_us)
            alarm.sentence += f"; over without a return: no traffic since {wording.clock(last_us, at_us)}"
            self._forget()
        return alarm

    def _distance(self, counts: Vector, from_us: int, to_us: int) -> tuple[float, float]:
        """How far counts of that time are from what is normal then, and the standard error."""
        if isinstance(self.bets, HourlyBets):
            self.bets.compare(from_us, to_us)
        return self.bets.distance(counts)

    def _roll(self, distance: float, error: float, goal: float, end_us: int) -> None:
        """What was seen since the alarm starts anew once it is clear that nothing has returned yet."""
        if self._recent_panes >= RETURN_PANES and distance - CERTAIN * error > goal:
            self._recent[:] = 0.0
            self._recent_panes = 0
        elif self._recent_panes >= RETURN_MEMORY:
            self._recent = np.floor(self._recent / 2.0)
            self._recent_panes //= 2
            self._recent_from_us = (self._recent_from_us + end_us) // 2

    def _forget(self) -> None:
        """After the end of an alarm the detector starts from nothing."""
        self.alarm = None
        self._start = None
        self.m[:] = 0.0
        self.excursions.reset()

    def _severity(self, distance: float) -> Severity:
        return "critical" if distance >= self.bets.critical else "warning"

    def _words(
        self, own: Vector, since_us: int, end_us: int, pane_us: int, evidence: float
    ) -> dict[str, Any]:
        quantity = self.quantity
        if isinstance(quantity, Distribution):
            quantity = between(quantity, since_us, end_us)
        change = wording.describe(quantity, own)
        chance = wording.span(evidence * pane_us)
        parts = [
            f"{wording.title(self.quantity)} {change.headline}",
            f" since about {wording.clock(since_us, end_us)}",
            f"; chance alone would do this less than once in {chance}",
            f"; {change.tail}" if change.tail else "",
        ]
        return {
            "before": change.before,
            "after": change.after,
            "effect": change.effect,
            "contributions": list(change.contributions),
            "sentence": "".join(parts),
        }

    def state(self) -> list[Any]:
        """What `load` takes."""
        start = None if self._start is None else self._start.tolist()
        return [
            self.m.tolist(),
            self.excursions.height.tolist(),
            self.excursions.since_us.tolist(),
            self.panes,
            self.rows,
            start,
            self._opening,
            self._recent.tolist(),
            self._recent_panes,
            self.bets.state(),
            self._recent_from_us,
            self._judgement.state(),
        ]

    def load(self, state: list[Any], alarm: Alarm | None) -> None:
        """Takes what `state` gave, and the alarm that was active then."""
        m, height, since, self.panes, self.rows, start, self._opening, recent, *rest = state
        self._recent_panes, bets, *later = rest
        if later:
            self._recent_from_us, judgement = later
            self._judgement.load(judgement)
        self.m = np.array(m, dtype=np.float64)
        self.excursions.height = np.array(height, dtype=np.float64)
        self.excursions.since_us = np.array(since, dtype=np.int64)
        self._start = None if start is None else np.array(start, dtype=np.int64)
        self._recent = np.array(recent, dtype=np.float64)
        self.bets.load(bets)
        self.alarm = alarm
