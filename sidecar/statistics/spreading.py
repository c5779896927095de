"""A baseline's rows cut into its own panes, so that it is known how much clean panes differ."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sidecar.statistics.dispersion import Normal, spread_of_distribution
from sidecar.statistics.hours import HOURS, cycles, hours_of, packed
from sidecar.statistics.quantity import Distribution, Spread

Places = npt.NDArray[np.int64]

MOST_CELLS = 2_000_000
"""Counts of panes looked at for one field; beyond, neighbouring panes are joined."""


@dataclass(frozen=True)
class Stretches:
    """Which pane each row belongs to; -1 in all where rows have no time."""

    panes: int
    pane_of_row: Places
    hour_of_pane: Places | None = None
    """The hour of the week of each, where what is normal goes with it."""
    cycles: int = 0
    """Weeks that they cover."""

    def at(self, places: Places) -> Stretches:
        """The same for some of the rows."""
        return replace(self, pane_of_row=self.pane_of_row[places]) if self.panes else self

    def counts(self, codes: Places, slots: int) -> npt.NDArray[np.int64]:
        """Slot counts of each pane, shape (panes, slots)."""
        joint = np.bincount(self.pane_of_row * slots + codes, minlength=self.panes * slots)
        return joint.reshape(self.panes, slots).astype(np.int64, copy=False)

    def spread(self, codes: Places, quantity: Distribution) -> Spread:
        """How much the panes differ in these codes of that quantity; unknown if there are too few."""
        if not self.panes or not len(codes):
            return Spread()
        counts = self.counts(codes, len(quantity.reference))
        normal = None
        if self.hour_of_pane is not None:
            by_hour = self._by_hour(counts).astype(np.float64)
            shares = by_hour / np.maximum(by_hour.sum(axis=1, keepdims=True), 1.0)
            normal = Normal(counts.sum(axis=1)[:, None] * shares[self.hour_of_pane], self.cycles)
        every = -(-counts.size // MOST_CELLS)
        if every > 1:
            starts = np.arange(0, len(counts), every)
            counts = np.add.reduceat(counts, starts, axis=0)
            if normal is not None:
                normal = normal._replace(counts=np.add.reduceat(normal.counts, starts, axis=0))
        found = spread_of_distribution(quantity, counts, normal)
        return Spread(self.panes, _short(found.kl), _short(found.dispersion))

    def hours(self, codes: Places, slots: int, moved: tuple[int, int, int] = (0, 0, 0)) -> bytes:
        """Slot counts of each hour of the week, packed; empty where the hour does not matter.

        `moved` rows of one slot, over all hours, count in another: the slots and the number.
        """
        if self.hour_of_pane is None or not len(codes):
            return b""
        hours = self.hour_of_pane[self.pane_of_row]
        counts = np.bincount(hours * slots + codes, minlength=HOURS * slots).reshape(HOURS, slots)
        source, target, number = moved
        if number:
            part = np.rint(counts.sum(axis=1) * (number / len(codes))).astype(np.int64)
            counts[:, target] += part
            counts[:, source] = np.maximum(counts[:, source] - part, 0)
        return packed(counts)

    def _by_hour(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        found = np.zeros((HOURS, counts.shape[1]), dtype=np.int64)
        if self.hour_of_pane is not None:
            np.add.at(found, self.hour_of_pane, counts)
        return found


def _short(number: float) -> float:
    """Six significant digits: a baseline's name must not hang on a machine's last bit."""
    return float(f"{number:.6g}")


NO_STRETCHES = Stretches(0, np.zeros(0, dtype=np.int64))


def stretches_of(times_us: npt.NDArray[np.int64] | None, pane_us: int, by_hour: bool = False) -> Stretches:
    """The panes of `pane_us` that rows at these times fall into; none without times or a pane.

    With `by_hour`, what is normal is that of each hour of the week.
    """
    if times_us is None or not pane_us or not len(times_us):
        return NO_STRETCHES
    numbers = times_us // pane_us
    found, pane_of_row = np.unique(numbers, return_inverse=True)
    stretches = Stretches(len(found), pane_of_row.astype(np.int64))
    if by_hour:
        hours = hours_of(found * pane_us)
        return replace(stretches, hour_of_pane=hours, cycles=max(2, cycles(times_us)))
    return stretches
