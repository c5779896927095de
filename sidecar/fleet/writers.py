"""What was taken of each writer: every file once, however often it is listed, and the holes known."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

RANGES_KEPT = 256
"""Separate runs of files remembered of one writer; beyond, the oldest hole counts as lost."""


class Writer(msgspec.Struct):
    """One writer's files."""

    runs: list[tuple[int, int]] = []
    """Serial numbers that were taken: first and last of each run, ascending, never touching."""
    lost: int = 0
    """Serial numbers in holes that were given up."""
    seen_us: int = 0
    """When a file of it was taken last, by the reader's clock."""
    complete_to_us: int = 0
    """Every pane that ends at or before this was shipped in a file up to the latest taken."""
    final: bool = False
    boots: list[str] = []
    routes: list[str] = []
    """Whose exchanges it counted."""
    source: str = ""

    @property
    def missing(self) -> int:
        """Numbers between those that were taken."""
        return _holes(self.runs)

    @property
    def latest(self) -> int:
        """Highest serial number taken; -1 for none."""
        return self.runs[-1][1] if self.runs else -1

    def has(self, serial: int) -> bool:
        at = bisect_right(self.runs, (serial, 2**63)) - 1
        return at >= 0 and serial <= self.runs[at][1]

    def take(self, serial: int) -> None:
        """Notes a number that was not taken before."""
        at = bisect_right(self.runs, (serial, 2**63))
        first = last = serial
        if at < len(self.runs) and self.runs[at][0] == serial + 1:
            last = self.runs.pop(at)[1]
        if at and self.runs[at - 1][1] == serial - 1:
            first = self.runs.pop(at - 1)[0]
            at -= 1
        self.runs.insert(at, (first, last))
        while len(self.runs) > RANGES_KEPT:
            (first, end), (begin, last) = self.runs[:2]
            self.lost += begin - end - 1
            self.runs[:2] = [(first, last)]


class Writers(msgspec.Struct):
    """Writers, and what was taken of each."""

    by_id: dict[str, Writer] = {}

    def has(self, writer: str, serial: int) -> bool:
        """Whether that file was taken."""
        known = self.by_id.get(writer)
        return known is not None and known.has(serial)

    def take(self, writer: str, serial: int, now_us: int) -> Writer:
        """Notes a file as taken; raises ValueError when it was already."""
        known = self.by_id.setdefault(writer, Writer())
        if known.has(serial):
            raise ValueError(f"file {serial} of writer {writer} was taken before")
        known.take(serial)
        known.seen_us = max(known.seen_us, now_us)
        return known

    def forget(self, before_us: int) -> list[str]:
        """Drops the writers not heard of since; returns them. Their files must not be offered any more."""
        gone = [name for name, writer in self.by_id.items() if writer.seen_us < before_us]
        for name in gone:
            del self.by_id[name]
        return gone


def missing(some: Iterable[Writers]) -> int:
    """Files between those that were taken: a writer's numbers run through all its series."""
    runs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for writers in some:
        for name, writer in list(writers.by_id.items()):
            runs[name] += writer.runs
    return sum(_holes(sorted(each)) for each in runs.values())


def _holes(runs: Sequence[tuple[int, int]]) -> int:
    """Numbers in none of these runs, which ascend by their first, but between some."""
    holes, next_one = 0, runs[0][0] if runs else 0
    for first, last in runs:
        holes += max(0, first - next_one)
        next_one = max(next_one, last + 1)
    return holes
