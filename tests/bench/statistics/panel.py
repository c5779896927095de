"""Many distribution detectors stepped together: the product's own steps over arrays of features.

Equal to so many `Watch`es up to single precision; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sidecar.statistics import e_detector
from sidecar.statistics.dispersion import Dispersion
from sidecar.statistics.distribution import MEMORY_ROWS, REFRESH_ROWS, DistributionBets
from sidecar.statistics.projection import project

Floats = npt.NDArray[np.floating]


class Panel:
    """F features, each with K bets (padded) over B slots (padded)."""

    def __init__(self, bets: Sequence[DistributionBets], dtype: type[np.floating] = np.float32) -> None:
        self.dtype = dtype
        self.slots = max(b.size for b in bets)
        self.fixed = max(len(b.direction) for b in bets)
        ways = max(len(b.scores) for b in bets)
        features = len(bets)
        self.ratios = np.zeros((features, self.slots, self.fixed), dtype=dtype)
        self.weights = np.zeros((features, self.fixed + 1), dtype=dtype)
        self.direction = np.zeros((features, self.fixed), dtype=np.intp)
        scores = np.zeros((features, self.slots, ways))
        variance, kurtosis = np.full((features, ways), 1e-12), np.full((features, ways), 3.0)
        prior, covered = np.ones((features, 1)), np.zeros((features, 1))
        self.centre = np.zeros((features, self.slots))
        self.baseline = np.zeros((features, self.slots))
        self.radius = np.array([b.tolerance.whole for b in bets])
        for at, b in enumerate(bets):
            k, j = len(b.direction), len(b.scores)
            self.ratios[at, : b.size, :k] = b.log_ratios[:-1].T
            self.weights[at, :k], self.weights[at, -1] = b.weights[:-1], b.weights[-1]
            self.direction[at, :k] = b.direction
            scores[at, : b.size, :j] = b.scores.T
            variance[at, :j], kurtosis[at, :j] = b.scores**2 @ b.baseline, b.scores**4 @ b.baseline
            prior[at], covered[at] = b.quantity.spread.dispersion, 2.0 * b.quantity.spread.kl
            self.centre[at, : b.size], self.baseline[at, : b.size] = b.centre, b.baseline
        # Padding keeps a logarithm finite and is never counted in.
        self.baseline[self.baseline == 0] = 1e-12
        self.scores = np.concatenate([scores, scores**2], axis=2).astype(dtype)
        self.ways = ways
        self.dispersion = Dispersion(
            variance.astype(dtype),
            prior.astype(dtype),
            covered.astype(dtype),
            kurtosis.astype(dtype),
        )
        self._factors: Floats | None = None
        self._divisors = np.ones((features, self.fixed + 1), dtype=dtype)
        self.m = np.zeros((features, self.fixed + 1), dtype=dtype)
        self.learnt = np.zeros((features, self.slots), dtype=dtype)
        self.recent = np.zeros((features, self.slots), dtype=dtype)
        self.fresh = 0.0

    def run(
        self, counts: npt.NDArray[np.floating], thresholds: Floats | np.floating
    ) -> npt.NDArray[np.int64]:
        """Steps through panes (F, T, B) of equally many rows; the alarms of each feature, restarted after each."""
        logs = np.ascontiguousarray(np.moveaxis(np.matmul(counts, self.ratios), 1, 0))
        sums = np.ascontiguousarray(np.moveaxis(np.matmul(counts, self.scores), 1, 0))
        panes = np.ascontiguousarray(np.moveaxis(counts, 1, 0))
        rows = panes[0].sum(axis=1)
        alarms = np.zeros(len(self.m), dtype=np.int64)
        log_e = np.empty_like(self.m)
        for t in range(len(logs)):
            log_e[:, :-1] = logs[t]
            np.einsum("fb,fb->f", panes[t], self.learnt, out=log_e[:, -1])
            self._divide(log_e)
            e_detector.step(self.m, log_e, out=self.m)
            self._learn(rows, panes[t], sums[t])
            over = e_detector.evidence(self.m, self.weights) >= thresholds
            if over.any():
                alarms += over
                self.m[over] = 0.0
        return alarms

    def _divide(self, log_e: Floats) -> None:
        factors = self.dispersion.estimate()
        if factors is not self._factors:
            self._factors = factors
            self._divisors[:, :-1] = np.take_along_axis(factors, self.direction, axis=1)
            self._divisors[:, -1] = factors.max(axis=1)
        log_e /= self._divisors

    def _learn(self, rows: Floats, pane: Floats, sums: Floats) -> None:
        self.dispersion.add(rows, sums[:, : self.ways], sums[:, self.ways :])  # type: ignore[arg-type]
        count = float(rows[0])
        self.recent *= MEMORY_ROWS / (MEMORY_ROWS + count)
        self.recent += pane
        self.fresh += count
        if self.fresh >= REFRESH_ROWS:
            self.fresh = 0.0
            q = self.recent + REFRESH_ROWS * self.baseline
            q /= q.sum(axis=1, keepdims=True)
            self.learnt[:] = np.log(q / project(q, self.centre, self.radius))
