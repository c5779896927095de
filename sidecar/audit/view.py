"""The tree as one batch sees it: its own leaves, and the subtrees of everything before them.

Enough to prove any of its leaves to the checkpoint of the batch, and to ask
what the root would be if one leaf were another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sidecar.audit.ranges import Range, subtrees

_sha256 = hashlib.sha256


def _node(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01" + left + right).digest()


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
        """Inclusion path of one of the batch's own leaves, from the leaf up (RFC 9162, section 2.1.3.1)."""
        low, high = 0, self.size
        path = []
        while high - low > 1:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            if index < middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        return path[::-1]

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
                found = _node(self._hash(low, middle), self._hash(middle, high))
            self._known[low, high] = found
        return found


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Root that an inclusion path leads to (RFC 9162, section 2.1.3.2); None when it has the wrong length."""
    if not 0 <= index < size:
        return None
    at, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            node = _node(sibling, node)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            node = _node(node, sibling)
        at >>= 1
        last >>= 1
    return node if last == 0 else None
