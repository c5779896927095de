"""Which records to look at: of each quantity, a few whose values lie where the counts have moved to.

Kept in memory only and bounded; nothing that is promised hangs on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sidecar.records import Sample
from sidecar.statistics.baseline import TAIL
from sidecar.statistics.field_tally import FieldTally
from sidecar.statistics.plan import Plan
from sidecar.statistics.quantity import Band, Distribution, Mean, Quantity
from sidecar.statistics.rows import Rows
from sidecar.statistics.rule_tally import PREFIX, LastBroken
from sidecar.statistics.tally import Vector

IDS = 3
SAMPLES = 12
"""Kept of recent traffic."""
PER_BATCH = 4
MOST_ROWS = 64
"""Of a sample that is kept; larger requests are passed over."""


class Exemplars:
    """The last strange values by field, and a few samples of recent traffic."""

    def __init__(self, plan: Plan, last_broken: LastBroken | None = None) -> None:
        """`last_broken` knows the records of data-quality rules."""
        self._plan = plan
        self._last_broken = last_broken or LastBroken()
        self._strange: dict[str, deque[str]] = {}
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        tallies = [tally for tally in plan.fields if tally.path.startswith(("inputs.", "outputs."))]
        self._tails = [(tally, plan.places[tally.name].start + tally.field.own_slots) for tally in tallies]
        tails = [[first, first + TAIL] for _, first in self._tails]
        self._bounds = np.array(tails, dtype=np.int64).reshape(-1)

    def note(self, rows: Rows, vector: Vector) -> None:
        """Looks at a batch that was just counted into `vector`."""
        if len(self._bounds):
            # Sums of every other stretch are those between the tails.
            sums = np.add.reduceat(np.append(vector, 0), self._bounds)[::2]
            for at in np.flatnonzero(sums):
                self._note_tail(self._tails[at][0], rows)
        decoded = rows.decoded[:: max(1, len(rows.decoded) // PER_BATCH)]
        self._samples.extend(
            sample for sample in decoded if sample.observation and sample.observation.instances <= MOST_ROWS
        )

    def _note_tail(self, tally: FieldTally, rows: Rows) -> None:
        side = rows.answered if tally.path.startswith("outputs.") else rows
        codes = self._plan.coded(side, tally.path).main.codes
        last = int(np.flatnonzero(codes >= tally.field.own_slots)[-1])
        ids = self._strange.setdefault(tally.path, deque(maxlen=IDS))
        record_id = side.record_id(last)
        if record_id not in ids:
            ids.append(record_id)

    def of(self, pane: Vector) -> Mapping[str, Sequence[str]]:
        """Record ids by quantity name, found when asked for."""
        return _Lazy(self._plan, pane, dict(self._strange), list(self._samples), self._last_broken)


class _Lazy(Mapping[str, Sequence[str]]):
    def __init__(
        self,
        plan: Plan,
        pane: Vector,
        strange: dict[str, deque[str]],
        samples: list[Sample],
        last_broken: LastBroken,
    ) -> None:
        self._plan, self._pane, self._strange, self._samples = plan, pane, strange, samples
        self._last_broken = last_broken

    def __len__(self) -> int:
        return len(self._plan.quantities)

    def __iter__(self) -> Iterator[str]:
        return (quantity.name for quantity in self._plan.quantities)

    def __getitem__(self, name: str) -> Sequence[str]:
        quantity = self._plan.quantity(name)
        if name.startswith(PREFIX):
            return self._last_broken.record_ids(name.removeprefix(PREFIX))[:IDS]
        if name in self._strange and isinstance(quantity, Distribution) and self._tail_grew(quantity):
            return tuple(reversed(self._strange[name]))
        scores = [(_score(quantity, counts, self._pane), at) for at, counts in enumerate(self._counted)]
        best = sorted(((score, at) for score, at in scores if score > 0), reverse=True)
        return tuple(dict.fromkeys(self._samples[at].record_id for _, at in best))[:IDS]

    @cached_property
    def _counted(self) -> list[Vector]:
        return [self._plan.count(Rows([sample])) for sample in self._samples]

    def _tail_grew(self, quantity: Distribution) -> bool:
        now, before = _shares(quantity, self._pane)
        return bool(now[-TAIL:].sum() > before[-TAIL:].sum() + 0.002)


def _shares(quantity: Distribution, pane: Vector) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    before = np.array(quantity.reference, dtype=np.float64) + 0.5
    now = pane[quantity.start : quantity.start + len(quantity.reference)].astype(np.float64)
    return now / max(1.0, now.sum()), before / before.sum()


def _score(quantity: Quantity, counts: Vector, pane: Vector) -> float:
    """How much a sample's own counts lie where the pane's have grown; 0 or less: not at all."""
    at = quantity.start
    if isinstance(quantity, Distribution):
        now, before = _shares(quantity, pane)
        return float(counts[at : at + len(now)] @ np.maximum(np.log((now + 1e-6) / before), 0.0))
    if isinstance(quantity, Band):
        high = pane[at] > quantity.high * pane[at + 1]
        return float(counts[at] if high else counts[at + 1] - counts[at])
    if isinstance(quantity, Mean):
        return float(counts[at + 1] if pane[at + 1] > 0 else -counts[at + 1])
    stretch = counts[at : at + 4 * quantity.strata].reshape(-1, 4)
    return float((stretch[:, 3] - stretch[:, 2]).sum())
