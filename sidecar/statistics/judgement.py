"""Whether panes vary more than independent rows would, judged from those before a change.

A stream that moves looks like one whose rows depend on each other: its panes
differ. So while an alarm is open, and for as long after it as the estimate
remembers, what counts is the estimate from before the change, and how far
neighbouring panes differ. A stream that comes and goes again and again is
judged by all of its panes.
"""

from __future__ import annotations

from typing import Any

from sidecar.statistics.dispersion import MEMORY, SCALES

REMEMBERED = round(SCALES[-1] * MEMORY[-1])
"""Panes after which little is left of one in the slowest estimate."""
CHANGES = 3
"""Alarms within that time that are taken for changes; with more of them it is how the stream is."""
KEPT = 8


class Judgement:
    """Of one quantity. `panes` everywhere are those that it has had so far."""

    __slots__ = ("_before", "_levels", "_opened", "_prior")

    def __init__(self, prior: float) -> None:
        """`prior` is what the baseline says."""
        self._prior = prior
        self._levels: list[tuple[int, float]] = []
        """From when on the estimate had which value; the latest ones."""
        self._opened: list[int] = []
        """Panes at the latest openings."""
        self._before: tuple[float, int] | None = None
        """Estimate and panes before the change that is under way, or was lately."""

    def note(self, pane_start_us: int, estimate: float, panes: int, alarmed: bool) -> None:
        """Takes the estimate after a pane."""
        if self._before is not None and not alarmed and panes - self._opened[-1] > REMEMBERED:
            self._before = None
        if self._before is None and (not self._levels or self._levels[-1][1] != estimate):
            self._levels = [*self._levels, (pane_start_us, estimate)][-KEPT:]

    def open(self, since_us: int, panes: int, panes_since: int) -> None:
        """An alarm opens for a change at `since_us`, so many panes ago."""
        lately = [at for at in self._opened if panes - at <= REMEMBERED]
        self._opened = [*lately[-CHANGES:], panes]
        if len(self._opened) > CHANGES:
            self._before = None
        elif self._before is None:
            known = [estimate for start_us, estimate in self._levels if start_us < since_us]
            self._before = (known[-1] if known else self._prior, max(0, panes - panes_since))

    def judged(self, estimate: float, near: float, panes: int) -> tuple[float, int]:
        """The estimate to go by, and the panes that it comes from.

        Given those of all panes, and that of neighbouring ones: where they differ
        from each other it is no change that goes on.
        """
        if self._before is None:
            return estimate, panes
        before, known = self._before
        return max(before, near), known

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [self._levels, self._opened, self._before]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        levels, self._opened, before = state
        self._levels = [(start_us, estimate) for start_us, estimate in levels]
        self._before = None if before is None else (before[0], before[1])
