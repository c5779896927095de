"""Each segment held against its own beginning: a baseline knows no segments.

What a plan counts by segment is put into one vector of its own, in which every
segment's decision, outputs and features are quantities like a model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sidecar.statistics.coarse_slots import CoarseSlots
from sidecar.statistics.coding import STEPS
from sidecar.statistics.plan import Plan
from sidecar.statistics.quantity import Distribution
from sidecar.statistics.segments import (
    FEATURE_HEAD,
    NO,
    OPEN,
    ROWS,
    YES,
    Field,
    SegmentTally,
    output_labels,
)
from sidecar.statistics.tally import Vector

LEAST_ROWS = 100
"""Rows of a segment's beginning below which it is shown and not watched."""
ANSWERS = ("yes", "no", "unknown")


@dataclass(frozen=True)
class Part:
    """What is watched of one segment, or of how rows fall into segments."""

    segmentation: str
    segment: str
    """Empty: the shares of the segments themselves."""
    what: str
    """`decision`, a path, or `rows`."""
    start: int
    labels: tuple[str, ...]
    coarse: CoarseSlots | None = None
    field: Field | None = None
    sums_at: int = 0
    """Of a feature: its rows with a number, the sum right behind."""

    @property
    def name(self) -> str:
        where = (
            f" where {self.segmentation} is {self.segment}" if self.segment else f" by {self.segmentation}"
        )
        return self.what + where

    def counts(self, vector: Vector) -> Vector:
        return vector[self.start : self.start + len(self.labels)]

    def mean(self, vector: Vector) -> float | None:
        """Of a feature, in its own unit."""
        if self.field is None or not vector[self.sums_at]:
            return None
        off = int(vector[self.sums_at + 1]) / STEPS / int(vector[self.sums_at])
        return self.field.baseline.mean + off * self.field.baseline.scale

    def quantity(self, beginning: Vector) -> Distribution:
        """To be watched against these counts."""
        reference = tuple(self.counts(beginning).tolist())
        if self.coarse is None or self.field is None:
            return Distribution(self.name, self.start, reference, self.labels)
        ordered = self.coarse.ordered
        return Distribution(
            self.name,
            self.start,
            reference,
            self.labels,
            ordered=ordered,
            centres=self.coarse.centres,
            under=ordered,
            over=ordered + 1,
            mean=self.mean(beginning),
            unit=self.field.baseline.scale,
        )


class BySegment:
    """The segments of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.tallies = list(plan.segments)

    @cached_property
    def parts(self) -> list[Part]:
        """Of every segmentation, how rows fall into its segments, then segment by segment."""
        found, at = [], 0
        for tally in self.tallies:
            found += list(_parts(tally, at))
            at += tally.slices.size + tally.size
        return found

    def vector(self, counts: Vector) -> Vector:
        """The segments' counts out of a plan's: per segmentation the rows of each segment, then its table."""
        found = [np.zeros(0, dtype=np.int64)]
        for tally in self.tallies:
            own = self._plan.part(counts, tally.name)
            found += [tally.table(own)[:, ROWS], own]
        return np.concatenate(found)

    def watched(self, beginning: Vector) -> list[Distribution]:
        """The quantities with enough rows in the beginning and more than one possible value."""
        return [
            part.quantity(beginning) for part in self.parts if int(part.counts(beginning).sum()) >= LEAST_ROWS
        ]


def _parts(tally: SegmentTally, at: int) -> Iterator[Part]:
    name = tally.name.removeprefix("segment/")
    yield Part(name, "", "rows", at, tally.labels)
    at += tally.slices.size
    for number, segment in enumerate(tally.labels):
        row = at + number * tally.width
        if tally.decision is not None:
            # Yes, no and unknown stand side by side.
            assert (NO, OPEN) == (YES + 1, YES + 2)
            yield Part(name, segment, "decision", row + YES, ANSWERS)
        for output, place, _ in tally.output_places():
            yield Part(name, segment, output.path, row + place, (*output_labels(output), "other"))
        for feature, place in tally.feature_places():
            coarse = feature.coarse
            yield Part(
                name,
                segment,
                feature.path,
                row + place + FEATURE_HEAD,
                coarse.labels,
                coarse,
                feature,
                row + place,
            )
