"""What verification can find, and which of it means that the evidence does not stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """One word for what happened; the words are the command's output and stay the same."""

    ALTERED = "altered"
    REMOVED = "removed"
    TRUNCATED = "truncated"
    DUPLICATED = "duplicated"
    INSERTED = "inserted"
    SWAPPED = "swapped"
    FORKED = "forked"
    RE_SIGNED = "re-signed"
    RELABELLED = "relabelled"
    UNKNOWN_KEY = "unknown key"
    FUTURE = "from the future"
    FORGED_ERASURE = "forged erasure"
    KEYS_REMOVED = "keys removed"
    NOT_ERASED = "not erased"
    MISSING = "missing"
    HOLE = "hole"
    UNREADABLE = "unreadable"
    # From here on: to be known, and no sign that anybody touched anything.
    GAP = "gap"
    UNCLOSED = "unclosed"
    ERASED = "erased"
    RETAINED = "retention"
    SELF_SIGNED = "self-signed"
    NOTE = "note"


WARNINGS = frozenset({Kind.GAP, Kind.UNCLOSED, Kind.ERASED, Kind.RETAINED, Kind.SELF_SIGNED, Kind.NOTE})
"""Kinds that leave a log intact."""

MEANING: dict[Kind, str] = {
    Kind.ALTERED: "what is stored is not what was sealed",
    Kind.REMOVED: "sealed records are no longer in the store",
    Kind.TRUNCATED: "the end of a log that somebody else has seen is gone",
    Kind.DUPLICATED: "sealed records stand in the store twice",
    Kind.INSERTED: "records were added that nobody sealed",
    Kind.SWAPPED: "records stand in another order than they were sealed in",
    Kind.FORKED: "one log has two histories",
    Kind.RE_SIGNED: "signed by another key than the one this log was opened with",
    Kind.RELABELLED: "records were filed under another model or digest than they were sealed with",
    Kind.UNKNOWN_KEY: "well-formed, but no trusted key vouches for who signed it",
    Kind.FUTURE: "a checkpoint or time that cannot have existed yet",
    Kind.FORGED_ERASURE: "an erasure is claimed that no trusted operator ordered",
    Kind.KEYS_REMOVED: "subject keys are gone and no erasure says so",
    Kind.NOT_ERASED: "subject keys that were ordered to be erased still open records",
    Kind.MISSING: "a pod was enrolled and left no log",
    Kind.HOLE: "sequence numbers that no record and no gap accounts for",
    Kind.UNREADABLE: "a stored object could not be fetched, or is of a newer format",
    Kind.GAP: "losses the recorder itself counted and sealed",
    Kind.UNCLOSED: "no close: still running, killed, or the tail removed before a witness saw it",
    Kind.ERASED: "a subject's data was erased on a signed order; the chain still holds",
    Kind.RETAINED: "removed when its retention ended, and recorded",
    Kind.SELF_SIGNED: "consistent in itself; no trusted key was given to say who made it",
    Kind.NOTE: "worth knowing",
}
"""One line for people about each kind."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that happened. `text` is a whole sentence; the rest is for machines."""

    kind: Kind
    text: str
    object: str | None = None
    """Name of the object it was found in."""
    first_leaf: int | None = None
    last_leaf: int | None = None
    records: tuple[str, ...] = ()
    """Ids of the records concerned, at most NAMED of them."""
    field: str | None = None

    @property
    def failure(self) -> bool:
        return self.kind not in WARNINGS

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what is not known."""
        known: dict[str, Any] = {"kind": str(self.kind), "failure": self.failure, "text": self.text}
        for name in ("object", "first_leaf", "last_leaf", "field"):
            value = getattr(self, name)
            if value is not None:
                known[name] = value
        if self.records:
            known["records"] = list(self.records)
        return known


NAMED = 20
"""How many records a finding names at most; the count is in its text."""


def named(ids: list[str]) -> str:
    """The ids for a sentence: all of a few, else the first and the last with the count."""
    if len(ids) <= 3:
        return ", ".join(ids)
    return f"{ids[0]} … {ids[-1]} ({len(ids):,} records)"
