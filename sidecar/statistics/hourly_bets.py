"""The bets on a distribution whose normal state goes with the hour of the week.

The null: in each hour the shares are that hour's, within that hour's
tolerance. Every pane is held against its own hour; a bet is the same tilt of
whatever is normal then, so that its evidence goes on from hour to hour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics import hours
from sidecar.statistics.alternatives import smoothed, tilted
from sidecar.statistics.distribution import MEMORY_ROWS, REFRESH_ROWS, DistributionBets, lower
from sidecar.statistics.projection import project
from sidecar.statistics.quantity import Distribution
from sidecar.statistics.tolerance import Tolerance, tolerance

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.int64]

PRIOR = 0.5
"""Rows per slot of the whole baseline that smooth an hour's shares."""


class HourlyBets(DistributionBets):
    """Turned to the hour of each pane before the pane is seen."""

    def __init__(self, quantity: Distribution, share: float) -> None:
        rows = hours.unpacked(quantity.hours).sum(axis=1)
        self._typical = int(np.median(rows[rows > 0])) if rows.any() else 1
        super().__init__(quantity, share)
        self._share = share
        self._exponents = self.alternatives().exponents
        self._expected: Floats = np.zeros(self.size)
        """What the panes behind `_recent` would have been, had nothing changed."""
        self._hour = -1
        self._near: Floats = self.baseline
        """Smoothed shares of this hour."""
        self._means: Floats = self.scores @ self.baseline
        """Of the scores in this hour."""

    def _tolerance(self, rows: int, directions: int, share: float) -> Tolerance:
        """That of an hour with so many rows, or of a typical one; the level is divided over the hours."""
        rows = min(rows, self._typical)
        return tolerance(rows, self.size, directions, share / hours.HOURS, self.quantity.spread)

    def turn_to(self, pane_start_us: int) -> None:
        """Goes to the hour in which that pane begins."""
        hour = hours.hour_of(pane_start_us)
        if hour != self._hour:
            self._turn(hour)
            self._look()

    def _turn(self, hour: int) -> None:
        self._hour = hour
        counts = hours.unpacked(self.quantity.hours)[hour].astype(np.float64)
        rows = counts.sum()
        self.seen = bool(rows)
        if not rows:
            # The baseline says nothing of this hour, so nothing is bet on it.
            self.log_ratios[:] = 0.0
            self._near, self._means = self.baseline, self.scores @ self.baseline
            return
        prior = PRIOR * self.size
        self._near = (counts + prior * self.baseline) / (rows + prior)
        self._centre = counts / rows
        self._radius = tolerance(
            int(rows), self.size, self.tests, self._share / hours.HOURS, self.quantity.spread
        )
        self._means = self.scores @ self._centre
        shares = tilted(self._near, self.scores[self.direction], self._exponents)
        nearest = project(shares, self._centre, self._radius.direction)
        self.log_ratios[:-1] = lower(np.log(shares / nearest))

    def learn(self, counts: Vector) -> None:
        """Takes the pane in; what the hour explains is no dispersion and no news."""
        n = counts.astype(np.float64)
        rows = float(n.sum())
        sums, squares = self.scores @ n, self.scores**2 @ n
        means = self._means
        self.dispersion.add(rows, sums - rows * means, squares - 2.0 * means * sums + rows * means**2)
        keep = MEMORY_ROWS / (MEMORY_ROWS + rows)
        self._recent = self._recent * keep + n
        self._expected = self._expected * keep + rows * self._near
        self._fresh += rows
        if self._fresh >= REFRESH_ROWS:
            self._fresh = 0.0
            self._look()

    def _look(self) -> None:
        """What recent traffic was, over what it would have been, as a tilt of this hour."""
        if not self.seen:
            return
        prior = REFRESH_ROWS * self.baseline
        q = self._near * (self._recent + prior) / (self._expected + prior)
        q /= q.sum()
        self.log_ratios[-1] = lower(np.log(q / project(q, self._centre, self._radius.whole)))

    def compare(self, from_us: int, to_us: int) -> None:
        """Lets `distance` be from what the hours between these times were in the baseline."""
        self.against = smoothed(hours.expected(self.quantity, from_us, to_us))

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [*super().state(), self._expected.tolist(), self._hour]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        *own, expected, hour = state
        if hour >= 0:
            self._turn(hour)
        super().load(own)
        self._expected = np.array(expected, dtype=np.float64)
