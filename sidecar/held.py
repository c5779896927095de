"""Glue: which batches a legal hold covers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.audit.naming import BatchName
from sidecar.site.bodies import Hold
from sidecar.site.entry import Entry
from sidecar.site.holds import Holds, Standing

_RECORD = re.compile(r"(?P<log>.+)\.(?P<number>[0-9]{1,18})(?:-(?:delivery|event-[0-9]+-[0-9]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold can be about in one batch."""

    named: BatchName
    model: str
    log: str
    master: str | None = None
    """Id of its key object's master key; None when it has none."""
    tags: frozenset[str] = frozenset()
    """Subjects in its key object."""


def names_record(record: str) -> bool:
    """Whether this can be a record's id."""
    return _RECORD.fullmatch(record) is not None


@dataclass(slots=True)
class HoldsOnBatches:
    """The holds of a site log, asked about batches."""

    trusted: Collection[str] = ()
    _holds: Holds = field(init=False)

    def __post_init__(self) -> None:
        self._holds = Holds(self.trusted)

    def follow(self, entries: Iterable[Entry]) -> None:
        self._holds.follow(entries)

    def standing(self) -> list[Standing]:
        return self._holds.standing()

    def on_model(self, model: str) -> Standing | None:
        """The first hold on a whole model."""
        return next(
            (each for each in self.standing() if each.hold.scope == "model" and each.hold.model == model),
            None,
        )

    def on_subjects(self) -> bool:
        """Whether key objects must be looked at."""
        return any(each.hold.scope == "subject" for each in self.standing())

    def on(self, batch: Held) -> tuple[Standing, str] | None:
        """The first hold that covers the batch, and why in words; None when none does."""
        for each in self.standing():
            reason = _covers(each.hold, batch)
            if reason is not None:
                return each, reason
        return None

    def on_subject(self, tags: Mapping[str, str]) -> Standing | None:
        """The first hold on a subject with one of these tags, or that cannot be told apart from it."""
        for each in self.standing():
            theirs = each.hold.tags or {}
            if each.hold.scope == "subject" and any(
                theirs.get(master) in (None, tag) for master, tag in tags.items()
            ):
                return each
        return None


def _covers(hold: Hold, batch: Held) -> str | None:
    if hold.scope == "model":
        return "" if hold.model == batch.model else None
    if hold.scope == "record":
        return "" if holds_record(batch, hold.record or "") else None
    if batch.master is None:
        # Not encrypted: nothing in it says whom a record is about.
        return None
    tag = (hold.tags or {}).get(batch.master)
    if tag is None:
        return f" (whether it is in this batch cannot be told without master key {batch.master})"
    return "" if tag in batch.tags else None


def may_hold_record(named: BatchName, record: str) -> bool:
    """Whether the record can be in a batch of this name, before it is known of which log it is."""
    found = _RECORD.fullmatch(record)
    if found is None:
        return False
    number = int(found["number"])
    return named.first_seq <= number <= named.last_seq or named.first_leaf <= number <= named.last_leaf


def holds_record(batch: Held, record: str) -> bool:
    """Whether the record, by its id, belongs into the batch."""
    found = _RECORD.fullmatch(record)
    if found is None:
        return False
    number, named = int(found["number"]), batch.named
    if found["log"] == batch.log:
        return named.first_seq <= number <= named.last_seq
    # Rows of the log itself: <origin>.<kind>.<leaf>.
    return found["log"].rpartition(".")[0] == named.origin and named.first_leaf <= number <= named.last_leaf
