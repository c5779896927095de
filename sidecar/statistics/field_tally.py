"""A field's part of a pane: its slots, what was invalid, its sum, and the same of its aspects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import DETAILS, OVER, TAIL_LABELS, UNDER, FieldBaseline
from sidecar.statistics.coding import Coded
from sidecar.statistics.exchange import exchange_values
from sidecar.statistics.field_counter import Counted, FieldCounter
from sidecar.statistics.quantity import Distribution
from sidecar.statistics.rows import Rows
from sidecar.statistics.tally import Vector

EXCHANGES, ROWS, ANSWERED_ROWS, UNWATCHED_INPUTS, UNWATCHED_OUTPUTS = range(5)
HEAD = 5

Coding = Callable[[Rows, str], Counted]
"""The coded column of a path, made once per batch."""


@dataclass(frozen=True)
class HeadTally:
    """Exchanges, rows, rows with an answer, values of inputs and of outputs that are not watched."""

    inputs: frozenset[str]
    outputs: frozenset[str]
    name: str = "exchanges"
    size: int = HEAD

    def count(self, rows: Rows) -> Vector:
        counts = np.zeros(HEAD, dtype=np.int64)
        counts[EXCHANGES], counts[ROWS], counts[ANSWERED_ROWS] = (
            rows.exchanges,
            rows.count,
            rows.answered.count,
        )
        counts[UNWATCHED_INPUTS] = _unwatched(rows, "inputs", self.inputs)
        counts[UNWATCHED_OUTPUTS] = _unwatched(rows.answered, "outputs", self.outputs)
        return counts


def _unwatched(rows: Rows, side: str, watched: frozenset[str]) -> int:
    tables = rows.table(side)
    first = tables[0].keys() if tables else None
    if first is not None and first <= watched and all(table.keys() == first for table in tables):
        return 0
    return sum(len(table.keys() - watched) * size for table, size in zip(tables, rows.sizes, strict=True))


@dataclass(frozen=True)
class Span:
    """Where one field or aspect stands in a vector."""

    label: str
    """`inputs.note`, `inputs.note#length`."""
    field: FieldBaseline
    start: int

    @property
    def sum_at(self) -> int:
        """The place of the fixed-point sum, after slots and details."""
        return self.start + len(self.field.counts) + DETAILS

    def slots(self, vector: Vector) -> Vector:
        return vector[self.start : self.start + len(self.field.counts)]

    def details(self, vector: Vector) -> Vector:
        return vector[self.sum_at - DETAILS : self.sum_at]

    def quantity(self, weight: float) -> Distribution:
        field = self.field
        ordered = len(field.edges) - 1 if field.edges else len(field.numbers)
        middles = [(low + high) / 2 for low, high in zip(field.edges[:-1], field.edges[1:], strict=True)]
        values = field.numbers or middles
        return Distribution(
            self.label,
            self.start,
            tuple(field.reference()),
            (*field.labels(), *TAIL_LABELS),
            ordered=max(0, ordered),
            centres=tuple((value - field.mean) / field.scale for value in values),
            spread=field.spread,
            weight=weight,
            under=field.own_slots + UNDER if ordered > 0 else None,
            over=field.own_slots + OVER if ordered > 0 else None,
            mean=field.mean if ordered > 0 else None,
            unit=field.scale,
            title=_title(self.label),
            hours=field.hours,
        )


def _title(label: str) -> str:
    """What people call it: `income`, `note (length)`, `latency_ms`."""
    name, _, aspect = label.partition(".")[2].rpartition("#")
    return f"{name} ({aspect})" if name else aspect


def width(field: FieldBaseline) -> int:
    """Integers that one field or aspect takes."""
    return len(field.counts) + DETAILS + 1


@dataclass(frozen=True)
class FieldTally:
    """The counts of one field and its aspects, one after the other: slots, details, fixed-point sum."""

    path: str
    field: FieldBaseline
    coding: Coding

    @property
    def name(self) -> str:
        return self.path

    @property
    def size(self) -> int:
        return width(self.field) + sum(map(width, self.field.aspects))

    def count(self, rows: Rows) -> Vector:
        side = rows.answered if self.path.startswith("outputs.") else rows
        found = self.coding(side, self.path)
        counts = np.empty(self.size, dtype=np.int64)
        at = _put(counts, 0, self.field, found.main)
        for aspect, coded in zip(self.field.aspects, found.aspects, strict=True):
            at = _put(counts, at, aspect, coded)
        return counts

    def spans(self, start: int) -> list[Span]:
        """The field, then its aspects, in a vector in which this tally begins at `start`."""
        found = []
        for field in (self.field, *self.field.aspects):
            label = f"{self.path}#{field.aspect}" if field.aspect else self.path
            found.append(Span(label, field, start))
            start += width(field)
        return found


def _put(counts: npt.NDArray[np.int64], at: int, field: FieldBaseline, coded: Coded) -> int:
    slots = len(field.counts)
    counts[at : at + slots] = np.bincount(coded.codes, minlength=slots)
    at += slots
    counts[at : at + DETAILS] = 0 if coded.details is None else coded.details
    at += DETAILS
    counts[at] = 0 if coded.deviations is None else coded.deviations.sum()
    return at + 1


@dataclass(frozen=True)
class ExchangeTally:
    """The counts of one value per exchange, decoded or not."""

    path: str
    field: FieldBaseline
    counter: FieldCounter

    @property
    def name(self) -> str:
        return self.path

    @property
    def size(self) -> int:
        return width(self.field)

    def count(self, rows: Rows) -> Vector:
        counts = np.empty(self.size, dtype=np.int64)
        values = exchange_values(self.path.removeprefix("exchange."), rows.samples)
        _put(counts, 0, self.field, self.counter.counted(values).main)
        return counts

    def spans(self, start: int) -> list[Span]:
        return [Span(self.path, self.field, start)]
