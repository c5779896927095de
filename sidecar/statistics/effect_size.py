"""How big a change of slot counts is, in the measures that people know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def jensen_shannon(now: Counts, baseline: Counts) -> float:
    """The distance, base 2: 0 for equal shares, 1 for disjoint ones. Empty sides give 0."""
    if not now.sum() or not baseline.sum():
        return 0.0
    p, q = now / now.sum(), baseline / baseline.sum()
    middle = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log2(p / middle), 0.0).sum()
        right = np.where(q > 0, q * np.log2(q / middle), 0.0).sum()
    return float(np.sqrt(max(0.0, (left + right) / 2.0)))


def wasserstein_sigma(now: Counts, baseline: Counts, centres: Sequence[float]) -> float:
    """Wasserstein-1 of the ordered slots' shares, each slot's rows at its centre, in the centres' unit."""
    at = np.asarray(centres, dtype=np.float64)
    if len(at) < 2 or not now.sum() or not baseline.sum():
        return 0.0
    return float(np.sum(np.abs(_gaps(now, baseline))[:-1] * np.diff(at)))


def kolmogorov_smirnov(now: Counts, baseline: Counts) -> float:
    """The largest difference of the cumulative shares at the slots' bounds.

    On the grid: never more than of the raw values, and less by at most one slot's share.
    """
    if not now.sum() or not baseline.sum():
        return 0.0
    return float(np.abs(_gaps(now, baseline)).max())


def _gaps(now: Counts, baseline: Counts) -> npt.NDArray[np.float64]:
    gaps: npt.NDArray[np.float64] = np.cumsum(now / now.sum()) - np.cumsum(baseline / baseline.sum())
    return gaps
