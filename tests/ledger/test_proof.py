from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.ledger.leaf import leaf_hash
from sidecar.ledger.proof import (
    consistency_path,
    consistency_ranges,
    inclusion_path,
    inclusion_ranges,
    inclusion_root,
    subtree_roots,
    verify_consistency,
    verify_inclusion,
)
from sidecar.ledger.tree import EMPTY_ROOT, node_hash, root_of
from tests.ledger import rfc6962

LEAVES = rfc6962.leaves(300)
ROOTS = [root_of(LEAVES[:size]) for size in range(301)]


@cache
def range_root(start: int, end: int) -> bytes:
    return root_of(LEAVES[start:end])


def roots(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    return [range_root(*each) for each in ranges]


# PATH and PROOF of the published test tree, from Certificate Transparency's merkle tree tests.
PUBLISHED_PATHS = [
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (5, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
]  # fmt: skip
PUBLISHED_PROOFS = [
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
]  # fmt: skip


@pytest.mark.parametrize(("index", "size", "path"), PUBLISHED_PATHS)
def test_published_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    leaves = [leaf_hash(each) for each in rfc6962.VECTOR_LEAVES[:size]]
    assert [each.hex() for each in inclusion_path(leaves, index)] == path


@pytest.mark.parametrize(("old", "new", "path"), PUBLISHED_PROOFS)
def test_published_consistency_proofs(old: int, new: int, path: list[str]) -> None:
    leaves = [leaf_hash(each) for each in rfc6962.VECTOR_LEAVES]
    assert [each.hex() for each in consistency_path(leaves, old, new)] == path


def test_every_leaf_of_every_tree_up_to_300_is_proven() -> None:
    for size in range(1, 301):
        for index in range(size):
            path = roots(inclusion_ranges(index, size))
            assert inclusion_root(LEAVES[index], index, size, path) == ROOTS[size]


def test_every_pair_of_sizes_up_to_300_is_consistent() -> None:
    for new in range(301):
        for old in range(new + 1):
            assert verify_consistency(old, new, roots(consistency_ranges(old, new)), ROOTS[old], ROOTS[new])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 37, 64])
def test_proofs_are_those_of_the_definitions(size: int) -> None:
    leaves = LEAVES[:size]
    for index in range(size):
        assert inclusion_path(leaves, index) == rfc6962.path(index, leaves)
        assert consistency_path(leaves, index + 1, size) == rfc6962.proof(index + 1, leaves)


@given(st.integers(1, 300), st.data())
def test_an_inclusion_proof_holds_for_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = roots(inclusion_ranges(index, size))
    leaf, root = LEAVES[index], ROOTS[size]
    assert verify_inclusion(leaf, index, size, path, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != index)) if size > 1 else 0
    if size > 1:
        assert not verify_inclusion(LEAVES[other], index, size, path, root)
        assert not verify_inclusion(leaf, other, size, path, root)
        assert not verify_inclusion(leaf, index, size, path[:-1], root)
        changed = data.draw(st.integers(0, len(path) - 1))
        assert not verify_inclusion(
            leaf, index, size, [*path[:changed], flip(path[changed]), *path[changed + 1 :]], root
        )
    assert not verify_inclusion(leaf, index, size, [*path, LEAVES[0]], root)
    assert not verify_inclusion(flip(leaf), index, size, path, root)
    assert not verify_inclusion(leaf, index, size, path, flip(root))
    assert not verify_inclusion(leaf, size, size, path, root)
    assert not verify_inclusion(leaf, -1, size, path, root)


@given(st.integers(1, 300), st.data())
def test_a_consistency_proof_holds_for_nothing_else(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    path = roots(consistency_ranges(old, new))
    assert verify_consistency(old, new, path, ROOTS[old], ROOTS[new])
    assert not verify_consistency(old, new, path, flip(ROOTS[old]), ROOTS[new])
    assert not verify_consistency(old, new, path, ROOTS[old], flip(ROOTS[new]))
    assert not verify_consistency(old, new, [*path, LEAVES[0]], ROOTS[old], ROOTS[new])
    assert not verify_consistency(new + 1, new, path, ROOTS[old], ROOTS[new])
    if path:
        assert not verify_consistency(old, new, path[:-1], ROOTS[old], ROOTS[new])
        changed = data.draw(st.integers(0, len(path) - 1))
        wrong = [*path[:changed], flip(path[changed]), *path[changed + 1 :]]
        assert not verify_consistency(old, new, wrong, ROOTS[old], ROOTS[new])


def flip(digest: bytes) -> bytes:
    return bytes([digest[0] ^ 1]) + digest[1:]


@given(st.integers(2, 300), st.data())
def test_a_history_that_was_changed_has_no_proof(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    changed = data.draw(st.integers(0, old - 1))
    other = [*LEAVES[:changed], flip(LEAVES[changed]), *LEAVES[changed + 1 : new]]
    assert not verify_consistency(old, new, consistency_path(other, old, new), ROOTS[old], root_of(other))


@given(st.integers(1, 300), st.data())
def test_a_proof_from_a_stream_is_the_proof_from_the_whole(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    stream = iter(LEAVES)
    assert subtree_roots(stream, inclusion_ranges(index, size)) == roots(inclusion_ranges(index, size))


def test_ranges_of_a_log_of_any_size_are_few_and_disjoint() -> None:
    size = 10_000_000
    for index in (0, 1, 4_999_999, size - 1):
        ranges = sorted(inclusion_ranges(index, size))
        assert len(ranges) <= 24
        assert sum(end - start for start, end in ranges) == size - 1
        assert all(end <= start for (_, end), (start, _) in pairwise(ranges))


def test_what_cannot_be_proven_is_said() -> None:
    with pytest.raises(LedgerError, match="no leaf 3 in a log of 3"):
        inclusion_path(LEAVES[:3], 3)
    with pytest.raises(LedgerError, match="does not continue"):
        consistency_path(LEAVES[:3], 3, 2)
    with pytest.raises(LedgerError, match="leaves end before leaf 4"):
        consistency_path(LEAVES[:3], 2, 4)


def test_a_path_of_another_length_proves_nothing_even_of_the_root_it_leads_to() -> None:
    a, b, c, d, e = LEAVES[:5]
    ab = node_hash(a, b)
    assert verify_inclusion(a, 0, 2, [b], ab)
    assert not verify_inclusion(a, 0, 3, [b], ab)
    assert not verify_inclusion(a, 0, 4, [b], ab)
    assert not verify_inclusion(b, 0, 1, [a], ab)
    assert verify_consistency(1, 2, [b], a, ab)
    assert not verify_consistency(1, 4, [b], a, ab)
    path, old, new = [c, d, ab], ROOTS[3], ROOTS[4]
    assert verify_consistency(3, 4, path, old, new)
    assert not verify_consistency(3, 4, [*path, e], node_hash(e, old), node_hash(e, new))


def test_hashes_of_another_length_prove_nothing() -> None:
    left, right = LEAVES[:2]
    assert not verify_consistency(1, 2, [right[1:]], left + right[:1], ROOTS[2])
    assert verify_inclusion(left, 0, 2, [right], ROOTS[2])
    assert not verify_inclusion(left + right[:1], 0, 2, [right[1:]], ROOTS[2])


def test_everything_continues_the_empty_tree_and_only_it_by_an_empty_path() -> None:
    assert verify_consistency(0, 5, [], EMPTY_ROOT, ROOTS[5])
    assert not verify_consistency(0, 5, [], ROOTS[1], ROOTS[5])
    assert not verify_consistency(0, 5, [LEAVES[0]], EMPTY_ROOT, ROOTS[5])
    assert not verify_consistency(0, 0, [], EMPTY_ROOT, ROOTS[5])
    assert verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    assert not verify_consistency(3, 5, [], ROOTS[3], ROOTS[5])
    assert not verify_consistency(4, 5, [], ROOTS[4], ROOTS[5])
