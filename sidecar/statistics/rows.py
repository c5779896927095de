"""Samples as columns: what every tally of a batch reads, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sidecar.records import Sample

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

    def column(self, path: str) -> list[Any]:
        """The values of `inputs.NAME` or `outputs.NAME`, one per row, null where a sample lacks the field.

        Raises ValueError for another path, and for a field without one value per instance.
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

    def _gather(self, path: str) -> list[Any]:
        side, _, name = path.partition(".")
        if side not in ("inputs", "outputs") or not name:
            raise ValueError(f"{path!r} is neither inputs.NAME nor outputs.NAME")
        values: list[Any] = []
        for sample, size in zip(self.decoded, self.sizes, strict=True):
            table = getattr(sample.observation, side)
            found = table.get(name)
            values.extend([None] * size if found is None else found)
        if len(values) != self.count:
            raise ValueError(f"field {path[:80]!r} has {len(values)} values for {self.count} instances")
        return values
