"""The batches that claim a place in one log: which of several to go on with, and which are the same twice."""

from __future__ import annotations

from sidecar.audit import sealed
from sidecar.audit.batch import BatchFacts
from sidecar.audit.filed import belongs
from sidecar.audit.sealed import Signed


class Candidates:
    """All batches of one log. Those that repeat another one's rows are set aside as `twins`."""

    def __init__(self, batches: list[BatchFacts]) -> None:
        self._signed = {each.named.name: sealed.read(each) for each in batches}
        self._named_later = {
            str(leaf.details.get("sha256"))
            for each in batches
            for leaf in each.sealing
            if leaf.kind == "batch"
        }
        self.batches: list[BatchFacts] = []
        self.twins: list[tuple[BatchFacts, BatchFacts]] = []
        """A batch that holds the very rows of another, with that other."""
        self._set_twins_aside(batches)
        self.by_first: dict[int, list[BatchFacts]] = {}
        """By the leaf that their names begin with."""
        for each in self.batches:
            self.by_first.setdefault(each.named.first_leaf, []).append(each)

    def signed(self, facts: BatchFacts) -> Signed:
        return self._signed[facts.named.name]

    def best(self, first: int) -> BatchFacts:
        """Of the batches that begin at this leaf the one to go on with: sound, named later on, in place."""

        def rank(facts: BatchFacts) -> tuple[bool, bool, bool, bool, int, str]:
            signed = self.signed(facts)
            return (
                facts.unreadable is None and not facts.mismatched,
                signed.valid and signed.size == facts.named.last_leaf + 1,
                facts.sha256 in self._named_later,
                belongs(facts),
                facts.rows,
                facts.named.name,
            )

        return max(self.by_first[first], key=rank)

    def _set_twins_aside(self, batches: list[BatchFacts]) -> None:
        kept: dict[str, BatchFacts] = {}
        for facts in sorted(batches, key=self._in_place, reverse=True):
            if facts.rows and facts.content in kept:
                self.twins.append((facts, kept[facts.content]))
            else:
                kept[facts.content or facts.named.name] = facts
        aside = {facts.named.name for facts, _ in self.twins}
        self.batches = [each for each in batches if each.named.name not in aside]

    def _in_place(self, facts: BatchFacts) -> tuple[bool, bool, bool, str]:
        ends_so = self.signed(facts).size == facts.named.last_leaf + 1
        return facts.sha256 in self._named_later, belongs(facts), ends_so, facts.named.name
