"""Which legal holds stand."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sidecar.site.bodies import Hold, Release, read
from sidecar.site.entry import Entry


@dataclass(frozen=True, slots=True)
class Standing:
    """A hold that no release has ended."""

    index: int
    t_us: int
    key: str
    """Of who placed it."""
    hold: Hold

    def __str__(self) -> str:
        named = self.hold.model or self.hold.record
        of = f"{self.hold.scope} {named}" if named else "this subject"
        return f"legal hold {self.index} on {of}: {self.hold.reason}"


class Holds:
    """The holds of a site log, followed as its entries come.

    Anyone's hold stands. A release counts when it is by who placed the hold, or
    by one of the trusted keys: whoever can merely put objects must not lift one.
    """

    def __init__(self, trusted: Collection[str] = ()) -> None:
        self._trusted = frozenset(trusted)
        self._standing: dict[int, Standing] = {}

    def follow(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            hold, release = read(entry, Hold), read(entry, Release)
            if hold is not None:
                self._standing[entry.index] = Standing(entry.index, entry.t_us, entry.key, hold)
            if release is not None:
                for index in release.holds:
                    found = self._standing.get(index)
                    if found is not None and (entry.key == found.key or entry.key in self._trusted):
                        del self._standing[index]

    def standing(self) -> list[Standing]:
        """In the order in which they were placed."""
        return list(self._standing.values())
