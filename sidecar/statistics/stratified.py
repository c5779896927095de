"""Several 2 × 2 tables as one: Cochran–Mantel–Haenszel, and whether the strata agree.

A table is (yes_group, no_group, yes_reference, no_reference). Strata in which
a margin is empty say nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist

from sidecar.statistics.chi_square import upper_tail
from sidecar.statistics.rates import LEVEL, NOTHING, Estimate

Table = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class MantelHaenszel:
    """Is the outcome independent of the group within every stratum?"""

    strata: int
    """Strata that say something."""
    statistic: float
    """Chi-square of one degree of freedom, with the continuity correction."""
    p: float
    odds: Estimate
    """The common odds ratio (Mantel and Haenszel), interval after Robins, Breslow and Greenland."""
    agreement: float | None
    """p of Breslow and Day's test (Tarone's correction) that strata share one odds ratio; None for one."""


def mantel_haenszel(tables: Sequence[Table], level: float = LEVEL) -> MantelHaenszel | None:
    """The test over all strata; None when no stratum says anything."""
    speaking = [table for table in tables if _speaks(table)]
    if not speaking:
        return None
    surplus = variance = 0.0
    for a, b, c, d in speaking:
        n, m, yes, no = a + b, c + d, a + c, b + d
        total = n + m
        surplus += a - n * yes / total
        variance += n * m * yes * no / (total * total * (total - 1))
    correction = min(0.5, abs(surplus))
    statistic = (abs(surplus) - correction) ** 2 / variance
    odds = _common_odds(speaking, level)
    agreement = _breslow_day(speaking, odds.value) if len(speaking) > 1 else None
    return MantelHaenszel(len(speaking), statistic, upper_tail(statistic, 1), odds, agreement)


def _speaks(table: Table) -> bool:
    a, b, c, d = table
    return min(a + b, c + d, a + c, b + d) > 0


def _common_odds(tables: Sequence[Table], level: float) -> Estimate:
    forward = backward = agree = mixed = oppose = 0.0
    for a, b, c, d in tables:
        total = a + b + c + d
        p, q = (a + d) / total, (b + c) / total
        r, s = a * d / total, b * c / total
        forward, backward = forward + r, backward + s
        agree, mixed, oppose = agree + p * r, mixed + p * s + q * r, oppose + q * s
    if not forward or not backward:
        return Estimate(0.0, None, None) if backward else NOTHING
    variance = agree / (2 * forward**2) + mixed / (2 * forward * backward) + oppose / (2 * backward**2)
    value = forward / backward
    reach = NormalDist().inv_cdf(0.5 + level / 2) * sqrt(variance)
    return Estimate(value, exp(log(value) - reach), exp(log(value) + reach))


def _breslow_day(tables: Sequence[Table], odds: float | None) -> float | None:
    if not odds:
        return None
    statistic = surplus = spread = 0.0
    for a, b, c, d in tables:
        expected = _expected(a + b, c + d, a + c, odds)
        cells = (expected, a + b - expected, a + c - expected, d - a + expected)
        if min(cells) <= 0:
            continue
        variance = 1 / sum(1 / cell for cell in cells)
        statistic += (a - expected) ** 2 / variance
        surplus, spread = surplus + a - expected, spread + variance
    if not spread:
        return None
    return upper_tail(statistic - surplus**2 / spread, len(tables) - 1)


def _expected(n: int, m: int, yes: int, odds: float) -> float:
    """The first cell of the table with these margins that has exactly these odds."""
    if abs(odds - 1) < 1e-12:
        return n * yes / (n + m)
    square, linear = 1 - odds, m - yes + odds * (n + yes)
    root = sqrt(max(0.0, linear * linear + 4 * square * odds * n * yes))
    low, high = max(0, yes - m), min(n, yes)
    found = [(-linear + sign * root) / (2 * square) for sign in (1, -1)]
    inside = [cell for cell in found if low - 1e-9 <= cell <= high + 1e-9]
    return min(max(inside[0] if inside else low, low), high)
