"""What witnesses have seen of each log."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sidecar.site.bodies import Seen, Witness, read
from sidecar.site.entry import Entry


@dataclass(frozen=True, slots=True)
class Sighting:
    """A log as a witness saw it, and the entry that says so."""

    index: int
    t_us: int
    key: str
    """Of who appended the entry."""
    cosigner: str
    seen: Seen


def newest(entries: Iterable[Entry], authors: Collection[str] | None = None) -> dict[str, Sighting]:
    """The longest sighting of each log, by origin; by these authors alone when they are given.

    The cosignature under each checkpoint is not looked at.
    """
    found: dict[str, Sighting] = {}
    for entry in entries:
        follow(found, entry, authors)
    return found


def follow(found: dict[str, Sighting], entry: Entry, authors: Collection[str] | None = None) -> None:
    """Add what one entry says to what is known; of two sightings of one size the later stays."""
    if authors is not None and entry.key not in authors:
        return
    witness = read(entry, Witness)
    if witness is None:
        return
    for seen in witness.checkpoints:
        known = found.get(seen.origin)
        if known is None or seen.size >= known.seen.size:
            found[seen.origin] = Sighting(entry.index, entry.t_us, entry.key, witness.cosigner, seen)
