"""RFC 6962, section 2.1, as its recursive definitions read: slow, and written apart from sidecar.ledger."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

VECTOR_LEAVES = [
    bytes.fromhex(each)
    for each in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""Leaves of the test tree of the RFC's reference implementations."""


def leaves(count: int) -> list[bytes]:
    """Hashes of `count` different leaves."""
    return [sha256(b"\x00" + str(number).encode()).digest() for number in range(count)]


def split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return int(1 << ((size - 1).bit_length() - 1))


def root(hashes: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return sha256(b"\x01" + root(hashes[:k]) + root(hashes[k:])).digest()


def path(m: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if m < k:
        return [*path(m, hashes[:k]), root(hashes[k:])]
    return [*path(m - k, hashes[k:]), root(hashes[:k])]


def proof(m: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n])."""
    return subproof(m, hashes, True)


def subproof(m: int, hashes: Sequence[bytes], known: bool) -> list[bytes]:
    if m == len(hashes):
        return [] if known else [root(hashes)]
    k = split(len(hashes))
    if m <= k:
        return [*subproof(m, hashes[:k], known), root(hashes[k:])]
    return [*subproof(m - k, hashes[k:], False), root(hashes[:k])]
