"""The Merkle tree of RFC 6962, section 2.1, grown one leaf at a time.

A tree of n leaves is kept as its frontier: the roots of the perfect subtrees
that its leaves fall into, one for each bit set in n, largest first. That is
all an append or the root needs, so a log's writer keeps O(log n) hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from sidecar.errors import LedgerError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
MAX_SIZE: Final = 2**63 - 1

_NODE = b"\x01"


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), 32 bytes."""
    return sha256(_NODE + left + right).digest()


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over these leaf hashes, taken one by one."""
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root()


class Frontier:
    """A growing tree: how many leaves it has and what it needs to take more."""

    __slots__ = ("_hashes", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._hashes: list[bytes] = []

    @property
    def size(self) -> int:
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees, largest and leftmost first."""
        return tuple(self._hashes)

    def append(self, leaf_hash: bytes) -> None:
        """Take the next leaf's hash: at most log2(size) node hashes, fewer than one on average."""
        hashes = self._hashes
        size = self._size
        while size & 1:
            leaf_hash = sha256(_NODE + hashes.pop() + leaf_hash).digest()
            size >>= 1
        hashes.append(leaf_hash)
        self._size += 1

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append each."""
        append = self.append
        for leaf_hash in leaf_hashes:
            append(leaf_hash)

    def root(self) -> bytes:
        """The root over all leaves so far; EMPTY_ROOT when there are none."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root

    def copy(self) -> Frontier:
        """One of its own with the same leaves."""
        other = Frontier()
        other._size, other._hashes = self._size, self._hashes.copy()
        return other

    def to_list(self) -> list[int | bytes]:
        """The size and the hashes, for msgpack: at most 64 elements."""
        return [self._size, *self._hashes]

    @classmethod
    def from_list(cls, stored: Sequence[int | bytes]) -> Frontier:
        """What `to_list` gave. Raises LedgerError when it cannot be a frontier."""
        size, hashes = (stored[0], stored[1:]) if stored else (None, ())
        if type(size) is not int or not 0 <= size <= MAX_SIZE:
            raise LedgerError(f"tree frontier: {size!r} is no tree size: restore it from the log's leaves")
        if len(hashes) != size.bit_count():
            raise LedgerError(
                f"tree frontier: {len(hashes)} hashes for {size} leaves, not {size.bit_count()}: "
                "restore it from the log's leaves"
            )
        frontier = cls()
        frontier._size = size
        for each in hashes:
            if not isinstance(each, bytes) or len(each) != HASH_BYTES:
                raise LedgerError(f"tree frontier: a hash is not {HASH_BYTES} bytes: restore it from the log")
            frontier._hashes.append(each)
        return frontier

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frontier) and (self._size, self._hashes) == (other._size, other._hashes)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Frontier(size={self._size}, root={self.root().hex()})"
