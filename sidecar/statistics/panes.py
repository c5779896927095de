"""Counts by time: open panes, and closed ones folded into minutes, hours and days, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sidecar.statistics.tally import Vector

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
LEVELS = (("minutes", 60 * SECOND_US, 180), ("hours", HOUR_US, 72), ("days", 24 * HOUR_US, 400))
"""Name, length and how many are kept, as far as the memory allows."""
MAX_FOLD_BYTES = 384 * 1024
"""Of all folds together, packed; beyond it the oldest minutes go first, then hours, then days."""
HOT = 1
"""Vectors of one series that are held unpacked."""
HOT_OPEN = 2
"""Of open panes: where one ends, traffic goes to two."""


@dataclass(frozen=True, slots=True)
class ClosedPane:
    """A pane that will not change any more, or what came too late for one."""

    start_us: int
    span_us: int
    late: bool
    """If so, these are exchanges of that hour that came behind the watermark."""
    exchanges: int
    vector: Vector
    exemplars: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Records to look at, of the quantities that look like moving."""


def packed(vector: Vector) -> bytes:
    """The counts in few bytes; exact."""
    return zlib.compress(vector.astype("<i8", copy=False).tobytes(), 1)


def unpacked(data: bytes, size: int) -> Vector:
    """What was packed. Raises ValueError unless it is `size` counts."""
    try:
        plain = zlib.decompress(data)
    except zlib.error as error:
        raise ValueError(f"counts cannot be read: {error}") from error
    if len(plain) != 8 * size:
        raise ValueError(f"{len(plain) // 8} counts where the plan has {size}")
    return np.frombuffer(plain, dtype="<i8").astype(np.int64)


class Series:
    """Vectors by start, packed but for the few that were touched last."""

    def __init__(self, size: int, hot: int = HOT) -> None:
        self._size = size
        self._most_hot = hot
        self._packed: dict[int, bytes] = {}
        self._hot: dict[int, Vector] = {}

    def __len__(self) -> int:
        return len(self._packed) + len(self._hot)

    def __contains__(self, start: int) -> bool:
        return start in self._hot or start in self._packed

    def starts(self) -> list[int]:
        """Ascending."""
        return sorted([*self._packed, *self._hot])

    @property
    def held_bytes(self) -> int:
        """About what is held."""
        return sum(map(len, self._packed.values())) + 8 * self._size * len(self._hot)

    def add(self, start: int, vector: Vector) -> None:
        """Adds to the vector at `start`."""
        known = self._hot.pop(start, None)
        if known is None:
            data = self._packed.pop(start, None)
            known = np.zeros(self._size, dtype=np.int64) if data is None else unpacked(data, self._size)
        known += vector
        self._hot[start] = known
        while len(self._hot) > self._most_hot:
            oldest = next(iter(self._hot))
            self._packed[oldest] = packed(self._hot.pop(oldest))

    def get(self, start: int) -> Vector:
        """A copy of the vector at `start`."""
        known = self._hot.get(start)
        return unpacked(self._packed[start], self._size) if known is None else known.copy()

    def pop(self, start: int) -> Vector:
        """Takes the vector at `start` out."""
        known = self._hot.pop(start, None)
        return unpacked(self._packed.pop(start), self._size) if known is None else known

    def drop(self, start: int) -> None:
        """Forgets the vector at `start`."""
        if self._hot.pop(start, None) is None:
            del self._packed[start]

    def items(self) -> Iterator[tuple[int, Vector]]:
        """All, oldest first."""
        for start in self.starts():
            yield start, self.get(start)

    def state(self) -> list[tuple[int, bytes]]:
        """Everything, the same for equal series."""
        return [
            (start, self._packed[start] if start in self._packed else packed(self._hot[start]))
            for start in self.starts()
        ]

    @classmethod
    def restore(cls, size: int, state: list[tuple[int, bytes]], hot: int = HOT) -> Series:
        """The series whose state it was. Raises ValueError for counts of another size."""
        series = cls(size, hot)
        for start, data in state:
            unpacked(data, size)
            series._packed[start] = data
        return series


class Folds:
    """Closed panes added up by minute, hour and day."""

    def __init__(self, size: int, most_bytes: int = MAX_FOLD_BYTES) -> None:
        self._most_bytes = most_bytes
        self.levels = {name: Series(size) for name, _, _ in LEVELS}

    def add(self, start_us: int, vector: Vector, late: bool = False) -> None:
        """Adds a pane; what came late enters hours and days only."""
        for name, span_us, keep in LEVELS:
            if late and span_us < HOUR_US:
                continue
            series = self.levels[name]
            fold = start_us // span_us * span_us
            newest = max(series.starts(), default=fold)
            if fold > newest - keep * span_us:
                series.add(fold, vector)
            for old in series.starts():
                if old <= max(newest, fold) - keep * span_us:
                    series.drop(old)
        self._shrink()

    def _shrink(self) -> None:
        for name, _, _ in LEVELS:
            series = self.levels[name]
            while (
                len(series) > HOT and sum(each.held_bytes for each in self.levels.values()) > self._most_bytes
            ):
                series.drop(series.starts()[0])

    def state(self) -> list[list[tuple[int, bytes]]]:
        return [self.levels[name].state() for name, _, _ in LEVELS]

    def load(self, size: int, state: list[list[tuple[int, bytes]]]) -> None:
        """Takes what `state` gave. Raises ValueError for counts of another size."""
        for (name, _, _), level in zip(LEVELS, state, strict=True):
            self.levels[name] = Series.restore(size, level)
