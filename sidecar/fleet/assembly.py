"""One series' panes put together from the files of many writers, each exchange once.

A pane is handed out when every writer that is still heard of has closed it, or
after a bounded wait. What comes later is added up apart: it is in every sum,
but no longer in the pane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from sidecar.fleet.pane_file import Facts, PaneFile, StoredPane, Vector
from sidecar.fleet.sums import Sum
from sidecar.fleet.writers import Writer, Writers

STATE_FORMAT = 1
OPEN_PANES = 4_096
"""Panes held open at most; the oldest are handed out early beyond that."""


@dataclass(slots=True)
class OpenPane:
    """A pane in the making and the writers whose counts are in it."""

    length_us: int
    sum: Sum = field(default_factory=Sum)
    writers: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A pane of the whole fleet."""

    start_us: int
    length_us: int
    sum: Sum


@dataclass(slots=True)
class Tallied:
    """Exchanges by what became of them."""

    on_time: int = 0
    late: int = 0
    """Behind their own process's watermark."""
    overdue: int = 0
    """On time there, but here after their pane had been handed out."""
    recounted: int = 0
    """Counted before by another state of the same process, and dropped."""
    repeated_files: int = 0
    refused: int = 0
    """Of a shape that the plan does not have."""


class Assembly:
    """The panes of one series."""

    def __init__(self, wait_us: int) -> None:
        """`wait_us`: how long after its end a pane waits for writers that have not closed it."""
        self._wait_us = wait_us
        self.writers = Writers()
        self.open: dict[int, OpenPane] = {}
        self.handed_to_us = 0
        """Every pane that begins before this is handed out."""
        self.known_since_us: int | None = None
        """When the first file was taken: until everyone had time to be heard of, nobody is left out."""
        self.tallied = Tallied()
        self.behind = Sum()
        """What is in no pane: late and overdue counts."""
        self._folds: list[Facts] = []
        """Folds that were or will be taken: what else counts their panes again yields."""

    def take(self, file: PaneFile, now_us: int) -> bool:
        """Adds a file's panes; False, and nothing changed, when it was taken before."""
        facts = file.facts
        if facts.folded:
            return self._take_fold(file, now_us)
        if self.writers.has(facts.writer, facts.serial):
            self.tallied.repeated_files += 1
            return False
        if self.known_since_us is None:
            self.known_since_us = now_us
        writer = self.writers.take(facts.writer, facts.serial, now_us)
        writer.complete_to_us = max(writer.complete_to_us, facts.complete_to_us)
        if facts.serial == writer.latest:
            writer.final = facts.final
        writer.boots = sorted(facts.boots)
        writer.routes = sorted({*writer.routes, facts.route})
        writer.source = facts.source
        rivals = self._rivals(facts, writer)
        again = [fold for fold in self._folds if self._shares_boot(fold, writer.boots, facts.writer)]
        for pane in file.panes:
            if not pane.late and any(self._counted(fold, pane, writer.boots) for fold in again):
                self.tallied.recounted += pane.exchanges
            else:
                self._add(pane, facts, rivals)
        return True

    @staticmethod
    def _shares_boot(fold: Facts, boots: Sequence[str], writer: str) -> bool:
        return any(
            name != writer and not set(boots).isdisjoint(each.boots) for name, each in fold.folded.items()
        )

    @staticmethod
    def _counted(fold: Facts, pane: StoredPane, boots: Sequence[str]) -> bool:
        """Whether a writer of these boots has counts in that pane of the fold."""
        return any(
            not set(boots).isdisjoint(fold.folded[name].boots) for name in fold.writers_of(pane.start_us)
        )

    def expect(self, fold: Facts) -> None:
        """Says that this fold will come, or has: its writers' counts cannot be taken out of it again."""
        self._folds.append(fold)

    def _take_fold(self, file: PaneFile, now_us: int) -> bool:
        facts = file.facts
        known = [
            self.writers.has(name, serial)
            for name, each in facts.folded.items()
            for first, last in each.runs
            for serial in range(first, last + 1)
        ]
        if any(known):
            if all(known):
                self.tallied.repeated_files += 1
            else:
                self.tallied.refused += facts.exchanges + facts.late_exchanges
            return False
        if self.known_since_us is None:
            self.known_since_us = now_us
        for name, each in facts.folded.items():
            for first, last in each.runs:
                for serial in range(first, last + 1):
                    writer = self.writers.take(name, serial, now_us)
            writer.complete_to_us = max(writer.complete_to_us, each.complete_to_us)
            writer.boots, writer.routes = sorted(each.boots), sorted({*writer.routes, *each.routes})
            writer.final, writer.source = each.final, each.source
        for pane in file.panes:
            self._add(pane, facts, set())
        return True

    def _rivals(self, facts: Facts, writer: Writer) -> set[str]:
        """Writers that counted exchanges of the same boots: an analyst state that was lost and begun anew."""
        boots = set(writer.boots)
        return {
            name
            for name, other in self.writers.by_id.items()
            if name != facts.writer and not boots.isdisjoint(other.boots)
        }

    def _add(self, pane: StoredPane, facts: Facts, rivals: set[str]) -> None:
        told = self.tallied
        try:
            if pane.late:
                self.behind.add(pane, facts.source)
                told.late += pane.exchanges
            elif pane.start_us < self.handed_to_us:
                self.behind.add(pane, facts.source)
                told.overdue += pane.exchanges
            else:
                opened = self.open.get(pane.start_us) or OpenPane(pane.length_us)
                if not rivals.isdisjoint(opened.writers):
                    told.recounted += pane.exchanges
                    return
                opened.sum.add(pane, facts.source)
                opened.writers |= facts.writers_of(pane.start_us)
                self.open[pane.start_us] = opened
                told.on_time += pane.exchanges
        except ValueError:
            told.refused += pane.exchanges

    def waited_for(self, now_us: int) -> list[Writer]:
        """Writers that may still have something for panes that are open."""
        oldest = now_us - self._wait_us
        return [each for each in self.writers.by_id.values() if not each.final and each.seen_us > oldest]

    def due(self, now_us: int) -> list[Assembled]:
        """The panes that are complete, or have waited long enough, in time order; they are gone from here."""
        complete_to_us = 0
        if self.known_since_us is not None and now_us - self.known_since_us >= self._wait_us:
            waited = self.waited_for(now_us)
            complete_to_us = min((each.complete_to_us for each in waited), default=now_us)
        return self.hand_out(max(complete_to_us, now_us - self._wait_us))

    def hand_out(self, to_us: int) -> list[Assembled]:
        """The panes that end at or before `to_us`, in time order."""
        ready = sorted(start for start, pane in self.open.items() if start + pane.length_us <= to_us)
        crowd = len(self.open) - OPEN_PANES
        if crowd > len(ready):
            ready = sorted(self.open)[:crowd]
        found = []
        for start in ready:
            pane = self.open.pop(start)
            found.append(Assembled(start, pane.length_us, pane.sum))
            self.handed_to_us = max(self.handed_to_us, start + pane.length_us)
        return found

    def state(self) -> bytes:
        """Everything but what lies behind the panes; for `restore`."""
        return msgspec.msgpack.encode(
            _State(
                STATE_FORMAT,
                self.handed_to_us,
                self.known_since_us,
                self.writers,
                [
                    _Open(
                        start,
                        pane.length_us,
                        pane.sum.exchanges,
                        {name: counts.astype("<i8").tobytes() for name, counts in pane.sum.counts.items()},
                        pane.sum.record_ids,
                        pane.sum.sources,
                        sorted(pane.writers),
                    )
                    for start, pane in sorted(self.open.items())
                ],
                [getattr(self.tallied, name) for name in _TALLIED],
            )
        )

    @classmethod
    def restore(cls, data: bytes, wait_us: int) -> Assembly:
        """The assembly whose `state()` was `data`. Raises ValueError for anything else."""
        try:
            state = msgspec.msgpack.decode(data, type=_State)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no state of an assembly: {error}") from error
        if state.format != STATE_FORMAT:
            raise ValueError(f"state of format {state.format}, this build reads {STATE_FORMAT}")
        made = cls(wait_us)
        made.handed_to_us = state.handed_to_us
        made.known_since_us = state.known_since_us
        made.writers = state.writers
        made.tallied = Tallied(**dict(zip(_TALLIED, state.tallied, strict=True)))
        for each in state.open:
            total = Sum(each.exchanges, _vectors(each.counts), each.record_ids, each.sources)
            made.open[each.start_us] = OpenPane(each.length_us, total, set(each.writers))
        return made


_TALLIED = ("on_time", "late", "overdue", "recounted", "repeated_files", "refused")


def _vectors(packed: Mapping[str, bytes]) -> dict[str, Vector]:
    return {name: np.frombuffer(data, dtype="<i8").astype(np.int64) for name, data in packed.items()}


class _Open(msgspec.Struct, array_like=True):
    start_us: int
    length_us: int
    exchanges: int
    counts: dict[str, bytes]
    record_ids: dict[str, list[str]]
    sources: dict[str, int]
    writers: list[str]


class _State(msgspec.Struct, array_like=True):
    format: int
    handed_to_us: int
    known_since_us: int | None
    writers: Writers
    open: list[_Open]
    tallied: list[int]
