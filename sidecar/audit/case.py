"""One batch under diagnosis: its rows, the tree before it, the root it should lead to, what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sidecar.audit.batch import BatchFacts
from sidecar.audit.findings import NAMED, Finding, Kind
from sidecar.audit.ranges import Node, Range, subtrees
from sidecar.audit.sealed import Signed
from sidecar.audit.sheet import Sheet

GUESSES = 2_000_000
"""Tries at what was changed, for all damaged batches of a log together: some twenty seconds."""


class Bench:
    """The log's batches, and a way to lay one open."""

    def __init__(self, batches: list[BatchFacts], fetch: Callable[[str], bytes]) -> None:
        self.batches = batches
        self.guesses_left = GUESSES
        self._fetch = fetch

    def sheet(self, facts: BatchFacts) -> Sheet:
        return Sheet(facts.named.name, self._fetch(facts.named.name))

    def computed(self, facts: BatchFacts, first: int) -> list[Node]:
        """Subtrees of the batch's rows when its first is leaf `first`, whatever its name says."""
        if facts.named.first_leaf == first:
            return facts.computed
        return subtrees(first, self.sheet(facts).hashes)


@dataclass(slots=True)
class Outcome:
    """What was found, and the tree after the batch when it is known."""

    findings: list[Finding] = field(default_factory=list)
    after: Range | None = None
    unproven: int = 0


@dataclass(slots=True)
class Case:
    """One batch under diagnosis."""

    bench: Bench
    facts: BatchFacts
    signed: Signed
    first: int
    end: int
    before: Range | None
    sheet: Sheet
    outcome: Outcome

    def found(
        self, kind: Kind, text: str, field: str | None = None, records: list[str] | None = None
    ) -> None:
        self.outcome.findings.append(
            Finding(
                kind,
                text,
                self.facts.named.name,
                self.first,
                self.end - 1,
                tuple((records or [])[:NAMED]),
                field,
            )
        )

    def fits(self, leaves: list[bytes]) -> bool:
        """Whether these leaves lead to the signed root; the tree after them is then kept."""
        if self.before is None or not self.signed.valid:
            return False
        if self.signed.size != self.first + len(leaves):
            return False
        after = self.before.copy()
        after.push(subtrees(self.first, leaves))
        if after.root() != self.signed.root:
            return False
        self.outcome.after = after
        return True

    def assume(self, leaves: list[bytes]) -> None:
        """Go on as if these were the leaves; the next checkpoint confirms it or not."""
        if self.before is not None:
            self.outcome.after = self.before.copy()
            self.outcome.after.push(subtrees(self.first, leaves))
