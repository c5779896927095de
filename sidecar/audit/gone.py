"""Leaves that are not in the store: removed by somebody, or on record when their retention ended."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.audit.batch import BatchFacts
from sidecar.audit.findings import Finding, Kind
from sidecar.audit.ranges import Range, frontier
from sidecar.errors import LedgerError
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import VerifierKey
from sidecar.site.entry import object_name
from sidecar.site.removed import Removal


class Removals:
    """What the site log says was removed of one log."""

    def __init__(self, removals: Sequence[Removal]) -> None:
        # A range that ends before it begins would lead the walk back.
        found = [each for each in removals if each.range.last_leaf >= each.range.first_leaf]
        self._removals = sorted(found, key=lambda each: (each.range.first_leaf, each.index))

    def at(self, leaf: int) -> Removal | None:
        """The removal that begins with this leaf."""
        return next((each for each in self._removals if each.range.first_leaf == leaf), None)

    def next_after(self, leaf: int) -> int | None:
        """First leaf of the next removal behind this leaf."""
        return min(
            (each.range.first_leaf for each in self._removals if each.range.first_leaf > leaf), default=None
        )

    def cover(self, first: int, last: int) -> bool:
        """Whether the leaves are all in one removal, whose objects are still there if it was interrupted."""
        return any(each.range.first_leaf <= first and last <= each.range.last_leaf for each in self._removals)


def join(removal: Removal, tree: Range | None) -> tuple[Range | None, Finding]:
    """The tree after removed leaves, as the site log's entry has it under the log's own checkpoint.

    `tree` is the one before them, if known. Without a tree in the answer, the removal does not hold.
    """
    removed = removal.range
    entry = object_name(removal.index)
    try:
        signed = Checkpoint.open(removed.checkpoint, [VerifierKey.parse(removed.public_key)], removed.origin)
        if tree is not None:
            after = tree.copy()
            after.push((level, base64text.decode(node)) for level, node in removed.subtrees)
        else:
            found = frontier(removed.size, [base64text.decode(node) for node in removed.frontier])
            after = found if found is not None else Range()
        if (after.size, after.root()) != (signed.size, signed.root):
            raise ValueError("what it keeps of them does not lead to their checkpoint")
    except (LedgerError, ValueError) as error:
        why = f"their removal in entry {removal.index} of the site log does not hold: {error}"
        return None, missing(Kind.REMOVED, removed.first_leaf, removed.last_leaf, why, entry)
    why = f"their retention had ended, as entry {removal.index} of the site log says"
    return after, missing(Kind.RETAINED, removed.first_leaf, removed.last_leaf, why, entry)


def removed_before(first: int, end: int, following: BatchFacts) -> Finding:
    """A hole in the leaves; the batch after it names the object that stood there last."""
    named = (str(leaf.details.get("name")) for leaf in following.sealing if leaf.kind == "batch")
    return missing(Kind.REMOVED, first, end - 1, "", next(named, None))


def missing(kind: Kind, first: int, last: int, why: str, name: str | None) -> Finding:
    leaves = f"leaf {first:,} is" if first == last else f"leaves {first:,} to {last:,} are"
    text = f"{leaves} gone ({last - first + 1:,} records){': ' if why else ''}{why}"
    return Finding(kind, text, name, first, last)
