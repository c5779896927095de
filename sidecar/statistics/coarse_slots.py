"""A numeric field's slots in a few groups, where twenty bins for every segment would be too many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import INVALID, MISSING, NEW, OTHER, OVER, TAIL, UNDER, FieldBaseline
from sidecar.statistics.coding import Codes

GROUPS = 5
TAIL_LABELS = ("under", "over", "new", "missing", "invalid")
_TAIL_GROUPS = {UNDER: 0, OVER: 1, NEW: 2, OTHER: 2, MISSING: 3, INVALID: 4}


@dataclass(frozen=True)
class CoarseSlots:
    """At most GROUPS neighbouring groups of about equal frequency, then those of TAIL_LABELS."""

    group: Codes
    """The group of each slot of the field."""
    present: npt.NDArray[np.bool_]
    """Per slot, whether it is one of numbers."""
    labels: tuple[str, ...]
    centres: tuple[float, ...]
    """A value that stands for each ordered group, in baseline standard deviations from the mean."""

    @property
    def ordered(self) -> int:
        """Groups before the tail."""
        return len(self.centres)

    @classmethod
    def of(cls, field: FieldBaseline) -> CoarseSlots:
        """The groups of a numeric field."""
        own = field.own_slots
        counts = np.array(field.counts[:own], dtype=np.float64)
        middles = np.cumsum(counts) - counts / 2
        group = np.minimum(middles * GROUPS // max(1.0, counts.sum()), GROUPS - 1).astype(np.int64)
        _, group = np.unique(group, return_inverse=True)
        values = np.array(
            field.numbers
            or [(low + high) / 2 for low, high in zip(field.edges[:-1], field.edges[1:], strict=True)]
        )
        labels, centres = [], []
        for number in range(int(group.max()) + 1 if own else 0):
            members = np.flatnonzero(group == number)
            first, last = field.labels()[members[0]], field.labels()[members[-1]]
            low, high = first.partition("..")[0], last.rpartition("..")[2]
            labels.append(low if low == high else f"{low}..{high}")
            weights = np.maximum(counts[members], 1e-9)
            centres.append(float((weights @ values[members] / weights.sum() - field.mean) / field.scale))
        tail = [len(labels) + _TAIL_GROUPS[slot] for slot in range(TAIL)]
        present = np.ones(own + TAIL, dtype=bool)
        present[[own + MISSING, own + INVALID]] = False
        return cls(
            np.concatenate([group, tail]).astype(np.int64),
            present,
            (*labels, *TAIL_LABELS),
            tuple(centres),
        )
