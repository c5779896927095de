"""The tree as one batch sees it: its own leaves, and the subtrees of everything before them.

Enough to prove any of its leaves to the checkpoint of the batch, and to ask
what the root would be if one leaf were another.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.audit.ranges import Range, subtrees
from sidecar.ledger.proof import inclusion_ranges
from sidecar.ledger.tree import node_hash


class View:
    """Tree of the leaves [0, before.size + len(leaves))."""

    def __init__(self, before: Range, leaves: Sequence[bytes]) -> None:
        self.first = before.size
        self.size = before.size + len(leaves)
        self._before: dict[tuple[int, int], bytes] = {}
        at = 0
        for level, node in before.nodes:
            self._before[at, at + (1 << level)] = node
            at += 1 << level
        self._leaves = leaves
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self) -> bytes:
        return self._hash(0, self.size)

    def path(self, index: int) -> list[bytes]:
        """Inclusion path of one of the batch's own leaves, from the leaf up."""
        return [self._hash(*each) for each in inclusion_ranges(index, self.size)]

    def _hash(self, low: int, high: int) -> bytes:
        """Hash of the tree over [low, high), which is a node of this tree."""
        if low >= self.first and high - low == 1:
            return self._leaves[low - self.first]
        found = self._before.get((low, high)) or self._known.get((low, high))
        if found is None:
            if low >= self.first:
                # A node starts at a multiple of its size: its subtrees are those of a tree of its own.
                found = Range(0, subtrees(0, self._leaves[low - self.first : high - self.first])).root()
            else:
                middle = low + (1 << (high - low - 1).bit_length() - 1)
                found = node_hash(self._hash(low, middle), self._hash(middle, high))
            self._known[low, high] = found
        return found
