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
from sidecar.audit.beside import others
from sidecar.audit.candidates import Candidates
from sidecar.audit.case import Bench
from sidecar.audit.diagnosis import diagnose
from sidecar.audit.filed import misfiled
from sidecar.audit.findings import Finding, Kind
from sidecar.audit.gone import Removals, join, removed_before
from sidecar.audit.ranges import Range
from sidecar.audit.sealed import Signed
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


class LogWalk:
    """Walks the batches of one origin; `fetch` reads an object again when it must be looked into."""

    def __init__(
        self, origin: str, batches: list[BatchFacts], fetch: Fetch, removals: Sequence[Removal] = ()
    ) -> None:
        self.walk = Walk(origin)
        self._candidates = Candidates(batches)
        self._removals = Removals(removals)
        self._assumed = 0
        """Records behind the last checkpoint that fits, on a tree that the next one may prove."""
        self._bench = Bench(batches, fetch)

    def run(self) -> Walk:
        """Walk to the end."""
        walk, candidates = self.walk, self._candidates
        tree: Range | None = Range()
        at = shift = 0
        left = set(candidates.by_first)
        while True:
            named = at + shift
            if named not in left:
                step = self._over(at, shift, left, tree)
                if step is None:
                    break
                at, tree = step
                continue
            left.remove(named)
            facts = candidates.best(named)
            link = Link(facts, candidates.signed(facts), at, 0, tree)
            link.end, shift = self._extent(link, shift)
            walk.links.append(link)
            tree = self._judge(link)
            at = link.end
        walk.end = at
        walked = {link.facts.named.name for link in walk.links}
        before = {link.first: link.before for link in walk.links if link.before is not None}
        walk.findings += others(candidates, walked, before, self._removals)
        self._previous_files()
        walk.closed = bool(walk.links) and walk.links[-1].facts.ends_closed
        return walk

    def _over(
        self, at: int, shift: int, left: set[int], tree: Range | None
    ) -> tuple[int, Range | None] | None:
        """Where the walk goes on when no batch begins here, and the tree there; None at the log's end."""
        removal = self._removals.at(at)
        if removal is not None:
            after, finding = join(removal, tree)
            self.walk.findings.append(finding)
            if after is not None:
                self.walk.roots[after.size] = after.root()
            return removal.range.last_leaf + 1, after
        following = min((first for first in left if first > at + shift), default=None)
        if following is None:
            return None
        next_removal = self._removals.next_after(at)
        end = following - shift if next_removal is None else min(following - shift, next_removal)
        self.walk.findings.append(removed_before(at, end, self._candidates.best(following)))
        return end, None

    def _extent(self, link: Link, shift: int) -> tuple[int, int]:
        """Index after the batch's last sealed leaf, and how far the names after it run ahead of the truth.

        Name and checkpoint agree, or else what follows shows which of the two was moved.
        """
        facts, size = link.facts, link.signed.size
        named_end = facts.named.last_leaf + 1
        if not link.signed.valid or size == named_end - shift or size <= link.first:
            return named_end - shift, shift
        following = self._candidates.by_first.get(named_end)
        if following is not None:
            starts = {self._candidates.signed(each).size - each.rows for each in following}
            return (size, named_end - size) if size in starts else (named_end - shift, shift)
        if size + shift in self._candidates.by_first or size < link.first + facts.rows:
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
