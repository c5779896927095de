"""What a detector needs of a kind of quantity: e-values per pane, and how far things have moved."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sidecar.statistics.dispersion import Dispersion

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.int64]


class Bets(Protocol):
    """K bets against one null; each pane gives an e-value per bet."""

    size: int
    """Integers of a pane's vector that belong to it."""
    names: tuple[str, ...]
    weights: Floats
    """Prior weights, shape (K,), together at most 1."""
    dispersion: Dispersion

    def rows(self, counts: Vector) -> int:
        """Rows that these counts are of; a pane without any is passed over."""

    def log_e(self, counts: Vector) -> Floats:
        """Shape (K,): of mean 1 at most while the null holds, given all earlier panes."""

    def learn(self, counts: Vector) -> None:
        """Takes the pane in, for the bets on the panes after it."""

    def distance(self, counts: Vector) -> tuple[float, float]:
        """How far the counts are from what is normal, in the kind's own unit, and the standard error."""

    @property
    def edge(self) -> float:
        """A distance that still counts as inside the tolerance."""

    @property
    def critical(self) -> float:
        """A distance from which a change is critical."""

    def state(self) -> list[Any]:
        """What it has learnt, of msgpack's types."""

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
