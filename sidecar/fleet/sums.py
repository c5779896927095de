"""Counts of many files, added exactly: integers, so any order and any split gives the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sidecar.fleet.pane_file import StoredPane, Vector

RECORDS_KEPT = 3
"""Of each quantity of a pane: those that sort first, so that the order of files does not matter."""


@dataclass(slots=True)
class Sum:
    """The sum of some panes."""

    exchanges: int = 0
    counts: dict[str, Vector] = field(default_factory=dict)
    record_ids: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    """Exchanges by who counted them."""

    def add(self, pane: StoredPane, source: str) -> None:
        """Adds one pane. Raises ValueError when a tally has another number of counts, and adds nothing."""
        for name, counts in pane.counts.items():
            known = self.counts.get(name)
            if known is not None and len(known) != len(counts):
                raise ValueError(f"tally {name} has {len(counts)} counts here and {len(known)} elsewhere")
        for name, counts in pane.counts.items():
            known = self.counts.get(name)
            if known is None:
                self.counts[name] = counts.copy()
            else:
                known += counts
        for name, ids in pane.record_ids.items():
            self.record_ids[name] = sorted({*self.record_ids.get(name, ()), *ids})[:RECORDS_KEPT]
        self.exchanges += pane.exchanges
        self.sources[source] = self.sources.get(source, 0) + pane.exchanges


def vector(counts: Mapping[str, Vector], layout: Sequence[tuple[str, int]]) -> Vector:
    """The counts in a plan's order, zero for tallies that are not there.

    Raises ValueError for counts that the layout has no place for.
    """
    sizes = dict(layout)
    for name, each in counts.items():
        if sizes.get(name) != len(each):
            raise ValueError(
                f"tally {name} has {len(each)} counts, its plan has {sizes.get(name, 'no such tally')}"
            )
    parts = [counts[name] if name in counts else np.zeros(size, dtype=np.int64) for name, size in layout]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
