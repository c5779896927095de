"""Fields together: random projections of the standardised numbers, and pairs that tell of each other.

Each field by itself can look as ever while fields that belonged together have
come apart. All arithmetic is on integers, so that no order of summation and no
machine's way of multiplying matrices can move a row to another slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import shake_128
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import FieldBaseline, Pair, Projection
from sidecar.statistics.coding import STEPS, Codes
from sidecar.statistics.field_counter import Counted
from sidecar.statistics.quantity import Distribution
from sidecar.statistics.rows import Rows
from sidecar.statistics.tally import Vector

PROJECTIONS: Final = 3
LEAST_INPUTS: Final = 2
MOST_INPUTS: Final = 100
PROJECTION_BINS: Final = 10
CLIP: Final = 8 * STEPS
"""A single wild value must not drown all others of its row."""
FINE: Final = 1 << 12
"""Deviations are taken in steps of this many of theirs, so that sums of products stay small."""

PAIRS: Final = 5
PAIRED_INPUTS: Final = 40
PAIRED_OUTPUTS: Final = 10
GROUPS: Final = 4
LEAST_INFORMATION: Final = 0.02
"""Nats; fields that tell less of each other are not worth a share of the budget."""
ROWS_LOOKED_AT: Final = 5_000
LEAST_ROWS: Final = 200
WEIGHT: Final = 0.5
"""Of a joint quantity's share in the budget, against 1 of a field's."""


def directions(inputs: Sequence[str], number: int) -> list[int]:
    """Integer weights -4…4 without 0 for the inputs, from a seed in their names: the same everywhere."""
    seed = f"sidecar projection {number}\n" + "\n".join(inputs)
    drawn = shake_128(seed.encode("utf-8", "surrogatepass")).digest(len(inputs))
    return [(each % 4 + 1) * (1 if each & 0x80 else -1) for each in drawn]


def projected(weights: Sequence[int], deviations: Sequence[Codes]) -> Codes:
    """The weighted sum of deviations per row, an exact integer."""
    total = np.zeros(len(deviations[0]), dtype=np.int64)
    for weight, each in zip(weights, deviations, strict=True):
        total += weight * (np.clip(each, -CLIP, CLIP) // FINE)
    return total


def freeze_projections(fields: Sequence[FieldBaseline], coded: Mapping[str, Counted]) -> list[Projection]:
    """The projections of a baseline's numeric inputs; none if there are fewer than two."""
    names = [each.name for each in fields if each.kind == "numeric" and each.own_slots > 1][:MOST_INPUTS]
    if len(names) < LEAST_INPUTS:
        return []
    deviations = [found for name in names if (found := coded[name].main.deviations) is not None]
    if len(deviations) < len(names) or len(deviations[0]) < LEAST_ROWS:
        return []
    made = []
    for number in range(PROJECTIONS):
        weights = directions(names, number)
        values = projected(weights, deviations)
        ordered = np.sort(values)
        ranks = [-(-len(ordered) * step // PROJECTION_BINS) - 1 for step in range(1, PROJECTION_BINS)]
        inner = np.unique(ordered[ranks]).astype(np.float64).tolist()
        edges = [
            float(ordered[0]),
            *(each for each in inner if ordered[0] < each < ordered[-1]),
            float(ordered[-1]),
        ]
        scale = float(values.std()) or 1.0
        bare = Projection(
            f"joint/projection-{number}", names, weights, edges, [], float(values.mean()), scale
        )
        counts = np.bincount(ProjectionTally(bare).slots(values), minlength=len(edges) + 1).tolist()
        made.append(Projection(bare.name, names, weights, edges, counts, bare.mean, scale))
    return made


@dataclass(frozen=True)
class ProjectionTally:
    """Bins of one projection, then below the baseline's least, then above its greatest."""

    projection: Projection
    counter: object = None
    """A plan's `coded(rows, path)`."""

    @property
    def name(self) -> str:
        return self.projection.name

    @property
    def size(self) -> int:
        return len(self.projection.edges) + 1

    @cached_property
    def _inner(self) -> npt.NDArray[np.float64]:
        return np.array(self.projection.edges[1:-1], dtype=np.float64)

    def slots(self, values: Codes) -> Codes:
        """The slot of each projected value."""
        edges = self.projection.edges
        slots = np.searchsorted(self._inner, values).astype(np.int64, copy=False)
        slots[values < edges[0]] = len(edges) - 1
        slots[values > edges[-1]] = len(edges)
        return slots

    def count(self, rows: Rows) -> Vector:
        coded = self.counter
        assert callable(coded)
        found = [coded(rows, f"inputs.{name}").main.deviations for name in self.projection.inputs]
        slots = self.slots(projected(self.projection.weights, found)) if rows.count else np.zeros(0, np.int64)
        return np.bincount(slots, minlength=self.size).astype(np.int64, copy=False)

    def quantity(self, start: int) -> Distribution:
        edges, scale = self.projection.edges, self.projection.scale
        mean = self.projection.mean
        bins = list(pairwise(edges))
        labels = [f"{(low - mean) / scale:.2f}..{(high - mean) / scale:.2f} sd" for low, high in bins]
        centres = [((low + high) / 2 - self.projection.mean) / scale for low, high in bins]
        return Distribution(
            self.name,
            start,
            tuple(self.projection.counts),
            (*labels, "under", "over"),
            ordered=len(bins),
            centres=tuple(centres),
            spread=self.projection.spread,
            weight=WEIGHT,
            under=len(bins),
            over=len(bins) + 1,
            title=f"a random projection of {len(self.projection.inputs)} inputs",
            hours=self.projection.hours,
        )


def coarse_groups(field: FieldBaseline) -> tuple[list[int], list[str]]:
    """A group for each slot, at most GROUPS of the field's own and one for the tail, and their names."""
    own, labels = field.own_slots, field.labels()
    counts = np.array(field.counts[:own], dtype=np.int64)
    if field.edges:
        before = np.cumsum(counts) - counts / 2
        groups = np.minimum(before * GROUPS // max(1, counts.sum()), GROUPS - 1).astype(int).tolist()
        used = sorted(set(groups))
        groups = [used.index(group) for group in groups]
        names = []
        for group in range(len(used)):
            members = [slot for slot in range(own) if groups[slot] == group]
            low, high = field.edges[members[0]], field.edges[members[-1] + 1]
            names.append(f"{low:.4g}..{high:.4g}")
    else:
        ranked = sorted(range(own), key=lambda slot: (-int(counts[slot]), slot))
        alone = ranked[:GROUPS] if own <= GROUPS else ranked[: GROUPS - 1]
        groups = [alone.index(slot) if slot in alone else len(alone) for slot in range(own)]
        names = [labels[slot] for slot in alone] + (["others"] if own > len(alone) else [])
    tail = len(names)
    return groups + [tail] * (len(field.counts) - own), [*names, "strange"]


def freeze_pairs(fields: Mapping[str, FieldBaseline], codes: Mapping[str, Codes]) -> list[Pair]:
    """The pairs of fields, by path, with the most mutual information over the same rows."""
    able = [
        path
        for path, field in fields.items()
        if field.kind in ("numeric", "categorical", "boolean") and field.own_slots > 1
    ]
    inputs = [path for path in able if path.startswith("inputs.")][:PAIRED_INPUTS]
    outputs = [path for path in able if path.startswith("outputs.")][:PAIRED_OUTPUTS]
    chosen = inputs + outputs
    if not chosen or len(codes[chosen[0]]) < LEAST_ROWS:
        return []
    step = max(1, len(codes[chosen[0]]) // ROWS_LOOKED_AT)
    coarse = {path: coarse_groups(fields[path]) for path in chosen}
    few = {path: np.array(coarse[path][0])[codes[path][::step]] for path in chosen}
    ranked = []
    for at, first in enumerate(chosen):
        for second in chosen[at + 1 :]:
            sizes = len(coarse[first][1]), len(coarse[second][1])
            table = np.bincount(few[first] * sizes[1] + few[second], minlength=sizes[0] * sizes[1])
            found = information(table.reshape(sizes))
            # What independent fields would show by chance, and six deviations of it.
            freedom = (sizes[0] - 1) * (sizes[1] - 1)
            chance = (freedom + 6 * np.sqrt(2 * freedom)) / (2 * len(few[first]))
            if found > max(LEAST_INFORMATION, chance):
                ranked.append((-found, first, second))
    pairs = []
    for negative, first, second in sorted(ranked)[:PAIRS]:
        groups = np.array(coarse[first][0])[codes[first]], np.array(coarse[second][0])[codes[second]]
        width = len(coarse[second][1])
        counts = np.bincount(groups[0] * width + groups[1], minlength=len(coarse[first][1]) * width)
        pairs.append(
            Pair(first, second, coarse[first][0], coarse[second][0], coarse[first][1], coarse[second][1],
                 counts.tolist(), float(round(-negative, 6)))
        )  # fmt: skip
    return pairs


def information(table: npt.NDArray[np.int64]) -> float:
    """Mutual information of a contingency table, in nats."""
    total = table.sum()
    if not total:
        return 0.0
    joint = table / total
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    used = joint > 0
    return float((joint[used] * np.log(joint[used] / expected[used])).sum())


@dataclass(frozen=True)
class PairTally:
    """Rows that were answered, by the first field's group, then the second's."""

    pair: Pair
    counter: object = None

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def size(self) -> int:
        return len(self.pair.counts)

    @cached_property
    def _groups(self) -> tuple[Codes, Codes]:
        first = np.array(self.pair.first_groups, dtype=np.int64) * len(self.pair.second_labels)
        return first, np.array(self.pair.second_groups, dtype=np.int64)

    def count(self, rows: Rows) -> Vector:
        coded = self.counter
        assert callable(coded)
        first, second = self._groups
        answered = rows.answered
        slots = first[coded(answered, self.pair.first).main.codes]
        slots = slots + second[coded(answered, self.pair.second).main.codes]
        return np.bincount(slots, minlength=self.size).astype(np.int64, copy=False)

    def quantity(self, start: int) -> Distribution:
        labels = [f"{one} & {other}" for one in self.pair.first_labels for other in self.pair.second_labels]
        first, second = (path.partition(".")[2] for path in (self.pair.first, self.pair.second))
        return Distribution(
            self.name,
            start,
            tuple(self.pair.counts),
            tuple(labels),
            spread=self.pair.spread,
            weight=WEIGHT,
            title=f"{first} with {second}",
            hours=self.pair.hours,
        )
