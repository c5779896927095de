"""Which subject keys were ordered to be destroyed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sidecar.site.bodies import Erase, read
from sidecar.site.entry import Entry


@dataclass(frozen=True, slots=True)
class Erasure:
    """One order, and the entry that carries it."""

    index: int
    t_us: int
    key: str
    """Of who ordered it."""
    erase: Erase


class Erasures:
    """The erasures of a site log, followed as entries come; by these authors alone when they are given."""

    def __init__(self, trusted: Collection[str] | None = None) -> None:
        self._trusted = trusted
        self.orders: list[Erasure] = []
        self.key_ids: dict[str, dict[str, int]] = {}
        """Ids of destroyed subject keys by key object, each with the index of the first order for it."""

    def follow(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            erase = read(entry, Erase)
            if erase is None or (self._trusted is not None and entry.key not in self._trusted):
                continue
            self.orders.append(Erasure(entry.index, entry.t_us, entry.key, erase))
            for each in erase.objects:
                ids = self.key_ids.setdefault(each.name, {})
                for key_id in each.subject_key_ids:
                    ids.setdefault(key_id, entry.index)
