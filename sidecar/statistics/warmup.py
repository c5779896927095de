"""Exchanges kept as values until there are enough to freeze a baseline: the first ones, or a whole file's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np

from sidecar.records import Sample
from sidecar.statistics import images, text, vectors
from sidecar.statistics.baseline import MAX_TEXT, Baseline, category
from sidecar.statistics.exchange import WATCHED, exchange_values
from sidecar.statistics.facts import BriefImage, Briefs, BriefText, BriefVector
from sidecar.statistics.founding import Side, found_baseline

MAX_INPUTS: Final = 500
MAX_OUTPUTS: Final = 50
MAX_NAME: Final = 512
"""Characters; a field with a longer name is not watched."""
MAX_CELLS: Final = 1_000_000
"""Values held at most; a baseline of fewer exchanges is frozen then."""
MAX_VECTOR_BYTES: Final = 4 << 20
"""Of the elements of arrays in one side; further arrays are known by their lengths alone."""
PATIENCE: Final = 4
"""Times the wanted number of exchanges after which the baseline is frozen even if few were answered."""

Value = Briefs | str | int | float | bool | None


class Columns(msgspec.Struct):
    """Values by field, one per row, null where an exchange lacked the field."""

    limit: int
    wanted: list[str] = []
    """Only these; empty: the first ones that come."""
    rows: int = 0
    values: dict[str, list[Value]] = {}
    unwatched: int = 0
    """Values of fields beyond the limit."""
    vector_bytes: int = 0

    def add(self, table: dict[str, list[Any]], size: int) -> None:
        """Appends `size` rows."""
        for name, column in table.items():
            kept = self.values.get(name)
            if kept is None:
                beyond = self.wanted and name not in self.wanted
                if beyond or len(self.values) >= self.limit or len(name) > MAX_NAME:
                    self.unwatched += size
                    continue
                kept = self.values[name] = [None] * self.rows
            kept.extend(map(self._brief, column))
        self.rows += size
        for kept in self.values.values():
            if len(kept) < self.rows:
                kept.extend([None] * (self.rows - len(kept)))

    @property
    def cells(self) -> int:
        return self.rows * len(self.values)

    def _brief(self, value: Any) -> Value:
        """`value` in bounded memory."""
        kind = type(value)
        if kind is str:
            return brief_text(value)
        if kind is list:
            brief = vectors.packed(value)
            if self.vector_bytes + len(brief.packed) > MAX_VECTOR_BYTES:
                return BriefVector(brief.length)
            self.vector_bytes += len(brief.packed)
            return brief
        if kind is int and not -(1 << 63) <= value < 1 << 63:
            return float(value) if value.bit_length() < 1023 else float("inf" if value > 0 else "-inf")
        known: Value = value
        return known


def brief_text(value: str) -> Value:
    """A text as it is if it is short, else what a baseline needs of it."""
    if len(value) <= MAX_TEXT:
        # Strings that JSON can hold and UTF-8 cannot: the state could not be written.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    found = images.measured(value)
    if found is not None:
        return BriefImage(*found)
    return BriefText(category(value), text.measured([value])[0].tolist())


class Warmup(msgspec.Struct):
    """What the baseline will be made of."""

    wanted: int
    inputs: Columns
    outputs: Columns
    exchanges: int = 0
    answered: int = 0
    """Exchanges with outputs."""
    times_us: list[int] = []
    """Of every exchange, decoded or not."""
    sizes: list[int] = []
    """Rows of each; -1 if it was not decoded."""
    answers: list[bool] = []
    results: list[list[Value]] = []
    """Per exchange, the values of `exchange.WATCHED`."""

    @classmethod
    def begin(cls, wanted: int, inputs: Iterable[str] = (), outputs: Iterable[str] = ()) -> Warmup:
        """Nothing yet. Where fields are named, they are the only ones of their side; else the first come."""
        return cls(wanted, Columns(MAX_INPUTS, sorted(inputs)), Columns(MAX_OUTPUTS, sorted(outputs)))

    def add(self, sample: Sample) -> bool:
        """Takes one exchange in; True once there is enough.

        Exchanges without outputs (errors) do not count towards the wanted number,
        as they say nothing about decisions; but the wait for answers has an end.
        """
        observation = sample.observation
        self.exchanges += 1
        self.times_us.append(sample.t_us)
        self.results.append([exchange_values(name, [sample])[0] for name in WATCHED])
        self.answers.append(bool(observation and observation.outputs))
        self.sizes.append(observation.instances if observation else -1)
        if observation is not None:
            self.inputs.add(observation.inputs, observation.instances)
            if observation.outputs:
                self.outputs.add(observation.outputs, observation.instances)
                self.answered += 1
        return (
            self.answered >= self.wanted
            or self.exchanges >= PATIENCE * self.wanted
            or self.inputs.cells + self.outputs.cells >= MAX_CELLS
        )

    def freeze(
        self,
        coarse: bool = False,
        pane_us: int = 0,
        source: str = "first exchanges",
        epochs: Mapping[str, str] = MappingProxyType({}),
        by_hour: bool = False,
    ) -> Baseline:
        """The baseline made of what was taken in; arguments as `found_baseline` takes them."""
        sizes = np.maximum(np.array(self.sizes, dtype=np.int64), 0)
        times = np.array(self.times_us, dtype=np.int64)
        answers = np.array(self.answers, dtype=bool)
        exchange = {name: [row[at] for row in self.results] for at, name in enumerate(WATCHED)}
        return found_baseline(
            Side(self.inputs.values, np.repeat(times, sizes)),
            Side(self.outputs.values, np.repeat(times[answers], sizes[answers])),
            answered=np.repeat(answers, sizes),
            exchange=Side(exchange, times),
            coarse=coarse,
            pane_us=pane_us,
            source=source,
            epochs=epochs,
            by_hour=by_hour,
        )
