"""E-values of two groups' rates, block by block, against the null that other ≥ ratio · reference.

A block of n_a and n_b outcomes has the likelihood under (q_a, q_b) over that
under the nearest point (θ_a, ratio·θ_a) of the null, nearest by n_a·KL(q_a ‖ θ_a)
+ n_b·KL(q_b ‖ θ_b). The null is convex, so the ratio's mean is at most 1 under
every member of it, whatever n_a and n_b (Turner, Ly, Grünwald, Generic
e-variables for exact sequential k-sample tests, 2024).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics.dispersion import Dispersion
from sidecar.statistics.quantity import TwoSample

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.int64]

SHRINK = (0.9, 0.75, 0.55, 0.35)
"""The other group's rate in each fixed bet, as parts of what the null allows it."""
PRIOR_ROWS = 2.0
FAR = 1e-9
MEMORY_ROWS = 16384
"""Rows over which rates are remembered: rates drift, and so must the bets."""


def nearest(q_a: Floats, q_b: Floats, n_a: Floats, n_b: Floats, ratio: float) -> tuple[Floats, Floats]:
    """The point of the null that is nearest to (q_a, q_b) for a block of these sizes; any one shape.

    Itself where it lies in the null. On the null's edge θ solves
    n_a (θ − q_a)(1 − ratio·θ) + n_b (ratio·θ − q_b)(1 − θ) = 0.
    """
    a = -ratio * (n_a + n_b)
    b = n_a * (1.0 + ratio * q_a) + n_b * (ratio + q_b)
    c = -(n_a * q_a + n_b * q_b)
    root = np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))
    # The smaller root of the two is the one in [0, 1]; written so that nothing cancels.
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = np.where(b + root > 0, -2.0 * c / (b + root), 0.0)
    most = min(1.0, 1.0 / ratio) if ratio > 0 else 1.0
    theta = np.clip(theta, FAR, most - FAR)
    inside = q_b >= ratio * q_a
    return np.where(inside, q_a, theta), np.where(inside, q_b, ratio * theta)


def log_e(counts: npt.ArrayLike, q_a: Floats, q_b: Floats, ratio: float) -> Floats:
    """Log e-value of blocks: counts (..., 4), rates that broadcast against (...).

    Counts are favourable and all of the reference group, favourable and all of
    the other. The rates must have been fixed before the block was seen.
    """
    block = np.asarray(counts, dtype=np.float64)
    s_a, n_a, s_b, n_b = (block[..., place] for place in range(4))
    q_a, q_b = np.clip(q_a, FAR, 1.0 - FAR), np.clip(q_b, FAR, 1.0 - FAR)
    t_a, t_b = nearest(q_a, q_b, n_a, n_b, ratio)
    t_a, t_b = np.clip(t_a, FAR, 1.0 - FAR), np.clip(t_b, FAR, 1.0 - FAR)
    return np.asarray(
        s_a * np.log(q_a / t_a)
        + (n_a - s_a) * np.log((1.0 - q_a) / (1.0 - t_a))
        + s_b * np.log(q_b / t_b)
        + (n_b - s_b) * np.log((1.0 - q_b) / (1.0 - t_b))
    )


def bets(seen: npt.ArrayLike, ratio: float) -> tuple[Floats, Floats]:
    """The rates of each bet from the counts seen so far, (..., 4) → two arrays (..., bets).

    Fixed bets take the reference's rate from what was seen and put the other's
    at a part of what the null allows; the last takes both as they were seen.
    """
    counts = np.asarray(seen, dtype=np.float64)
    rate_a = (counts[..., 0] + PRIOR_ROWS / 2.0) / (counts[..., 1] + PRIOR_ROWS)
    # Before any outcome the other group is given what the null allows: no bet.
    guess = np.minimum(ratio * rate_a, 1.0)
    rate_b = (counts[..., 2] + PRIOR_ROWS * guess) / (counts[..., 3] + PRIOR_ROWS)
    fixed = np.array(SHRINK)
    q_a = np.concatenate([np.repeat(rate_a[..., None], len(fixed), axis=-1), rate_a[..., None]], axis=-1)
    q_b = np.concatenate([guess[..., None] * fixed, rate_b[..., None]], axis=-1)
    return q_a, q_b


class TwoSampleBets:
    """The bets that a group's rate is below `ratio` of the reference's, summed over the strata."""

    def __init__(self, quantity: TwoSample, share: float) -> None:
        """`share` of the model's budget is not needed: the null is given."""
        self.quantity = quantity
        self.size = 4 * quantity.strata
        percent = [f"{quantity.ratio * part:.0%}" for part in SHRINK]
        self.names = (*(f"at {part} of the reference's rate" for part in percent), "as seen so far")
        self.weights: Floats = np.full(len(self.names), 1.0 / len(self.names))
        self.dispersion = Dispersion(np.array([0.25, 0.25]))
        self._seen: Floats = np.zeros((quantity.strata, 4))
        self._rows = np.zeros(2)

    def rows(self, counts: Vector) -> int:
        """Rows of both groups, over all strata."""
        return int(counts.reshape(-1, 4)[:, (1, 3)].sum())

    def enough(self) -> bool:
        """Whether both groups have had their minimum of rows."""
        return bool(self._rows.min() >= self.quantity.minimum)

    @property
    def seen_rows(self) -> tuple[float, float]:
        """Rows of the reference group and of the other so far."""
        return float(self._rows[0]), float(self._rows[1])

    def log_e(self, counts: Vector) -> Floats:
        """Per bet, for one pane."""
        table = counts.reshape(-1, 4)
        q_a, q_b = bets(self._seen, self.quantity.ratio)
        logs = log_e(np.repeat(table[:, None, :], q_a.shape[-1], axis=1), q_a, q_b, self.quantity.ratio)
        total: Floats = logs.sum(axis=0)
        return total / float(self.dispersion.estimate().max())

    def learn(self, counts: Vector) -> None:
        """Takes the pane in, for the panes after it."""
        table = counts.reshape(-1, 4).astype(np.float64)
        whole = table.sum(axis=0)
        self._rows += whole[[1, 3]]
        rows = table[:, (1, 3)].sum()
        self._seen = self._seen * (MEMORY_ROWS / (MEMORY_ROWS + rows)) + table
        # Each group's excess over its own rate so far; of a pane without one of them it is 0.
        rates = (self._seen[:, (0, 2)] + 0.5) / (self._seen[:, (1, 3)] + 1.0)
        excess = (table[:, (0, 2)] - table[:, (1, 3)] * rates).sum(axis=0)
        squares = (
            table[:, (0, 2)] * (1.0 - rates) ** 2 + (table[:, (1, 3)] - table[:, (0, 2)]) * rates**2
        ).sum(axis=0)
        self.dispersion.add(float(rows), excess, squares)

    def distance(self, counts: Vector) -> tuple[float, float]:
        """How far the other's rate is below what the null allows, as a share, and its standard error."""
        table = counts.reshape(-1, 4).astype(np.float64)
        n_a, n_b = table[:, 1], table[:, 3]
        weight = np.divide(n_a * n_b, n_a + n_b, out=np.zeros_like(n_a), where=n_a + n_b > 0)
        if not weight.sum():
            return 0.0, 1.0
        p_a = (table[:, 0] + 0.5) / (n_a + 1.0)
        p_b = (table[:, 2] + 0.5) / (n_b + 1.0)
        ratio = self.quantity.ratio
        gap = float(weight @ (ratio * p_a - p_b) / weight.sum())
        variance = ratio**2 * p_a * (1.0 - p_a) / np.maximum(n_a, 1.0) + p_b * (1.0 - p_b) / np.maximum(
            n_b, 1.0
        )
        factor = float(self.dispersion.estimate().max())
        return gap, float(np.sqrt(factor * (weight**2 @ variance)) / weight.sum())

    @property
    def edge(self) -> float:
        """The distance that counts as back inside."""
        return 0.0

    @property
    def critical(self) -> float:
        """The distance from which a change is critical."""
        return 0.1

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [self.dispersion.state(), self._seen.tolist(), self._rows.tolist()]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        self.dispersion.load(state[0])
        self._seen = np.array(state[1])
        self._rows = np.array(state[2])
