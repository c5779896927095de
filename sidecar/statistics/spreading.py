"""A baseline's rows cut into its own panes, so that it is known how much clean panes differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.statistics.dispersion import spread_of_distribution
from sidecar.statistics.quantity import Distribution, Spread

Places = npt.NDArray[np.int64]

MOST_CELLS = 2_000_000
"""Counts of panes looked at for one field; beyond, neighbouring panes are joined."""


@dataclass(frozen=True)
class Stretches:
    """Which pane each row belongs to; -1 in all where rows have no time."""

    panes: int
    pane_of_row: Places

    def at(self, places: Places) -> Stretches:
        """The same for some of the rows."""
        return Stretches(self.panes, self.pane_of_row[places] if self.panes else self.pane_of_row)

    def counts(self, codes: Places, slots: int) -> npt.NDArray[np.int64]:
        """Slot counts of each pane, shape (panes, slots)."""
        joint = np.bincount(self.pane_of_row * slots + codes, minlength=self.panes * slots)
        return joint.reshape(self.panes, slots).astype(np.int64, copy=False)

    def spread(self, codes: Places, quantity: Distribution) -> Spread:
        """How much the panes differ in these codes of that quantity; unknown if there are too few."""
        if not self.panes or not len(codes):
            return Spread()
        counts = self.counts(codes, len(quantity.reference))
        every = -(-counts.size // MOST_CELLS)
        if every > 1:
            counts = np.add.reduceat(counts, np.arange(0, len(counts), every), axis=0)
        found = spread_of_distribution(quantity, counts)
        return Spread(self.panes, _short(found.kl), _short(found.dispersion))


def _short(number: float) -> float:
    """Six significant digits: a baseline's name must not hang on a machine's last bit."""
    return float(f"{number:.6g}")


NO_STRETCHES = Stretches(0, np.zeros(0, dtype=np.int64))


def stretches_of(times_us: npt.NDArray[np.int64] | None, pane_us: int) -> Stretches:
    """The panes of `pane_us` that rows at these times fall into; none without times or a pane."""
    if times_us is None or not pane_us or not len(times_us):
        return NO_STRETCHES
    numbers = times_us // pane_us
    _, pane_of_row = np.unique(numbers, return_inverse=True)
    return Stretches(int(pane_of_row.max()) + 1, pane_of_row.astype(np.int64))
