"""What an entry of each kind says. Fields are the JSON's own; docs/site-log.md explains them.

Anyone who may put objects may append an entry that is well-formed and signed
by a key nobody knows. Whoever acts on one looks at its author first, and a
body that is not of its kind says nothing.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from sidecar.site.entry import Entry

Scope = Literal["subject", "model", "record"]


class Enrolment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pod that should have a log from `since_us` on; with `retired_us`, none any more after that."""

    prefix: str
    """The first four parts of its logs' origins."""
    cluster: str
    namespace: str
    workload: str
    pod_uid: str
    digest: str | None = None
    """Image digest the pod should run."""
    public_key: str | None = None
    """The enrolment key that certifies its boots, as a verifier key's text."""
    since_us: int
    retired_us: int | None = None


class ErasedKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Subject keys to be gone from one key object."""

    name: str
    """Of the key object."""
    batch: str
    """The batch as its key object names it."""
    subject_key_ids: list[str]
    """Hex, sorted."""


class Erase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subject's keys were ordered to be destroyed. The subject itself is never named, only its tags."""

    tags: dict[str, str]
    """Id of a master key → hex HMAC of the subject under that key's index key."""
    reason: str | None = None
    objects: list[ErasedKeys]
    journal_until_us: int
    """When the last journal volume that may hold older data of the subject is gone, if shipping keeps up."""


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing of this subject, model or record may be erased or removed until a release."""

    scope: Scope
    tags: dict[str, str] | None = None
    """The subject's tags, as in an erasure."""
    model: str | None = None
    record: str | None = None
    reason: str


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ends holds, by the index of their entries."""

    holds: list[int]
    reason: str


class RemovedObject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One batch that was removed, and its key object if it had one."""

    name: str
    sha256: str
    bytes: int
    first_leaf: int
    last_leaf: int
    keys: str | None = None


class RemovedRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Consecutive leaves of one log that were removed, and all that is needed to verify what is left."""

    origin: str
    first_leaf: int
    last_leaf: int
    rows: int
    exchanges: int
    first_seq: int
    """Least and greatest sequence number that the rows speak of; 0 when none does."""
    last_seq: int
    t_min_us: int
    t_max_us: int
    size: int
    """Of the tree at the end of the range: last_leaf + 1."""
    root: str
    """Of that tree, base64."""
    checkpoint: str
    """The log's own signed checkpoint of that tree, as a note."""
    public_key: str
    enrolment: str | None = None
    subtrees: list[tuple[int, str]]
    """Perfect subtrees that cover the range, left to right, as [level, base64 hash]: they join both sides."""
    frontier: list[str]
    """Subtrees of the whole tree at `size`, largest first, base64."""
    objects: list[RemovedObject]


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Batches that are removed because their retention is over."""

    model: str
    older_than_us: int
    """The retention applied, as a length of time."""
    cutoff_us: int
    """No removed row is of this time or later."""
    shorter_than_six_months: bool
    ranges: list[RemovedRange]


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a witness saw of one log."""

    origin: str
    size: int
    root: str
    key: str
    """The log's public key, as a verifier key's text."""
    checkpoint: str
    """The log's checkpoint note with the witness's cosignature under it."""
    frontier: list[str]
    batch: str
    """Name of the batch that carried the checkpoint."""
    files: int
    """Batches that begin below `size`, removed ones included."""
    names: str
    """Their names chained in leaf order: hex SHA-256 of what it was before, a newline, and the name."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What kept a witness from vouching for a log."""

    origin: str
    kind: str
    text: str


class TimeStamp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time stamp of RFC 3161 over the RFC 8785 text of the body without its `timestamp`."""

    authority: str
    response: str
    """Base64 of the DER TimeStampResp."""


class Witness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logs that a witness found consistent with what it had seen before, and those that it did not."""

    cosigner: str
    """The witness's public key of type cosignature/v1."""
    site_size: int
    """Entries in the site log before this one, and their root (base64): what a time stamp covers too."""
    site_root: str
    checkpoints: list[Seen]
    problems: list[Problem]
    timestamp: TimeStamp | None = None


KIND_OF: dict[type, str] = {
    Enrolment: "enrolment",
    Erase: "erase",
    Hold: "hold",
    Release: "release",
    Retention: "retention",
    Witness: "witness",
}

T = TypeVar("T", Enrolment, Erase, Hold, Release, Retention, Witness)


def read(entry: Entry, kind: type[T]) -> T | None:
    """The entry's body as this kind; None when it is of another kind or not well-formed."""
    if entry.kind != KIND_OF[kind]:
        return None
    try:
        return msgspec.convert(entry.body, kind)
    except msgspec.ValidationError:
        return None


def to_json(body: msgspec.Struct) -> dict[str, Any]:
    """The body as an entry holds it."""
    made: dict[str, Any] = msgspec.to_builtins(body)
    return made
