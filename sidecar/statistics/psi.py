"""Population stability index between two vectors of counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

SMOOTHING = 0.5
"""Added to every slot's count on both sides, so that an empty slot has a finite logarithm."""
MAX_NOISE = 0.05
"""PSI that chance alone may bring on average before a value is held back as insufficient."""


def psi(now: Counts, baseline: Counts) -> float:
    """Sum of (p - q) ln(p / q) over the slots that at least one side has used.

    p = (n + 0.5) / (N + 0.5 B) of each side with B such slots; 0 when both sides are empty.
    """
    used = (now > 0) | (baseline > 0)
    if not used.any():
        return 0.0
    p = _smoothed(now[used])
    q = _smoothed(baseline[used])
    return float(np.sum((p - q) * np.log(p / q)))


def psi_noise(now: Counts, baseline: Counts) -> float:
    """About the PSI to expect if nothing had changed: (B - 1)(1/n + 1/m), infinite for an empty side.

    B counts the slots the baseline used: slots that only drift fills are evidence, not noise.
    A constant (B = 1) is as noisy as 1/n, so that one row alone proves nothing.
    """
    rows, reference = int(now.sum()), int(baseline.sum())
    if not rows or not reference:
        return float("inf")
    slots = int(np.count_nonzero(baseline))
    return (slots - 1) * (1 / rows + 1 / reference) if slots > 1 else 1 / rows


def _smoothed(counts: Counts) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = (counts + SMOOTHING) / (counts.sum() + SMOOTHING * len(counts))
    return shares
