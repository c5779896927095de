from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from sidecar.errors import LedgerError
from sidecar.ledger.leaf import leaf_hash
from sidecar.ledger.tree import EMPTY_ROOT, Frontier, node_hash, root_of
from tests.ledger import rfc6962

PUBLISHED = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Roots over the first 1 to 8 leaves of the published test tree."""


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    assert root_of(leaf_hash(each) for each in rfc6962.VECTOR_LEAVES[:size]).hex() == PUBLISHED[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_frontier_has_the_root_of_the_definition_at_every_size() -> None:
    leaves = rfc6962.leaves(300)
    frontier = Frontier()
    for size, leaf in enumerate(leaves, 1):
        frontier.append(leaf)
        assert frontier.size == size
        assert len(frontier.hashes) == size.bit_count()
        assert frontier.root() == rfc6962.root(leaves[:size])


def test_a_frontier_goes_on_from_where_it_was_stored() -> None:
    leaves = rfc6962.leaves(300)
    for size in range(301):
        grown = Frontier()
        grown.extend(leaves[:size])
        restored = Frontier.from_list(msgpack.unpackb(msgpack.packb(grown.to_list())))
        assert restored == grown
        restored.extend(leaves[size:])
        assert restored.root() == root_of(leaves)
        assert grown.size == size


def test_a_copy_grows_apart() -> None:
    frontier = Frontier()
    frontier.extend(rfc6962.leaves(5))
    before = frontier.root()
    frontier.copy().append(EMPTY_ROOT)
    assert (frontier.size, frontier.root()) == (5, before)


def test_leaves_and_nodes_are_hashed_apart() -> None:
    left, right = rfc6962.leaves(2)
    assert node_hash(left, right) != leaf_hash(left + right)


@pytest.mark.parametrize(
    "stored",
    [[], [1], [-1], [True, b"x" * 32], ["1"], [3, b"x" * 32], [1, b"x" * 31], [1, "x" * 32], [2**63], [None]],
)
def test_what_is_no_frontier_is_refused(stored: list[Any]) -> None:
    with pytest.raises(LedgerError, match="tree frontier"):
        Frontier.from_list(stored)
