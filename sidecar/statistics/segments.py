"""Traffic by segment: `segments: [{name: region, of: inputs.region}]`, so that an alarm can say where.

Per segment (the named ones, other, missing): rows; rows that the decision says
yes to, no to, and unknown; the slots of outputs with few values; and of the
first numeric features the rows with a number, their fixed-point sum, and their
slots in coarse groups. Summed over the segments these are the counts of the whole.
Bounded: 20 segments, 8 outputs, 32 features, however many a model has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.coarse_slots import CoarseSlots
from sidecar.statistics.coding import STEPS, Codes
from sidecar.statistics.decision import UNKNOWN, Decision, Token
from sidecar.statistics.field_counter import FieldCounter, coded
from sidecar.statistics.field_path import parse_path
from sidecar.statistics.rows import Rows
from sidecar.statistics.section import checked, entries
from sidecar.statistics.slices import MISSING, OTHER, Slicing, Value, slicing
from sidecar.statistics.tally import Vector

MAX_OUTPUTS = 8
MAX_VALUES = 20
"""Of an output that is counted by segment."""
MAX_FEATURES = 32
ROWS, YES, NO, OPEN = range(4)
HEAD = 4
EXACT_ROWS = 1 << 22
"""Rows whose sums a double adds exactly: each is at most 2^30 steps, and a double holds integers to 2^53."""
FEATURE_HEAD = 2
"""A feature's rows with a number and their sum, before its coarse slots."""


class SegmentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of `segments`, as it is written."""

    name: str
    of: str
    edges: tuple[float, ...] = ()
    values: tuple[Value, ...] = ()


def parse_segments(section: object) -> tuple[SegmentSpec, ...]:
    """The section's entries. Raises ValueError: one line that names the entry and the key."""
    specs = entries(section, SegmentSpec, "segments")
    for number, spec in enumerate(specs):
        where = f"segments[{number}]"
        checked(spec.name and "/" not in spec.name, where, "name must be a text without '/'")
        try:
            parse_path(spec.of)
        except ValueError as error:
            raise ValueError(f"{where}: of: {error}") from error
    names = [spec.name for spec in specs]
    checked(len(set(names)) == len(names), "segments", "two entries have one name")
    return specs


@dataclass(frozen=True)
class Field:
    """A baseline's field under its path."""

    path: str
    baseline: FieldBaseline

    @cached_property
    def coarse(self) -> CoarseSlots:
        """Of a feature."""
        return CoarseSlots.of(self.baseline)

    @cached_property
    def _counter(self) -> FieldCounter:
        return FieldCounter(self.baseline)

    def coded(self, rows: Rows) -> tuple[Codes, Codes | None]:
        """Slot and fixed-point deviation of each row's value."""
        found = coded(rows, self.path, self._counter).main
        return found.codes, found.deviations


@dataclass(frozen=True)
class SegmentTally:
    """The counts of one entry: a row of numbers per segment."""

    name: str
    slices: Slicing
    decision: Decision | None
    outputs: tuple[Field, ...]
    features: tuple[Field, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The table's segments."""
        return (*self.slices.labels, OTHER, MISSING)

    @cached_property
    def width(self) -> int:
        """Numbers per segment."""
        return HEAD + sum(map(self._slots, self.outputs)) + sum(map(self._feature_width, self.features))

    @property
    def size(self) -> int:
        return self.slices.size * self.width

    @staticmethod
    def _slots(field: Field) -> int:
        """An output's known values, and one slot for all else."""
        return len(output_labels(field)) + 1

    @staticmethod
    def _feature_width(field: Field) -> int:
        return FEATURE_HEAD + len(field.coarse.labels)

    def count(self, rows: Rows) -> Vector:
        segments = self.slices.codes(rows)
        table = np.zeros((self.slices.size, self.width), dtype=np.int64)
        table[:, ROWS] = self._per_segment(segments)
        if self.decision is not None:
            answers = self.decision.answers(rows)
            for place, answer in ((YES, 1), (NO, 0), (OPEN, UNKNOWN)):
                table[:, place] = self._per_segment(segments[answers == answer])
        at = HEAD
        for output in self.outputs:
            slots = self._slots(output)
            codes, _ = output.coded(rows)
            table[:, at : at + slots] = self._by_slot(segments, np.minimum(codes, slots - 1), slots)
            at += slots
        for feature in self.features:
            codes, deviations = feature.coded(rows)
            coarse = feature.coarse
            if deviations is not None:
                present = coarse.present[codes]
                table[:, at] = self._per_segment(segments[present])
                table[:, at + 1] = self._sums(segments[present], deviations[present])
            at += FEATURE_HEAD
            slots = len(coarse.labels)
            table[:, at : at + slots] = self._by_slot(segments, coarse.group[codes], slots)
            at += slots
        return table.ravel()

    def _by_slot(self, segments: Vector, codes: Codes, slots: int) -> Vector:
        found = np.bincount(segments * slots + codes, minlength=self.slices.size * slots)
        return found.astype(np.int64, copy=False).reshape(-1, slots)

    def _per_segment(self, segments: Vector) -> Vector:
        return np.bincount(segments, minlength=self.slices.size).astype(np.int64, copy=False)

    def _sums(self, segments: Vector, steps: Codes) -> Vector:
        total = np.zeros(self.slices.size, dtype=np.int64)
        for start in range(0, len(steps), EXACT_ROWS):
            part = slice(start, start + EXACT_ROWS)
            sums = np.bincount(segments[part], weights=steps[part], minlength=self.slices.size)
            total += sums.astype(np.int64)
        return total

    def table(self, counts: Vector) -> Vector:
        """One row per segment."""
        return counts.reshape(self.slices.size, self.width)

    def rates(self, counts: Vector) -> list[float | None]:
        """Each segment's share of yes among its rows with a known decision."""
        known = self.table(counts)[:, YES] + self.table(counts)[:, NO]
        yes = self.table(counts)[:, YES]
        return [int(k) / int(n) if n else None for k, n in zip(yes, known, strict=True)]

    def output_places(self) -> Iterator[tuple[Field, int, int]]:
        """Each output, where its slots begin in a row, and how many there are."""
        at = HEAD
        for output in self.outputs:
            yield output, at, self._slots(output)
            at += self._slots(output)

    def feature_places(self) -> Iterator[tuple[Field, int]]:
        """Each feature and where its counts begin in a row: rows with a number, their sum, coarse slots."""
        at = HEAD + sum(map(self._slots, self.outputs))
        for feature in self.features:
            yield feature, at
            at += self._feature_width(feature)

    def mean_place(self, path: str) -> int | None:
        """Where a feature's count stands in a row, its sum right behind; None if it is not counted here."""
        return next((at for feature, at in self.feature_places() if feature.path == path), None)


@dataclass(frozen=True, slots=True)
class Contribution:
    """One segment's part in a move of the whole."""

    segment: str
    part: float
    """Adds up over the segments to the move of the whole: in shares, or in baseline standard deviations."""
    rows: int
    before: float | None
    after: float | None


def decision_contributions(tally: SegmentTally, before: Vector, after: Vector) -> list[Contribution]:
    """Which segments moved the share of yes, largest part first."""
    old, new = tally.table(before), tally.table(after)
    return _contributions(
        tally.labels, (old[:, YES], old[:, YES] + old[:, NO]), (new[:, YES], new[:, YES] + new[:, NO]), 1
    )


def mean_contributions(tally: SegmentTally, path: str, before: Vector, after: Vector) -> list[Contribution]:
    """Which segments moved a feature's mean, largest part first; none if the feature is not counted here."""
    place = tally.mean_place(path)
    if place is None:
        return []
    old, new = tally.table(before), tally.table(after)
    columns = [(part[:, place + 1], part[:, place]) for part in (old, new)]
    return _contributions(tally.labels, columns[0], columns[1], STEPS)


def _contributions(
    labels: Sequence[str], before: tuple[Vector, Vector], after: tuple[Vector, Vector], unit: int
) -> list[Contribution]:
    """Parts w'(m' − m) − w(m₀ − m): m the whole's mean before, w, w' a segment's weight, m₀, m' its means.

    A segment contributes by growing where its mean is far from the whole's, or
    by a mean of its own that moves.
    """
    (sums, rows), (sums_now, rows_now) = before, after
    if not rows.sum() or not rows_now.sum():
        return []
    middle = sums.sum() / unit / rows.sum()
    old = (sums / unit - rows * middle) / rows.sum()
    new = (sums_now / unit - rows_now * middle) / rows_now.sum()
    found = [
        Contribution(
            label,
            float(new[index] - old[index]),
            int(rows_now[index]),
            float(sums[index] / unit / rows[index]) if rows[index] else None,
            float(sums_now[index] / unit / rows_now[index]) if rows_now[index] else None,
        )
        for index, label in enumerate(labels)
    ]
    return sorted(found, key=lambda each: (-abs(each.part), each.segment))


def segment_tallies(
    specs: Sequence[SegmentSpec],
    decision: Decision | None,
    fields: Mapping[str, FieldBaseline],
    token: Token | None = None,
) -> list[SegmentTally]:
    """A tally per entry; `token` says what is counted in place of a concealed value. Raises ValueError."""
    known = [Field(path, field) for path, field in fields.items()]
    outputs = [
        each
        for each in known
        if each.path.startswith("outputs.") and 0 < len(output_labels(each)) <= MAX_VALUES
    ]
    features = [each for each in known if each.path.startswith("inputs.") and _is_numeric(each.baseline)]
    tallies = []
    for number, spec in enumerate(specs):
        where = f"segments[{number}] ({spec.name[:40]})"
        slices, rule = slicing([spec.of], fields, where, spec.edges, spec.values), decision
        if token is not None:
            slices, rule = slices.tokenised(token), decision and decision.tokenised(token)
        kept = (tuple(outputs[:MAX_OUTPUTS]), tuple(features[:MAX_FEATURES]))
        tallies.append(SegmentTally(f"segment/{spec.name}", slices, rule, *kept))
    return tallies


def output_labels(field: Field) -> tuple[str, ...]:
    """The values that an output is counted by; none of one that is not."""
    baseline = field.baseline
    if baseline.edges or baseline.kind not in ("numeric", "categorical", "boolean") or baseline.concealed:
        return ()
    return tuple(baseline.labels())


def _is_numeric(field: FieldBaseline) -> bool:
    return field.kind == "numeric" and field.own_slots > 0
