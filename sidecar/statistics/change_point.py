"""When did it begin: the start of each bet's current winning streak, and the counts since then."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.int64]


class Excursions:
    """Per bet the sum of log e since it was last 0 or less, and the time when that streak began.

    The beginning of the streak of the bet that won is the maximum-likelihood
    estimate of the time of change for it (Page's CUSUM).
    """

    def __init__(self, bets: int) -> None:
        self.height: Floats = np.zeros(bets)
        self.since_us: Vector = np.zeros(bets, dtype=np.int64)

    def step(self, log_e: Floats, pane_start_us: int) -> None:
        """Takes the pane that began at `pane_start_us`."""
        self.since_us[self.height <= 0.0] = pane_start_us
        self.height = np.maximum(self.height, 0.0) + log_e

    def reset(self) -> None:
        """Forgets all streaks."""
        self.height[:] = 0.0


class History:
    """Cumulative counts at past times, close together lately and far apart long ago; bounded."""

    KEPT = 20

    def __init__(self, size: int) -> None:
        self.times_us: list[int] = []
        self.totals: list[Vector] = [np.zeros(size, dtype=np.int64)]
        """Before the first time, then at each."""

    def add(self, pane_start_us: int, vector: Vector) -> None:
        """Takes a pane that began then."""
        self.times_us.append(pane_start_us)
        self.totals.append(self.totals[-1] + vector)
        if len(self.times_us) > self.KEPT:
            self._thin()

    def _thin(self) -> None:
        """Drops the boundary whose neighbours are nearest to each other for its age."""
        now = self.times_us[-1]
        inner = range(1, len(self.times_us) - 2)
        times = self.times_us
        drop = min(inner, key=lambda i: (times[i + 1] - times[i - 1]) / (now - times[i]))
        del self.times_us[drop]
        del self.totals[drop]

    def since(self, at_us: int) -> tuple[int, Vector]:
        """The boundary nearest to `at_us`, and the counts from there on."""
        if not self.times_us:
            return at_us, self.totals[-1]
        place = min(range(len(self.times_us)), key=lambda i: abs(self.times_us[i] - at_us))
        return self.times_us[place], self.totals[-1] - self.totals[place]

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [self.times_us, [total.tobytes() for total in self.totals]]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        self.times_us = list(state[0])
        self.totals = [np.frombuffer(total, dtype=np.int64).copy() for total in state[1]]
