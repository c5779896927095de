"""Files of panes of one series added up into one: the same panes, each the sum over all writers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from sidecar.fleet.pane_file import Folded, PaneFile, Series, StoredPane
from sidecar.fleet.sums import Sum
from sidecar.fleet.writers import Writer

PaneKey = tuple[int, int, bool]
"""Beginning, length, whether late."""


@dataclass(slots=True)
class _Of:
    """One writer's part."""

    taken: Writer = field(default_factory=Writer)
    boots: tuple[str, ...] = ()
    routes: set[str] = field(default_factory=set)
    source: str = ""
    exchanges: int = 0
    complete_to_us: int = 0
    final: bool = False


class Fold:
    """The sum of some files; `add` takes each once."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.files = 0
        self.sums: dict[PaneKey, Sum] = defaultdict(Sum)
        self._writers: dict[PaneKey, set[str]] = defaultdict(set)
        self._parts: dict[str, _Of] = {}

    def add(self, file: PaneFile) -> None:
        """Adds a file of that series. Raises ValueError, and adds nothing, where its counts do not fit."""
        facts = file.facts
        part = self._parts.setdefault(facts.writer, _Of())
        if part.taken.has(facts.serial):
            return
        fresh: dict[PaneKey, Sum] = {}
        for pane in file.panes:
            key = (pane.start_us, pane.length_us, pane.late)
            fresh[key] = total = Sum()
            if key in self.sums:
                total.add(_stored(key, self.sums[key]), "")
            total.add(pane, facts.source)
        # Only now, so that a file that does not fit leaves no half of itself behind.
        self.sums.update(fresh)
        for key in fresh:
            self._writers[key].add(facts.writer)
        newest = facts.serial > part.taken.latest
        part.taken.take(facts.serial)
        part.routes.add(facts.route)
        part.exchanges += facts.exchanges + facts.late_exchanges
        part.complete_to_us = max(part.complete_to_us, facts.complete_to_us)
        part.source = facts.source
        if newest:
            part.boots, part.final = facts.boots, facts.final
        self.files += 1

    def rivals(self) -> set[str]:
        """Writers that name a boot in common: one of them may have counted again what the other had."""
        by_boot: dict[str, set[str]] = defaultdict(set)
        for name, part in self._parts.items():
            for boot in part.boots:
                by_boot[boot].add(name)
        return {name for names in by_boot.values() if len(names) > 1 for name in names}

    @property
    def boots(self) -> dict[str, tuple[str, ...]]:
        """By writer."""
        return {name: part.boots for name, part in self._parts.items()}

    def folded(self) -> dict[str, Folded]:
        """What is in it, by writer."""
        return {
            name: Folded(
                part.taken.runs,
                part.boots,
                tuple(sorted(part.routes)),
                part.source,
                part.exchanges,
                part.complete_to_us,
                part.final,
            )
            for name, part in sorted(self._parts.items())
            if part.taken.runs
        }

    def pane_writers(self) -> list[tuple[int, str]]:
        """As `Facts.pane_writers`."""
        place = {name: 1 << at for at, name in enumerate(self.folded())}
        bits: dict[int, int] = defaultdict(int)
        for (start_us, _, late), writers in self._writers.items():
            if not late:
                for writer in writers:
                    bits[start_us] |= place[writer]
        return [(start_us, f"{each:x}") for start_us, each in sorted(bits.items())]


def _stored(key: PaneKey, total: Sum) -> StoredPane:
    return StoredPane(*key, total.exchanges, total.counts, total.record_ids)
