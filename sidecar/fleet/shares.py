"""Which part of a model's budget each of its series has at a time: together never more than the whole.

Series that run at the same time have equal parts. Time that has been given out
is not given again: a series that is heard of late begins where the others are.
"""

from __future__ import annotations

import msgspec

from sidecar.fleet.pane_file import Series

LINGER_US = 24 * 3_600_000_000
"""So long after its last pane a series still counts as running: a quiet night ends nothing."""
STRETCHES_KEPT = 256
"""Of the past; panes before the first of them have no part any more."""


class Shares(msgspec.Struct):
    """The parts of one model's series."""

    seen: dict[str, tuple[int, int]] = {}
    """Per series the beginnings of the first and the latest pane that came."""
    stretches: list[tuple[int, list[str]]] = []
    """From when on which series had equal parts."""
    frontier_us: int = 0
    """The latest pane of any series that was given a part."""

    def note(self, series: Series, pane_start_us: int) -> None:
        """A pane of that series has come; to be told before it is evaluated."""
        first, last = self.seen.get(_key(series), (pane_start_us, pane_start_us))
        self.seen[_key(series)] = min(first, pane_start_us), max(last, pane_start_us)

    def of(self, series: Series, pane_start_us: int) -> float:
        """The part for that pane, 0 to 1: 0 where the others have had it already."""
        if pane_start_us > self.frontier_us:
            self._move_to(pane_start_us)
        for since_us, holders in reversed(self.stretches):
            if since_us <= pane_start_us:
                return 1.0 / len(holders) if _key(series) in holders else 0.0
        return 0.0

    def _move_to(self, pane_start_us: int) -> None:
        over = [key for key, (_, last) in self.seen.items() if last < pane_start_us - LINGER_US]
        holders = sorted(
            key for key, (first, _) in self.seen.items() if first <= pane_start_us and key not in over
        )
        if not self.stretches or self.stretches[-1][1] != holders:
            self.stretches = [*self.stretches, (pane_start_us, holders)][-STRETCHES_KEPT:]
        for key in over:
            del self.seen[key]
        self.frontier_us = pane_start_us


def _key(series: Series) -> str:
    return f"{series.digest} {series.plan} {series.pane_us}"


class ModelBudget(msgspec.Struct):
    """One model's budget: a part for what labels tell, by when they come, and the rest for its panes."""

    panes: Shares = msgspec.field(default_factory=Shares)
    labels: Shares = msgspec.field(default_factory=Shares)
    for_labels: float = 0.0
    """The largest part that any of its plans asks for; it only grows."""

    def ask(self, part: float) -> None:
        """A plan's labels need that part."""
        self.for_labels = max(self.for_labels, part)

    def of(self, series: Series, pane_start_us: int) -> float:
        """The part for that pane's own quantities."""
        return self.panes.of(series, pane_start_us) * (1.0 - self.for_labels)
