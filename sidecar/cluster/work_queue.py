"""What is to be done, each thing once however often it is asked for, and again later when it fails."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sidecar.backoff import Backoff

Key = TypeVar("Key")


class WorkQueue(Generic[Key]):
    """Keys in the order of their times. It holds each key once, so its bound is the number of things.

    A key that is asked for while it is being worked on is given out again
    afterwards, and never to two at once.
    """

    def __init__(
        self,
        backoff: Callable[[], Backoff] = lambda: Backoff(0.5, 60.0),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_backoff, self._monotonic = backoff, monotonic
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0
        self._working: dict[Key, bool] = {}
        """Keys that are being worked on, and whether they were asked for meanwhile."""
        self._failing: dict[Key, Backoff] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due) + sum(self._working.values())

    def ask(self, key: Key, after_s: float = 0.0) -> None:
        """Have it done, not before so many seconds; of two times the earlier one counts."""
        if key in self._working:
            self._working[key] = True
            return
        due_s = self._monotonic() + after_s
        if key in self._due and self._due[key] <= due_s:
            return
        self._due[key] = due_s
        self._count += 1
        heapq.heappush(self._heap, (due_s, self._count, key))
        self._changed.set()

    def forget(self, key: Key) -> None:
        """The thing is gone."""
        self._due.pop(key, None)
        self._failing.pop(key, None)
        if key in self._working:
            self._working[key] = False

    def clear(self) -> None:
        for key in [*self._due, *self._working]:
            self.forget(key)

    async def take(self) -> Key:
        """The next key, when its time has come. Say `done` or `failed` afterwards."""
        while True:
            while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                heapq.heappop(self._heap)  # it was forgotten, or asked for earlier
            wait_s = self._heap[0][0] - self._monotonic() if self._heap else None
            if wait_s is not None and wait_s <= 0:
                key = heapq.heappop(self._heap)[2]
                del self._due[key]
                self._working[key] = False
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        self._failing.pop(key, None)
        if self._working.pop(key, False):
            self.ask(key)

    def failed(self, key: Key) -> float:
        """Have it tried again; returns after how many seconds, more with every failure."""
        self._working.pop(key, None)
        wait_s = self._failing.setdefault(key, self._new_backoff()).failed()
        self.ask(key, wait_s)
        return wait_s
