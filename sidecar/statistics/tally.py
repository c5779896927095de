"""What is counted of rows: a fixed number of integers that add over time, pods and batches."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidecar.statistics.rows import Rows

Vector = npt.NDArray[np.int64]


class Tally(Protocol):
    """One part of a pane's vector."""

    @property
    def name(self) -> str:
        """Unique in a plan, for example `inputs.income`, `band/rejections`, `bias/inputs.black`."""

    @property
    def size(self) -> int:
        """How many integers `count` gives, always the same."""

    def count(self, rows: Rows) -> Vector:
        """The counts of these rows, shape (size,); those of parts add to those of the whole."""
