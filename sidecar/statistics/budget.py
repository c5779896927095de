"""How many false alarms a model may raise, divided over all that is watched of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_UNITS_US = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_WORDS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
_SHAPE = re.compile(r"\s*(\d+(?:\.\d+)?)\s+per\s+(\d+(?:\.\d+)?)?\s*([smhdw])\s*")
LONGEST_US = 1_000 * 366 * 86_400_000_000
MOST_ALARMS = 1e6
REMEDY = "write a number of alarms and a time (s, m, h, d, w), for example 1 per 30d"


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `alarms` false ones per `period_us` on average, of one model and all its quantities."""

    alarms: float
    period_us: int

    def panes(self, pane_us: int) -> float:
        """The average run length to keep: panes between false alarms, at least 1."""
        return max(1.0, self.period_us / pane_us / self.alarms)

    def words(self) -> str:
        """For people: `at most 1 false alarm per 30 days`."""
        alarms = f"{self.alarms:g} false alarm{'' if self.alarms == 1 else 's'}"
        for letter in ("d", "h", "m", "s"):
            amount = self.period_us / _UNITS_US[letter]
            if amount >= 1 and amount == int(amount):
                return f"at most {alarms} per {_counted(int(amount), _WORDS[letter])}"
        return f"at most {alarms} per {self.period_us / 1_000_000:g} seconds"


def _counted(amount: int, noun: str) -> str:
    return noun if amount == 1 else f"{amount} {noun}s"


def parse_budget(text: str) -> Budget:
    """`1 per 30d`, `2 per w`, `0.5 per 12h`. Raises ValueError with the remedy."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(f"is no budget of false alarms: {REMEDY}")
    alarms, amount = float(found[1]), float(found[2] or 1)
    if not alarms or not amount:
        raise ValueError(f"allows no alarm at all, which no test can promise: {REMEDY}")
    period_us = amount * _UNITS_US[found[3]]
    if not 1 <= period_us <= LONGEST_US or alarms > MOST_ALARMS:
        raise ValueError(f"is beyond a million alarms, or a time of a µs to 1,000 years: {REMEDY}")
    return Budget(alarms, round(period_us))


def thresholds(budget: Budget, pane_us: int, weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """The level at which each quantity's e-detector alarms, shape (len(weights),).

    A quantity of weight w out of W in all gets the share w / W of the budget:
    threshold A·W / w with A panes between false alarms. The weighted mean of
    the detectors is then an e-detector that crosses A no later than the first
    of them crosses its own, so the promise holds for all together, whatever
    their dependence (Shin, Ramdas, Rinaldo, E-detectors, 2024, section 4).
    """
    shares = np.asarray(weights, dtype=np.float64)
    if shares.size and (not np.all(np.isfinite(shares)) or shares.min() <= 0):
        raise ValueError("a weight is not above 0: leave a quantity out instead of giving it no weight")
    levels: npt.NDArray[np.float64] = budget.panes(pane_us) * shares.sum() / shares
    return levels
