"""The first exchanges, kept as values until there are enough to freeze a baseline."""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.records import Observation
from sidecar.statistics.baseline import Baseline, category, freeze_field
from sidecar.statistics.layout import counted

MAX_INPUTS = 500
MAX_OUTPUTS = 50
MAX_NAME = 512
"""Characters; a field with a longer name is not watched."""
MAX_CELLS = 1_000_000
"""Values held at most; a baseline of fewer exchanges is frozen then."""
PATIENCE = 4
"""Times the wanted number of exchanges after which the baseline is frozen even if few were answered."""


class Columns(msgspec.Struct):
    """Values by field, one per row, null where an exchange lacked the field."""

    limit: int
    rows: int = 0
    values: dict[str, list[Any]] = {}
    unwatched: int = 0
    """Values of fields beyond the limit."""

    def add(self, table: dict[str, list[Any]], size: int) -> None:
        """Appends `size` rows."""
        for name, column in table.items():
            kept = self.values.get(name)
            if kept is None:
                if len(self.values) >= self.limit or len(name) > MAX_NAME:
                    self.unwatched += size
                    continue
                kept = self.values[name] = [None] * self.rows
            kept.extend(map(_compact, column))
        self.rows += size
        for kept in self.values.values():
            if len(kept) < self.rows:
                kept.extend([None] * (self.rows - len(kept)))

    @property
    def cells(self) -> int:
        return self.rows * len(self.values)


class Warmup(msgspec.Struct):
    """What the baseline will be made of."""

    wanted: int
    inputs: Columns = msgspec.field(default_factory=lambda: Columns(MAX_INPUTS))
    outputs: Columns = msgspec.field(default_factory=lambda: Columns(MAX_OUTPUTS))
    exchanges: int = 0
    answered: int = 0

    def add(self, observation: Observation) -> bool:
        """Takes one exchange in; True once there is enough.

        Exchanges without outputs (errors) do not count towards the wanted number,
        as they say nothing about decisions; but the wait for answers has an end.
        """
        self.inputs.add(observation.inputs, observation.instances)
        self.exchanges += 1
        if observation.outputs:
            self.outputs.add(observation.outputs, observation.instances)
            self.answered += 1
        return (
            self.answered >= self.wanted
            or self.exchanges >= PATIENCE * self.wanted
            or self.inputs.cells + self.outputs.cells >= MAX_CELLS
        )

    def freeze(self) -> Baseline:
        """The baseline made of what was taken in."""
        frozen = []
        for columns in (self.inputs, self.outputs):
            values = [list(map(_expanded, column)) for column in columns.values.values()]
            fields = list(map(freeze_field, columns.values, values))
            frozen.append(counted(fields, values))
        return Baseline(self.exchanges, self.inputs.rows, self.outputs.rows, frozen[0], frozen[1])


def _compact(value: Any) -> Any:
    """`value` in bounded memory; of an array only the length, in a list."""
    if type(value) is str:
        return category(value)
    if type(value) is list:
        return [len(value)]
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        return float("inf") if value.bit_length() > 1023 else float(value)
    return value


def _expanded(value: Any) -> Any:
    """A value as coders take it: a range stands for an array of its length."""
    return range(value[0]) if type(value) is list else value
