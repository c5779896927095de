"""Whether an object stands where its own metadata and rows say it belongs."""

from __future__ import annotations

from sidecar.audit.batch import BatchFacts
from sidecar.audit.findings import Finding, Kind
from sidecar.shipping.parquet import path_safe


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
                f"its {field} is {found} where {said} belongs",
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
    ]
