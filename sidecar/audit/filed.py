"""Whether an object stands where its own metadata and rows say it belongs, and says of its rows what is so.

Nothing in the log seals the metadata of its last file, and `find` goes by them:
whatever the rows or the name can tell is held against them.
"""

from __future__ import annotations

from datetime import date

from sidecar.audit.batch import SEALING_KINDS, BatchFacts
from sidecar.audit.findings import Finding, Kind
from sidecar.shipping.parquet import path_safe

SHOWN = 120
"""Characters of a value in a sentence."""
OWN_KINDS = SEALING_KINDS | {"heartbeat"}
_EPOCH = date(1970, 1, 1).toordinal()


def belongs(facts: BatchFacts) -> bool:
    """Whether the name is the one that the metadata and the bytes ask for."""
    return misfiled(facts) is None and facts.sha256.startswith(facts.named.hash)


def misfiled(facts: BatchFacts) -> Finding | None:
    """The first contradiction between folders, name, metadata and rows; None when all agree."""
    if facts.unreadable is not None:
        return None
    for kind, field, said, found in _claims(facts):
        if said != found:
            return Finding(
                kind,
                f"its {field} is {str(found)[:SHOWN]} where {str(said)[:SHOWN]} belongs",
                facts.named.name,
                facts.named.first_leaf,
                facts.named.last_leaf,
                field=field,
            )
    return None


def _claims(facts: BatchFacts) -> list[tuple[Kind, str, object, object]]:
    """Kind, field, what should be, what is."""
    named, metadata = facts.named, facts.metadata
    model, digest = str(metadata.get("model")), str(metadata.get("digest"))
    claims: list[tuple[Kind, str, object, object]] = []
    if facts.log_values is not None:
        sealed_digest = facts.log_value("image_digest") or facts.log_value("artifact_digest") or "unknown"
        claims += [
            (Kind.RELABELLED, "model", facts.log_value("model"), model),
            (Kind.RELABELLED, "digest", sealed_digest, digest),
            (Kind.ALTERED, "log", facts.log_value("log"), metadata.get("log")),
        ]
    return [
        *claims,
        (Kind.RELABELLED, "model folder", path_safe(model), named.model),
        (Kind.RELABELLED, "digest folder", path_safe(digest.replace(":", "-")), named.digest),
        (Kind.RELABELLED, "date folder", metadata.get("date"), named.date),
        (Kind.ALTERED, "origin", metadata.get("origin"), named.origin),
        (Kind.ALTERED, "first_leaf", metadata.get("first_leaf"), named.first_leaf),
        (Kind.ALTERED, "last_leaf", metadata.get("last_leaf"), named.last_leaf),
        (Kind.ALTERED, "first_seq", metadata.get("first_seq"), named.first_seq),
        (Kind.ALTERED, "last_seq", metadata.get("last_seq"), named.last_seq),
        (Kind.ALTERED, "rows", facts.rows, metadata.get("rows")),
        *_of_rows(facts),
    ]


def _of_rows(facts: BatchFacts) -> list[tuple[Kind, str, object, object]]:
    """What the rows alone say."""
    metadata = facts.metadata
    claims: list[tuple[Kind, str, object, object]] = [
        (Kind.ALTERED, "first_seq", facts.first_seq, metadata.get("first_seq")),
        (Kind.ALTERED, "last_seq", facts.last_seq, metadata.get("last_seq")),
        (Kind.ALTERED, "t_min_us", facts.t_first_us, metadata.get("t_min_us")),
        (Kind.ALTERED, "t_max_us", facts.t_last_us, metadata.get("t_max_us")),
    ]
    if facts.days and (day := _day(metadata.get("date"))) is not None:
        nearest = min(facts.days, key=lambda each: abs(each - day))
        # A file of sealing's own rows alone may be begun before midnight and sealed after it.
        own = not set(facts.kinds) - OWN_KINDS and abs(nearest - day) == 1
        said = metadata.get("date") if own else date.fromordinal(nearest + _EPOCH).isoformat()
        claims.append((Kind.RELABELLED, "date", said, metadata.get("date")))
    if facts.recomputed and "key_filter" in metadata:
        claims.append((Kind.ALTERED, "key_filter", facts.key_filter, metadata["key_filter"]))
    if facts.subjects:
        entries = metadata.get("key_entries")
        there = len(entries) if isinstance(entries, list) else 0
        keys = f"subjects/{facts.named.file.rsplit('-S', 1)[0]}.json"
        claims += [
            (Kind.ALTERED, "keys", keys, metadata.get("keys")),
            (Kind.ALTERED, "key_entries", max(there, len(facts.subjects)), there),
        ]
    return claims


def _day(text: object) -> int | None:
    try:
        return date.fromisoformat(str(text)).toordinal() - _EPOCH
    except ValueError:
        return None
