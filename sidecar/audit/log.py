"""One log, from the facts of its batches: is its tree what its checkpoints say, and if not, what happened.

Batches are walked in leaf order. As long as each one's root fits its signed
checkpoint, everything up to there is exactly what was sealed, and nothing else
needs to be looked at. Where it does not fit, the one batch concerned is read
again and diagnosed; the walk then goes on from what is known to be true, so
that one deed is reported once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sidecar.audit import sealed
from sidecar.audit.batch import BatchFacts
from sidecar.audit.case import Bench
from sidecar.audit.diagnosis import diagnose
from sidecar.audit.filed import belongs, misfiled
from sidecar.audit.findings import Finding, Kind
from sidecar.audit.ranges import Range, frontier
from sidecar.audit.sealed import Signed
from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import VerifierKey
from sidecar.site.entry import object_name
from sidecar.site.removed import Removal

Fetch = Callable[[str], bytes]


@dataclass(slots=True)
class Link:
    """One batch in its place in the log."""

    facts: BatchFacts
    signed: Signed
    first: int
    """Index its first leaf was sealed under."""
    end: int
    """Index after its last sealed leaf."""
    before: Range | None = None
    good: bool = False
    """Rows, root and signature all fit."""


@dataclass(slots=True)
class Walk:
    """What came of one log."""

    origin: str
    links: list[Link] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    """Root of the tree at each size that a batch ends at, where it could be recomputed."""
    unproven: int = 0
    """Records that could not be joined to a checkpoint."""
    end: int = 0
    closed: bool = False

    @property
    def proven(self) -> bool:
        """Whether every record is joined to a checkpoint of the log."""
        return bool(self.links) and all(link.good for link in self.links)


class LogWalk:
    """Walks the batches of one origin; `fetch` reads an object again when it must be looked into."""

    def __init__(
        self, origin: str, batches: list[BatchFacts], fetch: Fetch, removals: Sequence[Removal] = ()
    ) -> None:
        self.walk = Walk(origin)
        self._removals = sorted(removals, key=lambda each: (each.range.first_leaf, each.index))
        self._fetch = fetch
        self._batches = batches
        self._signed = {each.named.name: sealed.read(each) for each in batches}
        self._named_later = {
            str(leaf.details.get("sha256"))
            for each in batches
            for leaf in each.sealing
            if leaf.kind == "batch"
        }
        self._twins = self._set_twins_aside()
        self._by_first: dict[int, list[BatchFacts]] = {}
        for each in self._batches:
            self._by_first.setdefault(each.named.first_leaf, []).append(each)
        self._assumed = 0
        """Records behind the last checkpoint that fits, on a tree that the next one may prove."""
        self._bench = Bench(batches, fetch)

    def run(self) -> Walk:
        """Walk to the end."""
        walk = self.walk
        tree: Range | None = Range()
        at = shift = 0
        left = set(self._by_first)
        while True:
            named = at + shift
            if named not in left:
                removal = self._removal(at)
                if removal is not None:
                    tree = self._retained(removal, tree)
                    at = removal.range.last_leaf + 1
                    continue
                following = min((first for first in left if first > named), default=None)
                if following is None:
                    break
                end = min([following - shift, *(each.range.first_leaf for each in self._removals_after(at))])
                self._removed(at, end, self._best(following))
                at, tree = end, None
                continue
            left.remove(named)
            facts = self._best(named)
            link = Link(facts, self._signed[facts.named.name], at, 0, tree)
            link.end, shift = self._extent(link, shift)
            walk.links.append(link)
            tree = self._judge(link)
            at = link.end
        walk.end = at
        self._others()
        self._previous_files()
        walk.closed = bool(walk.links) and walk.links[-1].facts.ends_closed
        return walk

    def _set_twins_aside(self) -> list[tuple[BatchFacts, BatchFacts]]:
        """Batches that hold the very rows of another one, with that one; the walk goes on without them."""
        kept: dict[str, BatchFacts] = {}
        twins = []
        for facts in sorted(self._batches, key=self._in_place, reverse=True):
            if facts.rows and facts.content in kept:
                twins.append((facts, kept[facts.content]))
            else:
                kept[facts.content or facts.named.name] = facts
        aside = {facts.named.name for facts, _ in twins}
        self._batches = [each for each in self._batches if each.named.name not in aside]
        return twins

    def _in_place(self, facts: BatchFacts) -> tuple[bool, bool, bool, str]:
        size = self._signed[facts.named.name].size
        named_later = facts.sha256 in self._named_later
        return named_later, belongs(facts), size == facts.named.last_leaf + 1, facts.named.name

    def _best(self, first: int) -> BatchFacts:
        """Of the batches that begin at this leaf the one to go on with: sound, named later on, in place."""

        def rank(facts: BatchFacts) -> tuple[bool, bool, bool, bool, int, str]:
            signed = self._signed[facts.named.name]
            return (
                facts.unreadable is None and not facts.mismatched,
                signed.valid and signed.size == facts.named.last_leaf + 1,
                facts.sha256 in self._named_later,
                belongs(facts),
                facts.rows,
                facts.named.name,
            )

        return max(self._by_first[first], key=rank)

    def _extent(self, link: Link, shift: int) -> tuple[int, int]:
        """Index after the batch's last sealed leaf, and how far the names after it run ahead of the truth.

        Name and checkpoint agree, or else what follows shows which of the two was moved.
        """
        facts, size = link.facts, link.signed.size
        named_end = facts.named.last_leaf + 1
        if not link.signed.valid or size == named_end - shift or size <= link.first:
            return named_end - shift, shift
        following = self._by_first.get(named_end)
        if following is not None:
            starts = {self._signed[each.named.name].size - each.rows for each in following}
            return (size, named_end - size) if size in starts else (named_end - shift, shift)
        if size + shift in self._by_first or size < link.first + facts.rows:
            return size, shift
        return named_end - shift, shift

    def _judge(self, link: Link) -> Range | None:
        """Check one batch against the tree so far; gives the tree after it, if that is known."""
        facts, signed, walk = link.facts, link.signed, self.walk
        own = sealed.before(facts, link.first)
        whole = facts.unreadable is None and not facts.misplaced and not facts.mismatched
        if whole and signed.valid and signed.size == link.end == link.first + facts.rows:
            nodes = self._bench.computed(facts, link.first)
            for tree in (link.before, own):
                if tree is None:
                    continue
                after = tree.copy()
                after.push(nodes)
                if after.root() == signed.root:
                    self._joined(link, tree)
                    # A later checkpoint over the same tree proves what an earlier one could not.
                    walk.unproven -= self._assumed if tree is link.before else 0
                    self._assumed = 0
                    walk.roots[link.end] = signed.root
                    link.before, link.good = tree, True
                    self._bytes(link)
                    return after
        if link.before is None:
            link.before = own
        outcome = diagnose(self._bench, facts, signed, link.first, link.end, link.before)
        walk.findings += outcome.findings
        walk.unproven += outcome.unproven
        self._assumed = outcome.unproven + self._assumed if outcome.after is not None else 0
        if outcome.after is not None and outcome.after.root() == signed.root:
            walk.roots[link.end] = signed.root
        return outcome.after

    def _joined(self, link: Link, tree: Range) -> None:
        """A batch that fits what it says came before, and not what the last checkpoint says, is a fork."""
        if link.first == 0 or tree is link.before or not self.walk.links[:-1]:
            return
        last = self.walk.links[-2]
        if last.good and last.end == link.first and last.signed.root != tree.root():
            self.walk.findings.append(
                Finding(
                    Kind.FORKED,
                    f"two checkpoints disagree about the first {link.first:,} leaves: the one of "
                    f"{last.facts.named.file} and the one of {link.facts.named.file}",
                    link.facts.named.name,
                    0,
                    link.first - 1,
                )
            )

    def _bytes(self, link: Link) -> None:
        """Rows that are as sealed, in an object that is not what its name says."""
        facts = link.facts
        if not facts.sha256.startswith(facts.named.hash):
            self._found(
                Kind.ALTERED,
                link,
                "the object's bytes are not what its name says; its records are as they were sealed",
                field="file",
            )
        elif (misplaced := misfiled(facts)) is not None:
            self.walk.findings.append(misplaced)
        elif facts.unknown_columns:
            self._found(
                Kind.ALTERED,
                link,
                f"column {facts.unknown_columns[0]} was added, which nobody sealed",
                field=facts.unknown_columns[0],
            )

    def _found(self, kind: Kind, link: Link, text: str, field: str | None = None) -> None:
        named = link.facts.named
        self.walk.findings.append(Finding(kind, text, named.name, link.first, link.end - 1, field=field))

    def _removals_after(self, at: int) -> list[Removal]:
        return [each for each in self._removals if each.range.first_leaf > at]

    def _removal(self, at: int) -> Removal | None:
        """A recorded removal of the leaves from here on."""
        return next((each for each in self._removals if each.range.first_leaf == at), None)

    def _retained(self, removal: Removal, tree: Range | None) -> Range | None:
        """The tree after removed leaves, as the site log's entry has it under the log's own checkpoint."""
        gone = removal.range
        entry = object_name(removal.index)
        try:
            signed = Checkpoint.open(gone.checkpoint, [VerifierKey.parse(gone.public_key)], gone.origin)
            if tree is not None:
                after = tree.copy()
                after.push((level, base64text.decode(node)) for level, node in gone.subtrees)
            else:
                found = frontier(gone.size, [base64text.decode(node) for node in gone.frontier])
                after = found if found is not None else Range()
            if (after.size, after.root()) != (signed.size, signed.root):
                raise ValueError("what it keeps of them does not lead to their checkpoint")
        except (LedgerError, ValueError) as error:
            text = f"their removal in entry {removal.index} of the site log does not hold: {error}"
            self._gone(Kind.REMOVED, gone.first_leaf, gone.last_leaf, text, entry)
            return None
        text = f"their retention had ended, as entry {removal.index} of the site log says"
        self._gone(Kind.RETAINED, gone.first_leaf, gone.last_leaf, text, entry)
        self.walk.roots[gone.size] = signed.root
        return after

    def _gone(self, kind: Kind, first: int, last: int, why: str, name: str | None) -> None:
        leaves = f"leaf {first:,} is" if first == last else f"leaves {first:,} to {last:,} are"
        text = f"{leaves} gone ({last - first + 1:,} records){': ' if why else ''}{why}"
        self.walk.findings.append(Finding(kind, text, name, first, last))

    def _removed(self, first: int, end: int, following: BatchFacts) -> None:
        """A hole in the leaves; the batch after it names the object that stood there last."""
        name = next(
            (str(leaf.details.get("name")) for leaf in following.sealing if leaf.kind == "batch"), None
        )
        self._gone(Kind.REMOVED, first, end - 1, "", name)

    def _others(self) -> None:
        """Batches beside the ones walked: the same again, another history, or no part of the log."""
        walked = {link.facts.named.name: link for link in self.walk.links}
        for facts, twin in self._twins:
            self._beside(Kind.DUPLICATED, facts, f"holds the same records as {twin.named.name}")
        forks: list[BatchFacts] = []
        for facts in self._batches:
            if facts.named.name in walked:
                continue
            signed = self._signed[facts.named.name]
            if self._stands(facts, signed):
                forks.append(facts)
            else:
                self._beside(Kind.INSERTED, facts, "is no part of the log: no checkpoint covers its records")
        if forks:
            first = min(each.named.first_leaf for each in forks)
            names = ", ".join(each.named.file for each in forks[:3])
            self.walk.findings.append(
                Finding(
                    Kind.FORKED,
                    f"from leaf {first:,} on there are two histories, both signed by the log's key: "
                    + names
                    + (f" and {len(forks) - 3} more" if len(forks) > 3 else ""),
                    forks[0].named.name,
                    first,
                    max(each.named.last_leaf for each in forks),
                )
            )

    def _beside(self, kind: Kind, facts: BatchFacts, text: str) -> None:
        named = facts.named
        self.walk.findings.append(Finding(kind, text, named.name, named.first_leaf, named.last_leaf))

    def _stands(self, facts: BatchFacts, signed: Signed) -> bool:
        """Whether a checkpoint of its own covers the batch's rows."""
        first = facts.named.first_leaf
        if not signed.valid or facts.mismatched or signed.size != first + facts.rows:
            return False
        known = next((link.before for link in self.walk.links if link.first == first), None)
        for tree in (known, sealed.before(facts, first)):
            if tree is not None:
                after = tree.copy()
                after.push(facts.computed)
                if after.root() == signed.root:
                    return True
        return False

    def _previous_files(self) -> None:
        """Each file's first leaf names the file before it by its hash."""
        blamed = {finding.object for finding in self.walk.findings}
        for last, link in zip(self.walk.links, self.walk.links[1:], strict=False):
            leaf = next(
                (each for each in link.facts.sealing if each.kind == "batch" and each.index == link.first),
                None,
            )
            if leaf is None or not link.good or last.end != link.first or last.facts.named.name in blamed:
                continue
            if leaf.details.get("sha256") != last.facts.sha256:
                self._found(
                    Kind.ALTERED,
                    last,
                    "is not the file whose hash the next batch sealed; its records are as they were",
                    field="file",
                )
            elif leaf.details.get("name") != last.facts.named.name:
                self._found(
                    Kind.RELABELLED, last, f"was sealed under another name: {leaf.details.get('name')}"
                )
