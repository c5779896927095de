"""What the sidecar adds: the same applications, through it and straight to the model, by turns."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

KEPT_PAIRS = 6000
"""Ten minutes at ten pairs a second."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds over the pairs kept; `added` is the difference of the two quantiles."""

    pairs: int
    direct_p50_ms: float
    direct_p99_ms: float
    sidecar_p50_ms: float
    sidecar_p99_ms: float

    @property
    def added_p50_ms(self) -> float:
        return self.sidecar_p50_ms - self.direct_p50_ms

    @property
    def added_p99_ms(self) -> float:
        return self.sidecar_p99_ms - self.direct_p99_ms

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Latency:
        return cls(**fields)


def quantile(ordered: list[float], share: float) -> float:
    """Nearest rank in a sorted list that is not empty."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Pairs:
    """The last `KEPT_PAIRS` pairs of durations."""

    def __init__(self) -> None:
        self._direct_s: deque[float] = deque(maxlen=KEPT_PAIRS)
        self._sidecar_s: deque[float] = deque(maxlen=KEPT_PAIRS)

    def add(self, direct_s: float, sidecar_s: float) -> None:
        self._direct_s.append(direct_s)
        self._sidecar_s.append(sidecar_s)

    def latency(self) -> Latency | None:
        """None before the first pair."""
        if not self._direct_s:
            return None
        direct, sidecar = sorted(self._direct_s), sorted(self._sidecar_s)
        found = [quantile(side, share) * 1e3 for side in (direct, sidecar) for share in (0.5, 0.99)]
        return Latency(len(direct), *(round(value, 4) for value in found))
