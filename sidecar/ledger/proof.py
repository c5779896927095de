"""Inclusion and consistency proofs of RFC 6962 (2.1.1, 2.1.2), checked as RFC 9162 (2.1.3.2, 2.1.4.2) says.

Every hash of a proof is the root over a range of leaves, and the ranges follow
from the numbers alone. They do not overlap, so one pass over a log's leaves
makes any proof while holding O(log n) hashes, however long the log is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sidecar.errors import LedgerError
from sidecar.ledger.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, Frontier, node_hash

Range = tuple[int, int]
"""First leaf, and the leaf after the last."""


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The leaves under each hash of PATH(index, D[size]), in the path's order: from the leaf's sibling up."""
    if not 0 <= index < size <= MAX_SIZE:
        raise LedgerError(f"proof: no leaf {index} in a log of {size}")
    start, end = 0, size
    ranges = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The leaves under each hash of PROOF(old, D[new]), in the proof's order."""
    if not 0 <= old <= new <= MAX_SIZE:
        raise LedgerError(f"proof: a log of {new} leaves does not continue one of {old}")
    if old in (0, new):
        return []
    start, end = 0, new
    ranges = []
    while old < end:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    # What is left is a perfect subtree that ends the old tree; the verifier knows it if it is the whole.
    if start > 0:
        ranges.append((start, end))
    return ranges[::-1]


def subtree_roots(leaves: Iterable[bytes], ranges: Sequence[Range]) -> list[bytes]:
    """The root over each of these ranges, which do not overlap, in one pass over the leaf hashes.

    Raises LedgerError when the leaves end too early.
    """
    iterator = iter(leaves)
    roots = [b""] * len(ranges)
    at = 0
    for position in sorted(range(len(ranges)), key=ranges.__getitem__):
        start, end = ranges[position]
        _skip(iterator, start - at)
        frontier = Frontier()
        frontier.extend(islice(iterator, end - start))
        if frontier.size != end - start:
            raise LedgerError(f"proof: the log's leaves end before leaf {end}: it cannot be proven from them")
        roots[position] = frontier.root()
        at = end
    return roots


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The proof that leaf `index` is in the tree over these leaf hashes."""
    return subtree_roots(leaves, inclusion_ranges(index, len(leaves)))


def consistency_path(leaves: Sequence[bytes], old: int, new: int) -> list[bytes]:
    """The proof that the tree over the first `new` leaf hashes continues that over the first `old`."""
    return subtree_roots(leaves, consistency_ranges(old, new))


def inclusion_root(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of the tree in which this path leads up from this leaf.

    Raises LedgerError when the path has not the length or form for it.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise LedgerError(f"proof: no leaf {index} in a log of {size}")
    _check_hashes([leaf_hash, *path])
    node, last = index, size - 1
    root = leaf_hash
    for sibling in path:
        if last == 0:
            raise LedgerError("proof: longer than the tree is high")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise LedgerError("proof: shorter than the tree is high")
    return root


def verify_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path shows that the leaf stands at `index` in the tree of `size` leaves with this root."""
    try:
        return inclusion_root(leaf_hash, index, size, path) == root
    except LedgerError:
        return False


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether the path shows that the tree of `new` leaves begins with all leaves of the tree of `old`.

    Everything continues the empty tree, and every tree itself, by an empty path.
    """
    try:
        _check_hashes([old_root, new_root, *path])
    except LedgerError:
        return False
    if not 0 <= old <= new <= MAX_SIZE:
        return False
    if old in (0, new):
        return not path and old_root == (EMPTY_ROOT if old == 0 else new_root) and _may_be(new, new_root)
    # A perfect old tree is a node of the new one, which the proof leaves out.
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not hashes:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_found = new_found = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and (old_found, new_found) == (old_root, new_root)


def _may_be(size: int, root: bytes) -> bool:
    return size > 0 or root == EMPTY_ROOT


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def _skip(iterator: Iterator[bytes], count: int) -> None:
    deque(islice(iterator, count), maxlen=0)


def _check_hashes(hashes: Iterable[bytes]) -> None:
    """Other lengths would let bytes move between the two sides of a node."""
    if any(len(each) != HASH_BYTES for each in hashes):
        raise LedgerError(f"proof: a hash is not {HASH_BYTES} bytes")
