"""Where each count stands in a pane: one vector of 64-bit integers per baseline.

The vector holds exchanges, rows and answered rows, then a fixed-point sum per
field, then every field's slots, inputs before outputs. Two vectors under one
baseline add.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.records import Observation
from sidecar.statistics.baseline import Baseline, FieldBaseline
from sidecar.statistics.coding import FieldCoder

Vector = npt.NDArray[np.int64]

EXCHANGES, ROWS, ANSWERED_ROWS, UNWATCHED_INPUTS, UNWATCHED_OUTPUTS = range(5)
HEAD = 5


class Layout:
    """The places of one baseline's fields, and the way to count observations into them."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self.fields = [*baseline.inputs, *baseline.outputs]
        self._inputs = [FieldCoder(field) for field in baseline.inputs]
        self._outputs = [FieldCoder(field) for field in baseline.outputs]
        first = HEAD + len(self.fields)
        sizes = [len(field.counts) for field in self.fields]
        self._starts = [first + sum(sizes[:index]) for index in range(len(sizes))]
        self.size = first + sum(sizes)

    def empty(self) -> Vector:
        """A vector of zeros."""
        return np.zeros(self.size, dtype=np.int64)

    def slots(self, vector: Vector, index: int) -> Vector:
        """The slots of field `index`."""
        start = self._starts[index]
        return vector[start : start + len(self.fields[index].counts)]

    def fixed_sum(self, vector: Vector, index: int) -> int:
        """The fixed-point sum of field `index`."""
        return int(vector[HEAD + index])

    def count(self, observations: Sequence[Observation]) -> Vector:
        """The vector of these observations."""
        answered = [observation for observation in observations if observation.outputs]
        sizes = [observation.instances for observation in observations]
        answered_sizes = [observation.instances for observation in answered]
        inputs = [observation.inputs for observation in observations]
        outputs = [observation.outputs for observation in answered]
        codes: list[Vector] = []
        sums: list[int] = []
        spare = self._code(self._inputs, inputs, sizes, codes, sums)
        spare_outputs = self._code(self._outputs, outputs, answered_sizes, codes, sums)
        if codes:
            vector = np.bincount(np.concatenate(codes), minlength=self.size).astype(np.int64, copy=False)
        else:
            vector = self.empty()
        vector[:HEAD] = (len(observations), sum(sizes), sum(answered_sizes), spare, spare_outputs)
        vector[HEAD : HEAD + len(sums)] = sums
        return vector

    def _code(
        self,
        coders: list[FieldCoder],
        tables: list[dict[str, list[Any]]],
        sizes: list[int],
        codes: list[Vector],
        sums: list[int],
    ) -> int:
        """Appends each field's codes and sum; returns how many values of unwatched fields there were."""
        rows = sum(sizes)
        starts = self._starts[len(sums) :]
        complete = True
        for coder, start in zip(coders, starts, strict=False):
            name = coder.field.name
            try:
                values = list(chain.from_iterable(map(itemgetter(name), tables)))
            except KeyError:
                complete = False
                values = _with_nulls(name, tables, sizes)
            if len(values) != rows:
                raise ValueError(f"field {name[:80]!r} has {len(values)} values for {rows} instances")
            coded, total = coder.code(values)
            codes.append(coded + start)
            sums.append(total)
        if complete and sum(map(len, tables)) == len(coders) * len(tables):
            return 0
        watched = {coder.field.name for coder in coders}
        return sum(
            sum(1 for name in table if name not in watched) * size
            for table, size in zip(tables, sizes, strict=True)
        )


def _with_nulls(name: str, tables: list[dict[str, list[Any]]], sizes: list[int]) -> list[Any]:
    values: list[Any] = []
    for table, size in zip(tables, sizes, strict=True):
        values.extend(table[name] if name in table else [None] * size)
    return values


def counted(baseline_fields: list[FieldBaseline], columns: Sequence[Sequence[Any]]) -> list[FieldBaseline]:
    """The fields with the counts of these columns filled in, by the code that later counts traffic."""
    filled = []
    for field, column in zip(baseline_fields, columns, strict=True):
        codes, _ = FieldCoder(field).code(column)
        counts = np.bincount(codes, minlength=len(field.counts)).tolist()
        filled.append(
            FieldBaseline(
                field.name,
                field.kind,
                field.edges,
                field.numbers,
                field.categories,
                field.rest,
                counts,
                field.mean,
                field.scale,
            )
        )
    return filled
