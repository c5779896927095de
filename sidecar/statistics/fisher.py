"""Fisher's exact test of a 2 × 2 table, for counts of any size.

The hypergeometric weights are built outward from the distribution's mode by
the ratio of neighbours, so no factorial is ever formed and nothing cancels:
the result is good to about 1e-11 of itself for millions of rows.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

TIES = 1e-7
"""Tables as likely as the observed one but for rounding belong to the tail, as in R and scipy."""
DEVIATIONS = 60.0
"""Half the window that is summed, in standard deviations beyond the observed table."""
LARGEST_WINDOW = 1 << 22
"""Beyond, the p-value is smaller than any double."""

Floats = npt.NDArray[np.float64]


def fisher_exact(yes_a: int, no_a: int, yes_b: int, no_b: int) -> float:
    """Two-sided p: the chance of tables with these margins at most as likely as this one."""
    cells = (yes_a, no_a, yes_b, no_b)
    if min(cells) < 0:
        raise ValueError(f"counts {cells} of a table: none can be below 0")
    rows_a, rows_b, yes = yes_a + no_a, yes_b + no_b, yes_a + yes_b
    everything = rows_a + rows_b
    low, high = max(0, yes - rows_b), min(rows_a, yes)
    if low == high:
        return 1.0
    mode = min(max((rows_a + 1) * (yes + 1) // (everything + 2), low), high)
    spread = sqrt(rows_a / everything * (rows_b / everything) * yes * (1 - yes / everything))
    reach = abs(yes_a - mode) * 2 + int(DEVIATIONS * spread) + 100
    if reach > LARGEST_WINDOW:
        return 0.0
    first, last = max(low, mode - reach), min(high, mode + reach)
    weights = _log_weights(np.arange(first, last + 1, dtype=np.float64), mode - first, rows_a, rows_b, yes)
    observed = weights[yes_a - first]
    chances = np.exp(weights)
    tail = chances[weights <= observed + TIES].sum()
    return min(1.0, float(tail / chances.sum()))


def _log_weights(counts: Floats, mode: int, rows_a: int, rows_b: int, yes: int) -> Floats:
    """Logarithms of the weights of `counts`, 0 at index `mode`."""
    below = counts[:-1]
    # w(k + 1) / w(k) = (rows_a - k)(yes - k) / ((k + 1)(rows_b - yes + k + 1))
    steps = np.log((rows_a - below) / (below + 1)) + np.log((yes - below) / (rows_b - yes + below + 1))
    weights = np.zeros(len(counts))
    weights[mode + 1 :] = np.cumsum(steps[mode:])
    weights[:mode] = -np.cumsum(steps[:mode][::-1])[::-1]
    return weights
