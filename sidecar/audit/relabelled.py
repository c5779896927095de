"""Whether a batch's rows were sealed under another model, digest or source than they now carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.audit.batch import BatchFacts
from sidecar.audit.sheet import LOG_NAMES, Sheet

IDENTITY = ("model", "image_digest", "artifact_digest", "identity_source", "epoch")
_DETAILS = {
    "model": "model",
    "image_digest": "image_digest",
    "artifact_digest": "artifact_digest",
    "source": "identity_source",
    "number": "epoch",
}
TRIED = 2_000


@dataclass(frozen=True, slots=True)
class Relabelling:
    """Which log column was changed, and what it said when it was sealed."""

    column: str
    text: str


def relabelling(
    sheet: Sheet,
    rows: Iterable[int],
    facts: BatchFacts,
    batches: list[BatchFacts],
    fits: Callable[[list[bytes]], bool],
) -> Relabelling | None:
    """The log values under which the rows' leaves fit, if other ones than theirs do."""
    first = next(iter(rows), None)
    if first is None:
        return None
    own = tuple(sheet.columns[name][first] for name in LOG_NAMES)
    for values in _others(own, facts, batches):
        if fits(sheet.with_log(values)):
            changed = [name for name, was, now in zip(LOG_NAMES, values, own, strict=True) if was != now]
            column = changed[0]
            at = LOG_NAMES.index(column)
            also = f" ({', '.join(changed[1:])} likewise)" if len(changed) > 1 else ""
            return Relabelling(column, f"is {own[at]} and was sealed as {values[at]}{also}")
    return None


def _others(own: tuple[Any, ...], facts: BatchFacts, batches: list[BatchFacts]) -> Iterator[tuple[Any, ...]]:
    """Log values seen elsewhere in this log, most telling first: its identity leaves, then other batches."""
    tried = {own}
    for said in (*_identities(batches), *_seen(batches), *_filed(facts)):
        for changed in (said, *({name: value} for name, value in said.items())):
            values = tuple(changed.get(name, value) for name, value in zip(LOG_NAMES, own, strict=True))
            if values not in tried and len(tried) < TRIED:
                tried.add(values)
                yield values
    for name in IDENTITY:
        values = tuple(None if each == name else value for each, value in zip(LOG_NAMES, own, strict=True))
        if values not in tried:
            tried.add(values)
            yield values


def _identities(batches: list[BatchFacts]) -> Iterator[dict[str, Any]]:
    for facts in batches:
        for leaf in facts.sealing:
            if leaf.kind == "identity":
                yield {column: leaf.details[key] for key, column in _DETAILS.items() if key in leaf.details}


def _seen(batches: list[BatchFacts]) -> Iterator[dict[str, Any]]:
    for facts in batches:
        if facts.log_values is not None:
            yield dict(zip(LOG_NAMES, facts.log_values, strict=True))


def _filed(facts: BatchFacts) -> Iterator[dict[str, Any]]:
    """What the metadata still says, should only the columns have been changed."""
    model, digest = facts.metadata.get("model"), facts.metadata.get("digest")
    if isinstance(model, str):
        yield {"model": model}
    if isinstance(digest, str):
        yield {"image_digest": digest}
        yield {"artifact_digest": digest}
