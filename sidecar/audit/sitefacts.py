"""What the store's site log says that verification needs, and whether it can be believed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from sidecar.audit.findings import Finding, Kind
from sidecar.audit.stamps import StampedAt, Stamps
from sidecar.audit.trust import Trust
from sidecar.errors import SiteLogBroken, StoreError
from sidecar.objects import Store
from sidecar.site.bodies import Enrolment, Erase, Retention, Seen, Witness, read
from sidecar.site.entry import Entry, object_name
from sidecar.site.log import Head
from sidecar.site.removed import Removal
from sidecar.site_log import open_site_log


@dataclass(slots=True)
class Order:
    """An erasure of one subject key."""

    index: int
    trusted: bool
    t_us: int
    """Of the first trusted order, if there is one: a repeated one grants no new delay."""


@dataclass(slots=True)
class Sighting:
    """One log as a witness saw it."""

    seen: Seen
    index: int
    """Of the site log's entry."""
    trusted: bool = False
    """Whether a trusted witness wrote the entry: only checkpoints have a signature of their own."""


@dataclass(slots=True)
class SiteFacts:
    """The site log as far as it can be read."""

    entries: int = 0
    findings: list[Finding] = field(default_factory=list)
    enrolled: dict[str, tuple[Enrolment, bool]] = field(default_factory=dict)
    """Newest enrolment of each pod, and whether its author is trusted."""
    orders: dict[str, dict[str, Order]] = field(default_factory=dict)
    """Key object → subject key id → the erasure."""
    removals: dict[str, list[Removal]] = field(default_factory=dict)
    sightings: dict[str, list[Sighting]] = field(default_factory=dict)


class SiteReading:
    """Follows the site log to its end, or to the first entry that does not fit; goes on when asked.

    Read before the batches are listed, so that whatever a witness saw is among
    them; and again later, since others erase and remove meanwhile.
    """

    def __init__(
        self,
        store: Store,
        trust: Trust,
        stamped_at: StampedAt | None = None,
        known: Head | None = None,
    ) -> None:
        """`known`: how far an earlier report saw the log, which must still begin so."""
        self.facts = SiteFacts()
        self._known = known
        self.stamps = Stamps(stamped_at)
        self._store = store
        self._trust = trust
        self._reader = open_site_log(store).reader()
        self._whole = True
        self.read_on(sightings=True)

    def read_on(self, sightings: bool = False) -> None:
        """Take what was appended since; sightings of batches that came after the listing are left out."""
        before = self._reader.root()
        try:
            for entry in self._reader if self._whole else ():
                self.facts.entries += 1
                _take(entry, self.facts, self._trust, sightings)
                self._stamp(entry, before)
                before = self._reader.root()
                self._compare()
        except SiteLogBroken as error:
            self._whole = False
            self.facts.findings.append(_broken(self._store, error))

    @property
    def head(self) -> Head:
        """How far the log was read."""
        return self._reader.head

    def cut(self) -> list[Finding]:
        """The end that an earlier report saw and that is gone."""
        size = self._reader.head.size
        if self._known is None or not self._whole or size >= self._known.size:
            return []
        text = (
            f"site log: an earlier report saw {self._known.size:,} entries, {size:,} are left: "
            "its end was removed"
        )
        return [Finding(Kind.TRUNCATED, text, object_name(size))]

    def _compare(self) -> None:
        head, known = self._reader.head, self._known
        if known is not None and head.size == known.size and head.sha256 != known.sha256:
            text = f"site log: entry {head.size - 1} is not the one that an earlier report saw: written anew"
            self.facts.findings.append(Finding(Kind.FORKED, text, object_name(head.size - 1)))

    def _stamp(self, entry: Entry, before: bytes) -> None:
        # Anyone may append an entry with a bad stamp: where witnesses are named, only theirs are looked at.
        witness = read(entry, Witness)
        if witness is not None and (not self._trust.witnesses or self._trust.sees(entry.key)):
            self.stamps.take(entry, witness, before)


def _broken(store: Store, error: SiteLogBroken) -> Finding:
    name = object_name(error.index)
    text = str(error).split(f"({name}): ")[-1].removesuffix(": restore it from a copy of the store")
    try:
        found = json.loads(store.get(name))
        kind = found.get("kind") if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        kind = None
    except StoreError:
        return Finding(Kind.REMOVED, f"site log: entry {error.index}: {text}", name)
    if kind == "erase" and "signature" in text:
        return Finding(Kind.FORGED_ERASURE, f"site log: the erasure of entry {error.index}: {text}", name)
    return Finding(Kind.ALTERED, f"site log: entry {error.index}: {text}", name)


def _take(entry: Entry, facts: SiteFacts, trust: Trust, sightings: bool) -> None:
    trusted = trust.believes(entry.key)
    author = (
        "signed by no trusted operator"
        if trust.operators
        else "by an unknown author, no --operator was given"
    )
    if (enrolment := read(entry, Enrolment)) is not None:
        known = facts.enrolled.get(enrolment.prefix)
        if trusted or known is None or not known[1]:
            facts.enrolled[enrolment.prefix] = (enrolment, trusted)
    elif (erase := read(entry, Erase)) is not None:
        for each in erase.objects:
            orders = facts.orders.setdefault(each.name, {})
            for key_id in each.subject_key_ids:
                before = orders.get(key_id)
                if before is None or trusted:
                    first_us = before.t_us if before is not None and before.trusted else entry.t_us
                    orders[key_id] = Order(entry.index, trusted, first_us)
        if not trusted:
            text = f"site log: entry {entry.index} orders an erasure, {author}: {entry.key}"
            facts.findings.append(Finding(Kind.FORGED_ERASURE, text, entry.name))
    elif (witness := read(entry, Witness)) is not None:
        for seen in witness.checkpoints if sightings else ():
            facts.sightings.setdefault(seen.origin, []).append(
                Sighting(seen, entry.index, trust.sees(entry.key))
            )
        for problem in witness.problems:
            text = f"site log: a witness could not vouch for {problem.origin}: {problem.text}"
            facts.findings.append(Finding(Kind.NOTE, text, entry.name))
    elif (retention := read(entry, Retention)) is not None and trusted:
        for each_range in retention.ranges:
            removal = Removal(entry.index, entry.t_us, entry.key, retention.model, each_range)
            facts.removals.setdefault(each_range.origin, []).append(removal)
    if not trusted and entry.kind in ("enrolment", "retention"):
        text = f"site log: entry {entry.index} ({entry.kind}) was left aside, {author}: {entry.key}"
        facts.findings.append(Finding(Kind.NOTE, text, entry.name))
