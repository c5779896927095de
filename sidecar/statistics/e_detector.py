"""The e-Shiryaev-Roberts detector: M = (M + 1)·e, one step per pane.

Alarming at M ≥ A keeps the average run length at A or more whenever every e
has mean 1 at most given the past (Shin, Ramdas, Rinaldo, E-detectors: a
nonparametric framework for sequential change detection, 2024). A weighted mean
of such detectors is one, so each alternative keeps its own M.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HIGHEST = 1e30
"""M grows no further: an alarm has long been raised, and the next product must stay finite."""
MOST = 80.0
"""Nats that one pane may add."""


def step(m: Floats, log_e: Floats, out: Floats | None = None) -> Floats:
    """The next M of every alternative; any shape, `m` may be `out`."""
    factor = np.exp(np.minimum(log_e, MOST))
    grown = np.add(m, 1.0, out=out)
    np.multiply(grown, factor, out=grown)
    return np.minimum(grown, HIGHEST, out=grown)


def reweighed(m: Floats, before: float, after: float) -> Floats:
    """M under another part of a budget: part · M never grows by a change of parts.

    So Σ part·M − Σ part stays a supermartingale, over time and over detectors, if
    only each part is fixed before its pane is seen.
    """
    return m * (before / after) if after > before else m


def evidence(m: Floats, weights: Floats) -> Floats:
    """The mixture's value: Σ w·M over the last axis."""
    total: Floats = np.einsum("...k,...k->...", m, weights)
    return total
