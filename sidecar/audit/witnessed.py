"""A log against the checkpoints that others have seen of it: witnesses, and the logs that came after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sidecar.audit.findings import Finding, Kind
from sidecar.audit.log import Walk
from sidecar.audit.sitefacts import Sighting
from sidecar.audit.trust import Trust
from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import Note, VerifierKey

AHEAD_US = 15 * 60_000_000
"""How far a clock may be ahead of the auditor's."""


@dataclass(slots=True)
class Witnessed:
    """The largest size that a witness vouches for, and what that shows."""

    size: int = 0
    at_us: int | None = None
    by: str | None = None
    findings: list[Finding] = field(default_factory=list)


RootAt = Callable[[int], bytes | None]
"""Root of the log's tree at a size, when it can be recomputed."""


def compare(
    walk: Walk, key: VerifierKey | None, sightings: list[Sighting], trust: Trust, root_at: RootAt, now_us: int
) -> Witnessed:
    """Hold a log against its sightings: truncated, forked, signed by another key, from the future."""
    result = Witnessed()
    for sighting in sorted(sightings, key=lambda each: -each.seen.size):
        seen = sighting.seen
        note, at_us, by = _cosigned(sighting, trust)
        if note is None:
            continue
        signed_by_log = key is not None and _signed_by(note, key, walk.origin)
        if by is None and not signed_by_log:
            # Nobody's word: neither a trusted witness's nor the log's own.
            continue
        if result.by is None or (at_us or 0) > (result.at_us or 0):
            result.by, result.at_us = by or result.by, at_us
        result.size = max(result.size, seen.size)
        finding = _against(walk, sighting, by, signed_by_log, root_at)
        if finding is None and at_us is not None and at_us > now_us + AHEAD_US:
            finding = Finding(
                Kind.FUTURE,
                f"a witness claims to have cosigned its {seen.size:,} leaves at a time that is yet to come",
                f"site/{sighting.index:012d}.json",
            )
        if finding is not None:
            result.findings.append(finding)
            break
    return result


def _against(
    walk: Walk, sighting: Sighting, by: str | None, signed_by_log: bool, root_at: RootAt
) -> Finding | None:
    seen = sighting.seen
    name, who = f"site/{sighting.index:012d}.json", by or "a witness"
    if not signed_by_log:
        return Finding(Kind.RE_SIGNED, f"{who} saw it signed by another key: {seen.key}", name)
    if seen.size > walk.end:
        missing = seen.size - walk.end
        text = f"{who} saw {seen.size:,} leaves, {walk.end:,} are left: the last {missing:,} records are gone"
        return Finding(Kind.TRUNCATED, text, name, walk.end, seen.size - 1)
    root = root_at(seen.size)
    if root is not None and base64text.encode(root) != seen.root:
        text = f"{who} saw other records among its first {seen.size:,} leaves than are stored now"
        return Finding(Kind.FORKED, text, name, 0, seen.size - 1)
    return _replaced(walk, sighting, who)


def _replaced(walk: Walk, sighting: Sighting, who: str) -> Finding | None:
    """The same leaves in another file than the one that was seen: names end in the file's hash."""
    seen = sighting.seen
    link = next((each for each in walk.links if each.end == seen.size), None)
    if not sighting.trusted or link is None or link.facts.named.name == seen.batch:
        return None
    return Finding(
        Kind.ALTERED,
        f"{who} saw another file in its place: {seen.batch}",
        link.facts.named.name,
        link.first,
        link.end - 1,
        field="file",
    )


def _cosigned(sighting: Sighting, trust: Trust) -> tuple[Note | None, int | None, str | None]:
    """The seen checkpoint's note, when and by which trusted witness it was cosigned."""
    seen = sighting.seen
    try:
        note = Note.parse(seen.checkpoint)
        checkpoint = Checkpoint.parse(note.text, seen.origin)
    except LedgerError:
        return None, None, None
    if checkpoint.size != seen.size or base64text.encode(checkpoint.root) != seen.root:
        return None, None, None
    for witness in trust.witnesses:
        try:
            return note, witness.cosigned_at(note) * 1_000_000, witness.name
        except LedgerError:
            continue
    return note, None, None


def _signed_by(note: Note, key: VerifierKey, origin: str) -> bool:
    try:
        note.verified_by([VerifierKey(origin, key.public_key)])
    except LedgerError:
        return False
    return True
