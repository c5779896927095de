"""Which objects of a store are sealed batches, and which of them are to be verified."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from urllib.parse import unquote

from sidecar.audit import naming
from sidecar.audit.findings import Finding, Kind
from sidecar.audit.naming import BatchName
from sidecar.objects import Store

COMPACTED = "compacted/"
"""Folder of the copies that `sidecar compact` makes."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which logs to verify: those with a batch of the model and the days. Times as in the names' dates."""

    model: str | None = None
    since: str | None = None
    """First date, YYYY-MM-DD."""
    until: str | None = None
    """Last date."""

    def wants(self, named: BatchName) -> bool:
        return (
            (self.model is None or named.model == self.model)
            and (self.since is None or named.date >= self.since)
            and (self.until is None or named.date <= self.until)
        )

    @property
    def everything(self) -> bool:
        return self.model is None and self.since is None and self.until is None

    def __str__(self) -> str:
        parts = [
            f"of model {unquote(self.model)}" if self.model else "",
            f"from {self.since} on" if self.since else "",
            f"up to {self.until}" if self.until else "",
        ]
        text = ", ".join(part for part in parts if part)
        return text and f"logs with records {text}; of their other batches only the stored leaf hashes"


@dataclass(slots=True)
class Inventory:
    """The batch objects of a store by name, and what else lies among them."""

    batches: list[BatchName] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)


def take_inventory(store: Store, selection: Selection) -> tuple[Inventory, list[BatchName]]:
    """All batches, and those to look into: every batch of each log that the selection wants one of."""
    found = Inventory()
    for entry in store.list(naming.RECORDS):
        named = naming.parse(entry.name)
        if named is None:
            found.strays.append(entry.name)
        else:
            found.batches.append(named)
            found.sizes[entry.name] = entry.size
    if selection.everything:
        return found, found.batches
    wanted = {each.origin for each in found.batches if selection.wants(each)}
    return found, [each for each in found.batches if each.origin in wanted]


def strays(names: list[str]) -> list[Finding]:
    """Objects among the records that are no sealed batches."""
    unsealed = [name for name in names if naming.is_unsealed(name)]
    others = [name for name in names if name.endswith(".parquet") and not naming.is_unsealed(name)]
    found = []
    if unsealed:
        text = f"{len(unsealed):,} objects are from before records were sealed: nothing vouches for them"
        found.append(Finding(Kind.NOTE, text, unsealed[0]))
    if others:
        text = f"{len(others):,} objects among the records are no batches that were sealed"
        found.append(Finding(Kind.INSERTED, text, others[0]))
    return found


def copies(store: Store) -> list[Finding]:
    """A remark when `sidecar compact` made copies of the records: no commitment of a log covers them."""
    if next(iter(store.list(COMPACTED)), None) is None:
        return []
    text = (
        f"what lies below {COMPACTED} was not looked at: it repeats records for other engines, nothing signs "
        "it, and `sidecar find`, `show` and `prove` do not read it"
    )
    return [Finding(Kind.NOTE, text)]


def fingerprint(hashes: list[tuple[str, str]]) -> str:
    """One hash over the names and hashes of all batches, by which two auditors know the same store."""
    lines = hashlib.sha256()
    for name, sha256 in sorted(hashes):
        lines.update(f"{sha256}  {name}\n".encode())
    return lines.hexdigest()
