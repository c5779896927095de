"""How far a distribution may be from its baseline before that counts as a change.

Two parts: what chance did to the baseline when it was drawn, and how much
clean panes differ from each other (day and night).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import log, sqrt

from sidecar.statistics.chi_square import upper_tail
from sidecar.statistics.quantity import Spread

BASELINE_LEVEL = 0.01
"""Of all models' baselines so many may be so badly drawn that the tolerance does not cover the truth.

Divided over a model's quantities as the budget is.
"""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Radii of the tolerance set, as Kullback-Leibler divergence in nats."""

    direction: float
    """For alternatives fixed beforehand: covers the baseline's error along each of them."""
    whole: float
    """For alternatives learnt from traffic, which may point anywhere: covers it in all directions."""
    spread: float
    """The part that is the spread between clean panes."""

    @property
    def sigma(self) -> float:
        """The shift of a normal distribution's mean that lies at the edge, in standard deviations."""
        return sqrt(2.0 * self.direction)

    def words(self) -> str:
        """For people."""
        return f"shifts under about {self.sigma:.2g} σ are inside the tolerance"


def tolerance(rows: int, slots: int, directions: int, share: float, spread: Spread) -> Tolerance:
    """The tolerance of a baseline of `rows` rows in `slots` slots, watched in so many `directions`.

    `share` is the quantity's part of the model's budget, above 0 and at most 1.

    Direction: the truth is beyond the half-space that one alternative tests
    only if the baseline fell into that half-space's opposite, and Sanov's bound
    puts the probability of that at exp(−rows·r) at most; summed over the
    directions it is the level. Whole: the χ² quantile of the likelihood ratio.
    A baseline whose rows depend on each other counts for fewer of them.
    """
    if rows <= 0:
        raise ValueError("the baseline has no rows")
    level = BASELINE_LEVEL * share
    counted = rows / max(1.0, spread.dispersion)
    direction = log(max(1, directions) / level) / counted
    whole = chi_square_quantile(max(1, slots - 1), 1.0 - level) / (2.0 * counted)
    return Tolerance(_with(direction, spread.kl), _with(max(direction, whole), spread.kl), spread.kl)


def _with(radius: float, spread: float) -> float:
    """Roots add: √KL is a distance, to first order."""
    return (sqrt(radius) + sqrt(spread)) ** 2


@cache
def chi_square_quantile(degrees: int, level: float) -> float:
    """The value that chi-square stays below with probability `level`."""
    low, high = 0.0, 10.0 * degrees + 200.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if upper_tail(middle, degrees) > 1.0 - level:
            low = middle
        else:
            high = middle
    return high
