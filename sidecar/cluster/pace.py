"""No more than so many acts a second, however many there are to do: a token bucket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Pace:
    """`burst` acts at once, then `per_s` a second."""

    def __init__(self, per_s: float, burst: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._monotonic = per_s, burst, monotonic
        self._left = float(burst)
        self._at_s = monotonic()

    def take(self) -> bool:
        """Whether one may be done now; it then counts as done."""
        return self._wait_s(0.0) == 0.0

    async def wait(self) -> None:
        """Until one may be done. Those who wait come in their order."""
        wait_s = self._wait_s(float("inf"))
        if wait_s:
            await asyncio.sleep(wait_s)

    def _wait_s(self, most_s: float) -> float:
        """Seconds until the next may be done, which is then taken; more than `most_s` are not."""
        now_s = self._monotonic()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        wait_s = max(0.0, (1 - self._left) / self._per_s)
        if wait_s <= most_s:
            self._left -= 1
        return wait_s
