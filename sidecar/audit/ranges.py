"""Perfect subtrees of a range of leaves: what lets files be hashed apart and joined into one tree.

A range of leaves [first, last) of an RFC 6962 tree is covered by at most
2·log2(n) perfect subtrees. Each file's are computed on its own, in any
process; pushed in order onto the ones before, they merge into the frontier of
the whole log, whose root its checkpoint must name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sidecar.ledger.tree import EMPTY_ROOT

Node = tuple[int, bytes]
"""Level (a subtree of 2^level leaves) and hash."""

_sha256 = hashlib.sha256


def subtrees(first: int, leaves: Sequence[bytes]) -> list[Node]:
    """Perfect subtrees that cover the leaves, of which the first has index `first`, from left to right."""
    left: list[Node] = []
    right: list[Node] = []
    nodes = list(leaves)
    level = 0
    index = first
    while nodes:
        if index & 1:
            left.append((level, nodes[0]))
            nodes = nodes[1:]
            index += 1
        if len(nodes) & 1:
            right.append((level, nodes.pop()))
        nodes = [_sha256(b"\x01" + nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes), 2)]
        index >>= 1
        level += 1
    return left + right[::-1]


class Range:
    """A growing run of leaves as its subtrees; starts at leaf 0 unless `first` says otherwise."""

    __slots__ = ("first", "nodes", "size")

    def __init__(self, first: int = 0, nodes: Iterable[Node] = ()) -> None:
        self.first = first
        self.size = first
        """Index after the last leaf."""
        self.nodes: list[Node] = []
        self.push(nodes)

    def copy(self) -> Range:
        made = Range(self.first)
        made.size, made.nodes = self.size, list(self.nodes)
        return made

    def push(self, nodes: Iterable[Node]) -> None:
        """Append subtrees that begin where this range ends."""
        stack = self.nodes
        for level, node in nodes:
            self.size += 1 << level
            # A subtree merges with an equally large left neighbour exactly when it ends an even pair.
            position = (self.size >> level) - 1
            while position & 1 and stack and stack[-1][0] == level:
                node = _sha256(b"\x01" + stack.pop()[1] + node).digest()
                level += 1
                position >>= 1
            stack.append((level, node))

    def root(self) -> bytes:
        """Root hash of the tree of all leaves so far; only for a range from leaf 0."""
        if not self.nodes:
            return EMPTY_ROOT
        *others, (_, root) = self.nodes
        for _, node in reversed(others):
            root = _sha256(b"\x01" + node + root).digest()
        return root


def frontier(size: int, hashes: Sequence[bytes]) -> Range | None:
    """The range [0, size) from its subtree hashes, largest first; None when their number is not right."""
    levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
    if len(levels) != len(hashes) or any(len(each) != 32 for each in hashes):
        return None
    return Range(0, list(zip(levels, hashes, strict=True)))
