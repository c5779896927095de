"""Glue: baselines by hour of the week: whether there are weeks enough, what they cost, what is taken."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sidecar.errors import UsageError
from sidecar.records import Sample
from sidecar.statistics.baseline import Baseline, FieldBaseline
from sidecar.statistics.hours import HOUR_US, HOURS, LEAST_CYCLES, MOST_BYTES, cycles, hours_of
from sidecar.statistics.warmup import MAX_CELLS

Times = npt.NDArray[np.int64]


def check_pane(pane_us: int) -> None:
    """Raises UsageError for panes that lie in two hours."""
    if not pane_us or HOUR_US % pane_us:
        raise UsageError("--by hour-of-week: --pane must divide an hour, as 60s does")


def check_times(times_us: Times | None) -> Times:
    """The times. Raises UsageError where these rows are no three weeks, or have no time."""
    if times_us is None:
        raise UsageError("--by hour-of-week: the rows have no times: name their column with --time")
    found = cycles(times_us)
    if found < LEAST_CYCLES:
        raise UsageError(
            f"--by hour-of-week: {found} whole {'week is' if found == 1 else 'weeks are'} there, of "
            f"{LEAST_CYCLES} that it takes to know how much weeks differ: widen the span, or leave --by"
        )
    return times_us


def check_size(made: Baseline) -> None:
    """Raises UsageError for one whose counts by hour would take too much of a model's memory."""
    size = sum(len(each.hours) for each in _fields(made))
    size += sum(len(each.hours) for each in made.projections) + sum(len(each.hours) for each in made.pairs)
    if size > MOST_BYTES:
        raise UsageError(
            f"--by hour-of-week: its counts take {size >> 10} KiB, {MOST_BYTES >> 10} are the most: "
            "leave fields out with --drop, or --by"
        )


def _fields(made: Baseline) -> Iterator[FieldBaseline]:
    for field in (*made.inputs, *made.outputs, *made.exchange):
        yield field
        yield from field.aspects


def thin_hours(times_us: Times) -> int:
    """Hours of the week that have traffic in fewer than three weeks."""
    seen = np.unique(times_us // HOUR_US)
    weeks = np.bincount(hours_of(seen * HOUR_US), minlength=HOURS)
    return int((weeks < LEAST_CYCLES).sum())


class SomePanes:
    """Exchanges of whole panes spread over all that was offered, in bounded memory."""

    def __init__(self, most: int, pane_us: int) -> None:
        self._most, self._pane_us = most, pane_us
        self._stride = 1
        self._cells = 0
        self.samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Takes it, or leaves it and others out."""
        if not self._takes(sample):
            return
        self.samples.append(sample)
        self._cells += _cells(sample)
        while (len(self.samples) > self._most or self._cells > MAX_CELLS) and self._stride < 1 << 20:
            self._stride *= 2
            self.samples = [each for each in self.samples if self._takes(each)]
            self._cells = sum(map(_cells, self.samples))

    def _takes(self, sample: Sample) -> bool:
        pane = (sample.t_us // self._pane_us).to_bytes(8, "little", signed=True)
        return zlib.crc32(pane) % self._stride == 0


def _cells(sample: Sample) -> int:
    seen = sample.observation
    return 0 if seen is None else seen.instances * (len(seen.inputs) + len(seen.outputs))
