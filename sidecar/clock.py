"""Time as an argument: the core asks a `Clock`, tests drive one by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one a person can read, one that never steps."""

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch; may jump either way."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary origin; never decreases."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    # Not wrapped: the recorder asks it twice for every exchange.
    monotonic_ns = staticmethod(time.monotonic_ns)


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, wall_us: int = 1_700_000_000_000_000, monotonic_ns: int = 0) -> None:
        self._wall_us = wall_us
        self._monotonic_ns = monotonic_ns

    def wall_us(self) -> int:
        return self._wall_us

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Move both clocks forward together."""
        self._wall_us += int(seconds * 1e6)
        self._monotonic_ns += int(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or NTP step would."""
        self._wall_us += int(seconds * 1e6)
