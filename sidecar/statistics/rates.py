"""Two rates side by side: each with its interval, their ratio, their difference, their odds.

Methods that stay honest for small groups: Wilson's score interval for a rate,
Newcombe's hybrid of two Wilson intervals for a difference (*Interval estimation
for the difference between independent proportions*, 1998, method 10), Katz's
logarithm for a ratio, Woolf's for odds; half a row is added to each cell of a
ratio or odds where one is empty (Haldane, Anscombe), and only for the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import NormalDist

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the interval that covers the true one at the stated level; None: no data for it."""

    value: float | None
    low: float | None
    high: float | None


NOTHING = Estimate(None, None, None)


def rate(yes: int, rows: int, level: float = LEVEL) -> Estimate:
    """Share of `yes` among `rows`, Wilson's score interval."""
    if rows <= 0:
        return NOTHING
    z = _z(level)
    share = yes / rows
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def ratio(yes: int, rows: int, yes_reference: int, rows_reference: int, level: float = LEVEL) -> Estimate:
    """Adverse impact ratio: a group's rate over the reference group's, interval by Katz's logarithm."""
    if rows <= 0 or rows_reference <= 0:
        return NOTHING
    value = None
    if yes_reference:
        value = (yes / rows) / (yes_reference / rows_reference)
    add = 0.5 if 0 in (yes, yes_reference) else 0.0
    a, b = yes + add, yes_reference + add
    n, m = rows + add, rows_reference + add
    spread = sqrt(max(0.0, 1 / a - 1 / n + 1 / b - 1 / m))
    if spread == 0.0:
        # Everybody in both groups: half a row short of it tells how sure that can be.
        spread = sqrt(0.5 / ((a + 0.5) * a) + 0.5 / ((b + 0.5) * b))
    middle, reach = log((a / n) / (b / m)), _z(level) * spread
    return Estimate(value, exp(middle - reach), exp(middle + reach))


def difference(
    yes: int, rows: int, yes_reference: int, rows_reference: int, level: float = LEVEL
) -> Estimate:
    """A group's rate less the reference group's, Newcombe's interval."""
    mine, theirs = rate(yes, rows, level), rate(yes_reference, rows_reference, level)
    if mine.value is None or theirs.value is None:
        return NOTHING
    assert mine.low is not None
    assert mine.high is not None
    assert theirs.low is not None
    assert theirs.high is not None
    gap = mine.value - theirs.value
    below = sqrt((mine.value - mine.low) ** 2 + (theirs.high - theirs.value) ** 2)
    above = sqrt((mine.high - mine.value) ** 2 + (theirs.value - theirs.low) ** 2)
    return Estimate(gap, gap - below, gap + above)


def odds_ratio(
    yes: int, rows: int, yes_reference: int, rows_reference: int, level: float = LEVEL
) -> Estimate:
    """The group's odds over the reference group's, Woolf's interval."""
    cells = (yes, rows - yes, yes_reference, rows_reference - yes_reference)
    if rows <= 0 or rows_reference <= 0:
        return NOTHING
    a, b, c, d = cells
    value = a * d / (b * c) if b * c else (inf if a * d else None)
    if 0 in cells:
        a, b, c, d = (cell + 0.5 for cell in cells)  # type: ignore[assignment]
    middle, reach = log(a * d / (b * c)), _z(level) * sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return Estimate(value, exp(middle - reach), exp(middle + reach))


def _z(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)
