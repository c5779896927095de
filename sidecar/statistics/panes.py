"""The last panes of counts, by pane number: what a window over recent traffic adds up."""

from __future__ import annotations

import numpy as np

from sidecar.statistics.layout import Layout, Vector


class Panes:
    """At most `keep` panes: those within `keep` numbers of the latest one.

    Merging is exact: a number is dropped only if the latest pane anywhere lies too far ahead of it.
    """

    def __init__(self, layout: Layout, keep: int) -> None:
        self._layout = layout
        self._keep = keep
        self.by_number: dict[int, Vector] = {}

    def add(self, number: int, vector: Vector) -> None:
        """Adds to one pane; what lies before the kept ones is left to the totals."""
        known = self.by_number.get(number)
        if known is not None:
            known += vector
            return
        latest = max(self.by_number, default=number)
        if number <= latest - self._keep:
            return
        self.by_number[number] = vector.copy()
        oldest = max(latest, number) - self._keep
        for late in [old for old in self.by_number if old <= oldest]:
            del self.by_number[late]

    def merge(self, other: Panes) -> None:
        """Adds the other's panes, newest first so that none is kept in vain."""
        for number in sorted(other.by_number, reverse=True):
            self.add(number, other.by_number[number])

    def window(self) -> Vector:
        """The sum of the kept panes."""
        total = self._layout.empty()
        for vector in self.by_number.values():
            np.add(total, vector, out=total)
        return total
