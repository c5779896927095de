"""How much more panes vary than independent rows would, per direction, and how far clean stretches differ.

A stream whose rows depend on each other has pane means that vary D times as
much as the rows inside a pane suggest. Log e-values are divided by D
(quasi-likelihood): with D right and panes independent their mean is 1 again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sidecar.statistics.alternatives import directions_of
from sidecar.statistics.projection import divergence
from sidecar.statistics.quantity import Distribution, Spread
from sidecar.statistics.tolerance import chi_square_quantile

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.int64]

SCALES = (1, 8, 64)
"""Panes per block; slow dependence shows only between long blocks."""
MEMORY = (256.0, 96.0, 48.0)
"""Blocks that an estimate remembers, per scale."""
RENEWED = 8
"""Panes between two looks at the estimates."""
TRUSTED = 64
"""Panes for which the baseline's dispersion is a lower bound."""
PRIOR_BLOCKS = 8.0
"""Weight of the baseline's own dispersion."""
MOST_OF_ONE = 9.0
"""One pair of blocks counts for no more than so many times the usual: a single jump is a shift, not noise."""


class Dispersion:
    """Running estimates for any number of directions: arrays of shape (..., J).

    From successive differences of block means against the variance within
    blocks (von Neumann's ratio), so that a lasting shift counts only once.
    Used for a pane before the pane itself is taken in.
    """

    def __init__(
        self,
        variance: Floats,
        prior: npt.ArrayLike = 1.0,
        covered: npt.ArrayLike = 0.0,
        kurtosis: npt.ArrayLike = 3.0,
    ) -> None:
        """`variance` and `kurtosis` (..., J) of one row's score by the baseline; `prior` is its dispersion.

        `covered` is the squared difference of block means (in units of the
        variance) that the tolerance allows for already: a cycle is no noise.
        Both broadcast against `variance`.
        """
        allowed = np.sqrt(np.asarray(covered, dtype=variance.dtype) * np.maximum(variance, 1e-12))
        self._scales = [
            _Scale(variance, prior, memory, np.zeros_like(allowed) if every == 1 else allowed, kurtosis)
            for every, memory in zip(SCALES, MEMORY, strict=True)
        ]
        self._count = 0
        self._sums: list[list[Floats]] = [[] for _ in SCALES]
        self.near = 1.0
        """The largest of neighbouring panes alone: neither a slow move raises it nor a single jump."""
        self._factor = self._renewed()

    def estimate(self) -> Floats:
        """The largest estimate over the scales, above 1 only where it is beyond chance, shape (..., J).

        The same array until it is renewed, every few panes.
        """
        return self._factor

    def _renewed(self) -> Floats:
        # The baseline's own is believed until there is traffic enough to say otherwise.
        found = np.ones_like(self._scales[0].base)
        if self._count < TRUSTED:
            found = np.maximum(found, self._scales[0].prior)
        found = self._scales[0].beyond(found)
        self.near = float(found.max(initial=1.0))
        for scale in self._scales[1:]:
            found = scale.beyond(found)
        return found

    @property
    def panes(self) -> int:
        """Panes taken in."""
        return self._count

    def add(self, rows: npt.ArrayLike, sums: Floats, squares: Floats) -> None:
        """Takes a pane: rows (...), sums and sums of squares of the scores (..., J)."""
        self._count += 1
        block = (np.asarray(rows, dtype=sums.dtype), sums, squares)
        for place, scale in enumerate(self._scales):
            every = SCALES[place]
            if every == 1:
                scale.add(*block)
                continue
            kept = self._sums[place]
            self._sums[place] = list(block) if not kept else [a + b for a, b in zip(kept, block, strict=True)]
            if self._count % every == 0:
                scale.add(*self._sums[place])
                self._sums[place] = []
        if self._count % RENEWED == 0:
            self._factor = self._renewed()

    def state(self) -> list[Any]:
        """What `load` takes."""
        sums = [[np.asarray(part).tolist() for part in block] for block in self._sums]
        return [
            self._count,
            sums,
            [scale.state() for scale in self._scales],
            self._factor.tolist(),
            self.near,
        ]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        self._count = state[0]
        self._sums = [[np.asarray(part, dtype=np.float64) for part in block] for block in state[1]]
        for scale, kept in zip(self._scales, state[2], strict=True):
            scale.load(kept)
        self._factor = np.asarray(state[3], dtype=np.float64)
        self.near = state[4] if len(state) > 4 else float(self._factor.max(initial=1.0))


class _Scale:
    """The estimate from blocks of one length."""

    def __init__(
        self, variance: Floats, prior: npt.ArrayLike, memory: float, allowed: Floats, kurtosis: npt.ArrayLike
    ) -> None:
        self.allowed = allowed
        self.kurtosis = np.asarray(kurtosis, dtype=variance.dtype)
        self.keep = 1.0 - 1.0 / memory
        # Kept apart and never forgotten: of a slot in which nothing falls for months nothing else is left.
        self.base: Floats = PRIOR_BLOCKS * np.maximum(variance, 1e-12)
        self.prior = np.asarray(prior, dtype=variance.dtype)
        self.within: Floats = np.zeros_like(self.base)
        self.between: Floats = np.zeros_like(self.base)
        self.blocks = 0.0
        self.rows: Floats | None = None
        self.mean: Floats | None = None
        self.square: Floats | None = None

    def add(self, rows: Floats, sums: Floats, squares: Floats) -> None:
        n = rows[..., None]
        mean = sums / np.maximum(n, 1.0)
        square = np.maximum(squares - mean * sums, 0.0)
        if self.mean is not None and self.rows is not None and self.square is not None:
            both = n * self.rows
            usable = (n + self.rows > 2.0) & (both > 0.0)
            inside = (square + self.square) / np.maximum(n + self.rows - 2.0, 1.0)
            apart = np.maximum(np.abs(mean - self.mean) - self.allowed, 0.0)
            jump = apart**2 * (both / np.maximum(n + self.rows, 1.0))
            usual = (np.maximum(self.between, self.within) + self.base) / (self.blocks + PRIOR_BLOCKS)
            jump = np.minimum(jump, MOST_OF_ONE * np.maximum(usual, inside))
            self.between = self.keep * self.between + np.where(usable, jump, 0.0)
            self.within = self.keep * self.within + np.where(usable, inside, 0.0)
            self.blocks = self.keep * self.blocks + 1.0
        self.rows, self.mean, self.square = n, mean, square

    def beyond(self, known: Floats) -> Floats:
        """The estimate where it is higher than what shorter blocks gave by more than chance, else that."""
        ratio = (self.between + self.prior * self.base) / (self.within + self.base)
        # Squares of successive differences are themselves correlated: variance 3 instead of 2 per block,
        # and more for scores of rare rows, of which a block has only a few.
        rows = 1.0 if self.rows is None else np.maximum(self.rows, 1.0)
        chance = 1.0 + 4.0 * np.sqrt((3.0 + self.kurtosis / rows) / (self.blocks + PRIOR_BLOCKS))
        return np.where(ratio > known * chance, ratio, known)

    def state(self) -> list[Any]:
        last = (
            None
            if self.rows is None
            else [np.asarray(x).tolist() for x in (self.rows, self.mean, self.square)]
        )
        return [self.within.tolist(), self.between.tolist(), self.blocks, last]

    def load(self, state: list[Any]) -> None:
        within, between, self.blocks, last = state
        self.within, self.between = (np.asarray(x, dtype=np.float64) for x in (within, between))
        if last is not None:
            self.rows, self.mean, self.square = (np.asarray(x, dtype=np.float64) for x in last)


STRETCHES = (8, 24, 96)
"""Into so many stretches of equal length the baseline's panes are cut to see how far they differ."""
ROWS_PER_SLOT = 25
"""A stretch has at least so many rows per slot in use, or noise is all that would be seen."""


class Normal(NamedTuple):
    """What each pane would have been on average, where that goes with the hour of the week."""

    counts: Floats
    """Shape (panes, slots)."""
    cycles: int
    """Weeks that it was made of, the panes' own among them."""

    @property
    def grown(self) -> float:
        """How much larger squared distances from it would be, had a pane's own week no part in it."""
        return self.cycles / (self.cycles - 1.0)


def spread_of(
    panes: npt.ArrayLike, scores: npt.ArrayLike | None = None, normal: Normal | None = None
) -> Spread:
    """How much these panes of one clean baseline differ, shape (panes, slots), in time order.

    `scores` (J, slots) are directions to look along for dependence; without
    them each slot is one. KL is that of the whole from its least typical
    stretch, what chance explains taken off; with `normal`, of what the
    stretch's hours are.
    """
    counts = np.asarray(panes, dtype=np.float64)
    used_panes = counts.sum(axis=1) > 0
    counts = counts[used_panes]
    if normal is not None:
        normal = normal._replace(counts=normal.counts[used_panes])
    whole = counts.sum(axis=0) if len(counts) else np.zeros(counts.shape[1])
    if len(counts) < 2 or not whole.sum():
        return Spread(panes=len(counts))
    looked = np.eye(len(whole))[whole > 0] if scores is None else np.asarray(scores, dtype=np.float64)
    near = _dispersion(counts, looked, SCALES[:1], 0.0, 1.0, normal)
    used = whole > 0
    kl = 0.0
    for stretches in STRETCHES:
        if len(counts) >= 2 * stretches and whole.sum() / stretches >= ROWS_PER_SLOT * used.sum():
            kl = max(kl, _stretch_kl(counts, used, stretches, near, normal))
    # Blocks far apart differ by what the tolerance will allow for; only more than that is dependence.
    far = _dispersion(counts, looked, SCALES[1:], kl, near, normal)
    return Spread(panes=len(counts), kl=kl, dispersion=far)


def spread_of_distribution(
    quantity: Distribution, panes: npt.ArrayLike, normal: Normal | None = None
) -> Spread:
    """`spread_of` along the directions in which that quantity will be watched."""
    directions = directions_of(quantity)
    scores = np.array([direction.score for direction in directions]) if directions else None
    return spread_of(panes, scores, normal)


def _dispersion(
    counts: Floats,
    scores: Floats,
    scales: tuple[int, ...],
    kl: float,
    known: float,
    normal: Normal | None,
) -> float:
    """The largest over the directions and the scales, as far as it is beyond `known` and chance."""
    rows, whole = counts.sum(axis=1), counts.sum(axis=0)
    share = whole / whole.sum()
    sums = counts @ scores.T
    if normal is None:
        variance = np.maximum(scores**2 @ share - (scores @ share) ** 2, 0.0)
    else:
        hourly = normal.counts @ scores.T
        sums = sums - hourly
        variance = np.maximum(scores**2 @ share - (hourly**2 / rows[:, None]).sum(axis=0) / rows.sum(), 0.0)
    grown = 1.0 if normal is None else normal.grown
    largest = known
    for every in scales:
        blocks = len(counts) // every
        if blocks < 10:
            break
        n = rows[: blocks * every].reshape(blocks, every).sum(axis=1)
        mean = sums[: blocks * every].reshape(blocks, every, -1).sum(axis=1) / n[:, None]
        weight = n[1:] * n[:-1] / (n[1:] + n[:-1])
        apart = np.maximum(np.abs(np.diff(mean, axis=0)) - np.sqrt(2.0 * kl * variance), 0.0)
        between = grown * (apart**2 * weight[:, None]).mean(axis=0)
        ratio = np.divide(between, variance, out=np.ones_like(between), where=variance > 0)
        # A slot with a handful of rows says nothing about dependence.
        enough = whole.sum() * variance >= 30.0 * np.abs(scores).max(axis=1) ** 2
        largest = max([largest, *ratio[enough & (ratio > known * (1.0 + 4.0 * np.sqrt(3.0 / blocks)))]])
    return float(largest)


def _stretch_kl(
    counts: Floats, used: npt.NDArray[np.bool_], stretches: int, dispersion: float, normal: Normal | None
) -> float:
    def cut(panes: Floats) -> Floats:
        return np.array([part[:, used].sum(axis=0) for part in np.array_split(panes, stretches)])

    parts = cut(counts)
    rows = parts.sum(axis=1)
    expected = counts[:, used].sum(axis=0) if normal is None else cut(normal.counts)
    smooth = (parts + 0.5) / (rows + 0.5 * parts.shape[1])[:, None]
    kl = divergence(expected / expected.sum(axis=-1, keepdims=True), smooth)
    degrees = max(1, parts.shape[1] - 1)
    own = 1.0 if normal is None else 1.0 / normal.grown
    chance = own * dispersion * chi_square_quantile(degrees, 1.0 - 0.01 / stretches) / (2.0 * rows)
    beyond = np.where(kl > chance, kl - own * dispersion * degrees / (2.0 * rows), 0.0)
    return float(max(0.0, beyond.max())) / own**2
