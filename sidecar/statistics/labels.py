"""What the model said beside what turned out to be true: counts that add, and the figures behind them.

    labels: {outcome: "outputs.predict[0]", positive: 1, score: "outputs.proba[1]", by: inputs.black}

One of three things is told: `positive` (two classes: confusion matrix, and with
a score a histogram per class), `classes` (several: who was taken for whom), or
`unit` (a number: sums of errors in units of `unit`). `by` tells groups apart,
by a path in the record or by `attributes.NAME` of the label itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.statistics.coding import REACH, STEPS
from sidecar.statistics.field_path import numbers_of, parse_path
from sidecar.statistics.section import checked, entry
from sidecar.statistics.slices import MAX_SLICES, MISSING, OTHER, Value, label_of
from sidecar.statistics.tally import Vector

BINS = 50
"""Of a score between 0 and 1."""
ATTRIBUTES = "attributes."
TP, FP, FN, TN, NO_PREDICTION, NO_LABEL_YES, NO_LABEL_NO = range(7)
BINARY = 7
RIGHT, WRONG, UNKNOWN = range(3)
ERRORS = 5
"""Rows, rows without a number, sums of the error, of its size, of its square."""

Kind = Literal["binary", "classes", "number"]
Figure = Literal[
    "accuracy", "error_rate", "precision", "recall", "false_positive_rate", "false_negative_rate"
]  # fmt: skip
OF_CLASSES: tuple[Figure, ...] = ("accuracy", "error_rate")
MAX_BANDS = 50


class LabelBand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A figure that is to stay within bounds, of all rows or of one group."""

    figure: Figure
    low: float = 0.0
    high: float = 1.0
    group: Value | None = None

    @property
    def name(self) -> str:
        """What its quantity is called."""
        group = label_of(self.group)
        return f"labels/{self.figure}" + ("" if group is None else f"/{group}")


class LabelsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The section `labels`, as it is written."""

    outcome: str
    positive: Value | None = None
    classes: tuple[Value, ...] = ()
    unit: float | None = None
    score: str | None = None
    by: str | None = None
    groups: tuple[Value, ...] = ()
    bands: tuple[LabelBand, ...] = ()

    @property
    def kind(self) -> Kind:
        if self.classes:
            return "classes"
        return "number" if self.unit is not None else "binary"


def parse_labels(section: object) -> LabelsSpec | None:
    """The section; None if there is none. Raises ValueError: one line that names the key."""
    if section is None:
        return None
    spec = entry(section, LabelsSpec, "labels")
    told = (spec.positive is not None, bool(spec.classes), spec.unit is not None)
    checked(sum(told) == 1, "labels", "give one of positive (two classes), classes, or unit (a number)")
    checked(spec.unit is None or (isfinite(spec.unit) and spec.unit > 0), "labels", "unit must be above 0")
    checked(len(spec.classes) != 1, "labels", "one class is none: give positive for two classes")
    for words, values in (("classes", spec.classes), ("groups", spec.groups)):
        checked(len(values) <= MAX_SLICES, "labels", f"{len(values)} {words}; at most {MAX_SLICES}")
    _check_bands(spec)
    checked(bool(spec.by) or not spec.groups, "labels", "groups are for 'by'")
    checked(bool(spec.groups) or not spec.by, "labels", "by: also give groups, the values told apart")
    paths = [spec.outcome, spec.score, None if _is_attribute(spec.by) else spec.by]
    for path in paths:
        try:
            _ = parse_path(path) if path else None
        except ValueError as error:
            raise ValueError(f"labels: {error}") from error
    return spec


def _check_bands(spec: LabelsSpec) -> None:
    checked(len(spec.bands) <= MAX_BANDS, "labels: bands", f"{len(spec.bands)}; at most {MAX_BANDS}")
    names = [band.name for band in spec.bands]
    groups = {label_of(group) for group in spec.groups}
    for number, band in enumerate(spec.bands):
        where = f"labels: bands[{number}]"
        checked(spec.kind != "number", where, "is for shares: a number's errors have none")
        checked(
            spec.kind == "binary" or band.figure in OF_CLASSES,
            where,
            f"{band.figure} is of two classes: of several take {' or '.join(OF_CLASSES)}",
        )
        checked(0.0 <= band.low < band.high <= 1.0, where, "low must be below high, both from 0 to 1")
        checked(band.low > 0.0 or band.high < 1.0, where, "give low or high: from 0 to 1 is every share")
        checked(band.group is None or label_of(band.group) in groups, where, "its group is none of 'groups'")
        checked(names.count(band.name) == 1, where, f"{band.name} is named twice")


@dataclass(frozen=True, slots=True)
class Judged:
    """One instance of a record with its label."""

    prediction: Any
    label: Any
    """None where only attributes are known."""
    score: Any = None
    group: Any = None


class LabelTally:
    """The counts under one specification: additive over instances, panes and pods."""

    def __init__(self, spec: LabelsSpec) -> None:
        self.spec = spec
        self.groups = tuple(label_of(value) or "" for value in spec.groups)
        self.classes = tuple(label_of(value) or "" for value in spec.classes)
        self._positive = label_of(spec.positive)
        self._width = {"binary": BINARY, "classes": 3, "number": ERRORS}[spec.kind]
        self._groups = len(self.groups) + 2
        self._head = self._groups * self._width
        own = {"binary": 3 * BINS if spec.score else 0, "classes": (len(self.classes) + 1) ** 2, "number": 0}
        self.size = self._head + own[spec.kind]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the groups."""
        return (*self.groups, OTHER, MISSING)

    def group(self, value: Value) -> int:
        """The row of `table` that a group has."""
        return self.groups.index(label_of(value) or "")

    def empty(self) -> Vector:
        """No counts."""
        return np.zeros(self.size, dtype=np.int64)

    def count(self, judged: Sequence[Judged]) -> Vector:
        """The counts of these instances."""
        counts = self.empty()
        groups = self._group_codes(judged)
        if self.spec.kind == "number":
            self._count_numbers(judged, groups, counts)
        elif self.spec.kind == "classes":
            self._count_classes(judged, groups, counts)
        else:
            self._count_binary(judged, groups, counts)
        return counts

    def table(self, counts: Vector) -> npt.NDArray[np.int64]:
        """A row of numbers per group."""
        return counts[: self._head].reshape(self._groups, self._width)

    def _group_codes(self, judged: Sequence[Judged]) -> Vector:
        known = {label: code for code, label in enumerate(self.groups)}
        other = len(known)
        labels = (label_of(each.group) for each in judged)
        codes = [other + 1 if label is None else known.get(label, other) for label in labels]
        return np.array(codes, dtype=np.int64)

    def _add(self, counts: Vector, groups: Vector, parts: Vector) -> None:
        places = groups * self._width + parts
        counts[: self._head] += np.bincount(places, minlength=self._head)

    def _count_binary(self, judged: Sequence[Judged], groups: Vector, counts: Vector) -> None:
        positive, parts = self._positive, []
        for each in judged:
            said, true = label_of(each.prediction), label_of(each.label)
            if said is None:
                parts.append(NO_PREDICTION)
            elif true is None:
                parts.append(NO_LABEL_YES if said == positive else NO_LABEL_NO)
            elif said == positive:
                parts.append(TP if true == positive else FP)
            else:
                parts.append(FN if true == positive else TN)
        self._add(counts, groups, np.array(parts, dtype=np.int64))
        if not self.spec.score:
            return
        scores = numbers_of([each.score for each in judged])
        truths = np.array([label_of(each.label) == positive for each in judged], dtype=bool)
        usable = np.array([label_of(each.label) is not None for each in judged], dtype=bool)
        usable &= (scores >= 0) & (scores <= 1)
        bins = np.minimum((scores[usable] * BINS).astype(np.int64), BINS - 1)
        histogram = counts[self._head :].reshape(3, BINS)
        histogram[0] += np.bincount(bins[~truths[usable]], minlength=BINS)
        histogram[1] += np.bincount(bins[truths[usable]], minlength=BINS)
        steps = np.rint(scores[usable] * STEPS).astype(np.int64)
        np.add.at(histogram[2], bins, steps)

    def _count_classes(self, judged: Sequence[Judged], groups: Vector, counts: Vector) -> None:
        known = {label: code for code, label in enumerate(self.classes)}
        other = len(known)
        width = other + 1
        confusion = counts[self._head :]
        parts = []
        for each in judged:
            said, true = label_of(each.prediction), label_of(each.label)
            if said is None or true is None:
                parts.append(UNKNOWN)
                continue
            parts.append(RIGHT if said == true else WRONG)
            confusion[known.get(true, other) * width + known.get(said, other)] += 1
        self._add(counts, groups, np.array(parts, dtype=np.int64))

    def _count_numbers(self, judged: Sequence[Judged], groups: Vector, counts: Vector) -> None:
        said = numbers_of([each.prediction for each in judged])
        true = numbers_of([each.label for each in judged])
        with np.errstate(over="ignore"):
            errors = np.clip((said - true) / (self.spec.unit or 1.0), -REACH, REACH)
        known = ~np.isnan(errors)
        errors, of = errors[known], groups[known]
        table = self.table(counts)
        table[:, 0] += np.bincount(of, minlength=self._groups)
        table[:, 1] += np.bincount(groups[~known], minlength=self._groups)
        for place, values in ((2, errors), (3, np.abs(errors)), (4, errors * errors)):
            np.add.at(table[:, place], of, np.rint(values * STEPS).astype(np.int64))


def _is_attribute(path: str | None) -> bool:
    return path is not None and path.startswith(ATTRIBUTES)
