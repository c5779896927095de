"""Samples as columns: what every tally of a batch reads, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sidecar.records import Sample
from sidecar.statistics.exchange import exchange_values

T = TypeVar("T")


class Rows:
    """The instances of some samples, one row each, in the samples' order.

    A sample that was not decoded has no rows; it still counts as an exchange.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.decoded = [sample for sample in samples if sample.observation is not None]
        sizes = [sample.observation.instances for sample in self.decoded if sample.observation is not None]
        self.sizes = sizes
        """Rows of each decoded sample."""
        self.count = sum(sizes)
        """Rows in all."""
        self._columns: dict[str, list[Any]] = {}
        self._sample_of_row: npt.NDArray[np.int64] | None = None
        self._derived: dict[Hashable, Any] = {}

    @property
    def exchanges(self) -> int:
        """Samples, decoded or not."""
        return len(self.samples)

    @property
    def sample_of_row(self) -> npt.NDArray[np.int64]:
        """Index into `decoded` of each row's sample, shape (count,)."""
        if self._sample_of_row is None:
            self._sample_of_row = np.repeat(np.arange(len(self.sizes), dtype=np.int64), self.sizes)
        return self._sample_of_row

    def record_id(self, row: int) -> str:
        """The record that a row belongs to."""
        return self.decoded[int(self.sample_of_row[row])].record_id

    @property
    def answered(self) -> Rows:
        """The rows of the samples that have outputs; these very rows if all have."""

        def make() -> Rows:
            with_outputs = [
                sample for sample in self.decoded if sample.observation and sample.observation.outputs
            ]
            return self if len(with_outputs) == len(self.decoded) else Rows(with_outputs)

        return self.derived("answered", make)

    @property
    def times_us(self) -> npt.NDArray[np.int64]:
        """Wall clock of each row's exchange, shape (count,)."""

        def make() -> npt.NDArray[np.int64]:
            times = np.array([sample.t_us for sample in self.decoded], dtype=np.int64)
            return np.repeat(times, self.sizes)

        return self.derived("times_us", make)

    def column(self, path: str) -> list[Any]:
        """The values of `inputs.NAME`, `outputs.NAME` or `exchange.NAME`, one per row.

        Null where a sample lacks the field. Raises ValueError for another path,
        and for a field without one value per instance.
        """
        known = self._columns.get(path)
        if known is None:
            known = self._columns[path] = self._gather(path)
        return known

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave when it was first asked for under `key`: several tallies read one decision."""
        if key not in self._derived:
            self._derived[key] = make()
        known: T = self._derived[key]
        return known

    def table(self, side: str) -> list[dict[str, list[Any]]]:
        """The `inputs` or `outputs` of each decoded sample."""
        return self.derived(
            ("table", side), lambda: [getattr(each.observation, side) for each in self.decoded]
        )

    def _gather(self, path: str) -> list[Any]:
        side, _, name = path.partition(".")
        if side not in ("inputs", "outputs", "exchange") or not name:
            raise ValueError(f"{path!r} is none of inputs.NAME, outputs.NAME and exchange.NAME")
        if side == "exchange":
            each = exchange_values(name, self.decoded)
            return each if len(each) == self.count else [each[at] for at in self.sample_of_row]
        tables = self.table(side)
        try:
            values = list(chain.from_iterable(map(itemgetter(name), tables)))
        except KeyError:
            values = []
            for table, size in zip(tables, self.sizes, strict=True):
                found = table.get(name)
                values.extend([None] * size if found is None else found)
        if len(values) != self.count:
            raise ValueError(f"field {name[:80]!r} has {len(values)} values for {self.count} instances")
        return values


def check_columns(sample: Sample) -> None:
    """Raises ValueError for a field without one value per instance."""
    observation = sample.observation
    if observation is None:
        return
    tables: Sequence[Mapping[str, list[Any]]] = (observation.inputs, observation.outputs)
    for table in tables:
        for name, column in table.items():
            if len(column) != observation.instances:
                raise ValueError(
                    f"field {name[:80]!r} has {len(column)} values for {observation.instances} instances"
                )
