"""Which leaves were removed because their retention was over."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sidecar.site.bodies import RemovedRange, Retention, read
from sidecar.site.entry import Entry


@dataclass(frozen=True, slots=True)
class Removal:
    """A removed range and the entry that says so."""

    index: int
    t_us: int
    key: str
    """Of who ordered it."""
    model: str
    range: RemovedRange


def removals(entries: Iterable[Entry], trusted: Collection[str] | None = None) -> dict[str, list[Removal]]:
    """Removed ranges of each log, by origin, in leaf order; by these authors alone when they are given.

    A range says what was ordered; its objects may still be there when the
    command that removes them was interrupted.
    """
    found: dict[str, list[Removal]] = {}
    for entry in entries:
        retention = read(entry, Retention)
        if retention is None or (trusted is not None and entry.key not in trusted):
            continue
        for each in retention.ranges:
            removal = Removal(entry.index, entry.t_us, entry.key, retention.model, each)
            found.setdefault(each.origin, []).append(removal)
    for ranges in found.values():
        ranges.sort(key=lambda removal: (removal.range.first_leaf, removal.index))
    return found
