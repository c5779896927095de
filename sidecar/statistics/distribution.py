"""The bets against "this field's distribution is the baseline's, within the tolerance"."""

from __future__ import annotations

from math import sqrt
from sys import intern
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics.alternatives import Alternatives, directions_of, learnt_weight, smoothed, tilts
from sidecar.statistics.dispersion import Dispersion
from sidecar.statistics.projection import divergence, project
from sidecar.statistics.quantity import Distribution
from sidecar.statistics.tolerance import Tolerance, tolerance

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.int64]

MEMORY_ROWS = 4096
"""Rows that the learnt alternative remembers."""
REFRESH_ROWS = 1024
"""Rows between two looks of it: a projection costs more than a step."""


class DistributionBets:
    """Fixed tilts of the baseline, and last an alternative learnt from recent panes."""

    def __init__(self, quantity: Distribution, share: float) -> None:
        """`share` of the model's budget fixes the level of the tolerance."""
        self.quantity = quantity
        self.size = len(quantity.reference)
        counts = np.array(quantity.reference, dtype=np.float64)
        self.centre: Floats = counts / counts.sum()
        self.baseline: Floats = smoothed(counts)
        self.against: Floats = self.baseline
        """What `distance` is from."""
        directions = directions_of(quantity)
        # Both ways, at a handful of sizes that all test nearly the same half-space.
        self.tests = 12 * max(1, len(directions))
        self.tolerance = self._tolerance(int(counts.sum()), self.tests, share)
        fixed = self.alternatives()
        self.direction = fixed.direction
        """Index of each fixed bet's direction."""
        nearest = project(fixed.shares, self.centre, self.tolerance.direction)
        self.log_ratios = lower(np.vstack([np.log(fixed.shares / nearest), np.zeros(self.size)]))
        """Per bet and slot; single precision, since there are many."""
        self.names = (*map(intern, fixed.names), "learnt from recent traffic")
        self.weights: Floats = np.append(fixed.weights, learnt_weight(fixed))
        self.scores = np.array([d.score for d in directions]).reshape(-1, self.size)
        # An unordered quantity of one used slot may have no direction but those of its other slots.
        self.dispersion = Dispersion(
            self.scores**2 @ self.baseline,
            quantity.spread.dispersion,
            2.0 * quantity.spread.kl,
            self.scores**4 @ self.baseline,
        )
        self._recent: Floats = np.zeros(self.size)
        self._fresh = 0.0

    def _tolerance(self, rows: int, directions: int, share: float) -> Tolerance:
        return tolerance(rows, self.size, directions, share, self.quantity.spread)

    def alternatives(self) -> Alternatives:
        """The distributions behind the fixed bets; made anew, since only their log-ratios are kept."""
        return tilts(self.quantity, directions_of(self.quantity), self.tolerance.direction)

    def rows(self, counts: Vector) -> int:
        """Rows of the field, missing ones included."""
        return int(counts.sum())

    def log_e(self, counts: Vector) -> Floats:
        """Per bet, for one pane."""
        logs: Floats = self.log_ratios.astype(np.float64) @ counts.astype(np.float64)
        factors = self.dispersion.estimate()
        if len(factors):
            logs[:-1] /= factors[self.direction]
            logs[-1] /= factors.max()
        return logs

    def learn(self, counts: Vector) -> None:
        """Takes the pane in, for the panes after it."""
        n = counts.astype(np.float64)
        rows = float(n.sum())
        self.dispersion.add(float(rows), self.scores @ n, self.scores**2 @ n)
        self._recent = self._recent * (MEMORY_ROWS / (MEMORY_ROWS + rows)) + n
        self._fresh += rows
        if self._fresh >= REFRESH_ROWS:
            self._fresh = 0.0
            self._look()

    def _look(self) -> None:
        """The alternative that recent traffic suggests, against the whole tolerance."""
        q = self._recent + REFRESH_ROWS * self.baseline
        q /= q.sum()
        nearest = project(q, self.centre, self.tolerance.whole)
        self.log_ratios[-1] = lower(np.log(q / nearest))

    def distance(self, counts: Vector) -> tuple[float, float]:
        """√(2 KL(now ‖ baseline)), for a normal field the mean's shift in σ; what chance adds taken off."""
        n = counts.astype(np.float64)
        rows = float(n.sum())
        degrees = max(1, int(np.count_nonzero(counts)) - 1)
        factors = self.dispersion.estimate()
        factor = float(factors.max()) if len(factors) else 1.0
        kl = float(divergence(n / rows, self.against)) - factor * degrees / (2.0 * rows)
        return sqrt(2.0 * max(0.0, kl)), sqrt(factor / rows)

    @property
    def edge(self) -> float:
        """The tolerance, as a mean's shift in σ."""
        return self.tolerance.sigma

    @property
    def critical(self) -> float:
        """Half a standard deviation, about PSI 0.25; or twice the tolerance if that is wider."""
        return max(0.5, 2.0 * self.edge)

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [self.dispersion.state(), self._recent.tolist(), self._fresh, self.log_ratios[-1].tolist()]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        self.dispersion.load(state[0])
        self._recent = np.array(state[1])
        self._fresh = state[2]
        self.log_ratios[-1] = state[3]


def lower(logs: Floats) -> npt.NDArray[np.float32]:
    """In single precision, never above the value: rounded down it is still the logarithm of an e-value."""
    near = logs.astype(np.float32)
    return np.where(near > logs, np.nextafter(near, np.float32(-np.inf)), near)
