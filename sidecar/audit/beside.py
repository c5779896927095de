"""Batches beside the ones that make up a log: the same again, another history, or no part of it."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.audit import sealed
from sidecar.audit.batch import BatchFacts
from sidecar.audit.candidates import Candidates
from sidecar.audit.findings import Finding, Kind
from sidecar.audit.gone import Removals
from sidecar.audit.ranges import Range


def others(
    candidates: Candidates, walked: set[str], before: dict[int, Range], removals: Removals
) -> Iterator[Finding]:
    """What the batches are that the walk did not take. `before` has the tree before each leaf it came by."""
    for facts, twin in candidates.twins:
        yield _one(Kind.DUPLICATED, facts, f"holds the same records as {twin.named.name}")
    forks: list[BatchFacts] = []
    for facts in candidates.batches:
        named = facts.named
        if named.name in walked:
            continue
        stands = _stands(candidates, facts, before)
        if stands and removals.cover(named.first_leaf, named.last_leaf):
            yield _one(Kind.NOTE, facts, "was ordered to be removed and is still there")
        elif stands:
            forks.append(facts)
        else:
            yield _one(Kind.INSERTED, facts, "is no part of the log: no checkpoint covers its records")
    if forks:
        first = min(each.named.first_leaf for each in forks)
        names = ", ".join(each.named.file for each in forks[:3])
        more = f" and {len(forks) - 3} more" if len(forks) > 3 else ""
        yield Finding(
            Kind.FORKED,
            f"from leaf {first:,} on there are two histories, both signed by the log's key: {names}{more}",
            forks[0].named.name,
            first,
            max(each.named.last_leaf for each in forks),
        )


def _one(kind: Kind, facts: BatchFacts, text: str) -> Finding:
    named = facts.named
    return Finding(kind, text, named.name, named.first_leaf, named.last_leaf)


def _stands(candidates: Candidates, facts: BatchFacts, before: dict[int, Range]) -> bool:
    """Whether a checkpoint of its own covers the batch's rows."""
    first, signed = facts.named.first_leaf, candidates.signed(facts)
    if not signed.valid or facts.mismatched or signed.size != first + facts.rows:
        return False
    for tree in (before.get(first), sealed.before(facts, first)):
        if tree is not None:
            after = tree.copy()
            after.push(facts.computed)
            if after.root() == signed.root:
                return True
    return False
