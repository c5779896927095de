"""E-values of bands and means: bets that lose on average while the bound holds.

A band's share of successes p in [low, high]: q / edge for a grid of shares q
beyond each edge. A mean's bound: ∏ (1 + λ (x − edge)) for a grid of stakes λ
(Waudby-Smith and Ramdas, Estimating means of bounded random variables by
betting, 2024), whose logarithms the tally has summed.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics.coding import STEPS
from sidecar.statistics.dispersion import Dispersion
from sidecar.statistics.quantity import Band, Mean

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.int64]

SHARES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Sizes beyond a band's edge, on the arcsine scale."""
PRIOR = (1.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0)
"""Their weights before normalising: shares seldom move by a hundredth or by a half."""


def band_bets(low: float, high: float) -> tuple[Floats, Floats, Floats]:
    """Log-ratios of one success and one failure per bet, shape (K, 2), the side of each (+1, −1), its weight.

    On the arcsine scale equal steps are about equally hard to see at any share.
    """
    rows: list[tuple[float, float]] = []
    sides: list[float] = []
    weights: list[float] = []
    for edge, sign in ((high, 1.0), (low, -1.0)):
        if not 0.0 <= edge <= 1.0:
            raise ValueError(f"{edge:g} is no share: a band lies between 0 and 1")
        for size, weight in zip(SHARES, PRIOR, strict=True):
            angle = np.arcsin(np.sqrt(edge)) + sign * size
            if not 0.0 < angle < np.pi / 2.0:
                break
            q = float(np.sin(angle) ** 2)
            # At an edge of 0 or 1 one row beyond it is proof; a bound must still be finite.
            null = min(max(edge, 1e-9), 1.0 - 1e-9)
            rows.append((log(q / null), log((1.0 - q) / (1.0 - null))))
            sides.append(sign)
            weights.append(weight)
    return np.array(rows).reshape(-1, 2), np.array(sides), np.array(weights) / max(sum(weights), 1.0)


class BandBets:
    """The bets against one band; `counts` are successes and trials."""

    def __init__(self, quantity: Band, share: float) -> None:
        """`share` of the model's budget is not needed: a band has no baseline to be unsure of."""
        self.quantity = quantity
        self.size = 2
        self.ratios, self.sides, self.weights = band_bets(quantity.low, quantity.high)
        self.names = tuple("above the band" if side > 0 else "below the band" for side in self.sides)
        middle = (quantity.low + quantity.high) / 2.0
        self.dispersion = Dispersion(np.array([middle * (1.0 - middle)]), quantity.spread.dispersion)

    def rows(self, counts: Vector) -> int:
        """Trials."""
        return int(counts[1])

    def log_e(self, counts: Vector) -> Floats:
        """Per bet, for one pane."""
        won, trials = float(counts[0]), float(counts[1])
        logs: Floats = self.ratios @ np.array([won, trials - won])
        return logs / self.dispersion.estimate()

    def learn(self, counts: Vector) -> None:
        """Takes the pane in, for the panes after it."""
        won = np.array([float(counts[0])])
        self.dispersion.add(float(counts[1]), won, won)

    def distance(self, counts: Vector) -> tuple[float, float]:
        """How far outside the band the share of successes is, and its standard error."""
        trials = float(counts[1])
        p = float(counts[0]) / trials
        beyond = max(p - self.quantity.high, self.quantity.low - p)
        spread = max(p * (1.0 - p), 1.0 / trials)
        return beyond, sqrt(spread * float(self.dispersion.estimate()[0]) / trials)

    @property
    def edge(self) -> float:
        """The distance that counts as back inside."""
        return 0.0

    @property
    def critical(self) -> float:
        """The distance from which a change is critical."""
        return max(0.05, (self.quantity.high - self.quantity.low) / 2.0)

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [self.dispersion.state()]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        self.dispersion.load(state[0])


class MeanBets:
    """The bets against one mean's bounds; `counts` as `means.py` makes them."""

    HEAD = 3

    def __init__(self, quantity: Mean, share: float) -> None:
        """`share` of the model's budget is not needed: the bounds are given."""
        self.quantity = quantity
        self.size = self.HEAD + len(quantity.bets)
        self.names = tuple(
            "above the tolerance" if bet > 0 else "below the tolerance" for bet in quantity.bets
        )
        self.weights: Floats = np.full(len(quantity.bets), 1.0 / max(1, len(quantity.bets)))
        self.dispersion = Dispersion(np.array([1.0]))
        self._tau = quantity.tolerance / quantity.scale

    def rows(self, counts: Vector) -> int:
        """Rows that have a number."""
        return int(counts[0])

    def log_e(self, counts: Vector) -> Floats:
        """Per bet, for one pane."""
        logs: Floats = counts[self.HEAD :] / STEPS
        return logs / self.dispersion.estimate()

    def learn(self, counts: Vector) -> None:
        """Takes the pane in, for the panes after it."""
        total = int(counts[1]) / STEPS
        self.dispersion.add(float(counts[0]), np.array([total]), np.array([self._squares(counts, total)]))

    def _squares(self, counts: Vector, total: float) -> float:
        """About the sum of squared deviations: ln(1 + λy) ≈ λy − λ²y²/2 of the smallest bet each way."""
        rows, tau = float(counts[0]), self._tau
        found = []
        for sign in (1.0, -1.0):
            near = [(abs(bet), place) for place, bet in enumerate(self.quantity.bets) if bet * sign > 0]
            if near:
                bet, place = min(near)
                linear = sign * total - rows * tau
                squares = 2.0 * (bet * linear - int(counts[self.HEAD + place]) / STEPS) / bet**2
                found.append(squares + 2.0 * tau * sign * total - rows * tau * tau)
        return max(0.0, sum(found) / len(found)) if found else total * total / max(1.0, rows)

    def distance(self, counts: Vector) -> tuple[float, float]:
        """How far the mean is beyond its tolerance, in units of `scale`, and about its standard error."""
        rows, total = float(counts[0]), int(counts[1]) / STEPS
        mean = total / rows
        variance = max(self._squares(counts, total) / rows - mean * mean, 1e-6)
        return abs(mean) - self._tau, sqrt(variance * float(self.dispersion.estimate()[0]) / rows)

    @property
    def edge(self) -> float:
        """The distance that counts as back inside."""
        return 0.0

    @property
    def critical(self) -> float:
        """The distance from which a change is critical."""
        return max(0.5, self._tau)

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [self.dispersion.state()]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        self.dispersion.load(state[0])
