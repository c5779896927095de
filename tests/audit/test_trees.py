"""Ranges of leaves, joined in any cut, against the definition of RFC 6962; leaf hashes against the ledger's."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.audit import naming
from sidecar.audit.batch import check
from sidecar.audit.ranges import Range, frontier, subtrees
from sidecar.audit.sheet import Sheet
from sidecar.audit.view import View
from sidecar.ledger.proof import verify_inclusion
from tests.support import audited
from tests.support.sealed_store import OTHER_DIGEST

LEAVES = [sha256(bytes([number % 256, number // 256])).digest() for number in range(300)]


def definition(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + definition(leaves[:split]) + definition(leaves[split:])).digest()


def tree(count: int) -> Range:
    return Range(0, subtrees(0, LEAVES[:count]))


@pytest.mark.parametrize("size", range(0, 301, 7))
def test_the_root_is_that_of_the_definition(size: int) -> None:
    assert tree(size).root() == definition(LEAVES[:size])


@given(cuts=st.lists(st.integers(0, 300), max_size=6))
def test_pieces_cut_anywhere_join_to_the_same_tree(cuts: list[int]) -> None:
    joined = Range()
    edges = [0, *sorted(cuts), 300]
    for first, end in pairwise(edges):
        joined.push(subtrees(first, LEAVES[first:end]))
    assert joined.size == 300
    assert joined.root() == definition(LEAVES)
    assert joined.nodes == tree(300).nodes


@given(size=st.integers(0, 300))
def test_a_frontier_is_the_same_tree_again(size: int) -> None:
    found = frontier(size, [node for _, node in tree(size).nodes])
    assert found is not None
    assert (found.size, found.nodes) == (size, tree(size).nodes)
    assert frontier(size + 1, [node for _, node in tree(size).nodes] + [b"short"]) is None


@given(data=st.data(), size=st.integers(1, 300))
def test_a_batch_proves_each_of_its_leaves_to_its_checkpoint(data: st.DataObject, size: int) -> None:
    first = data.draw(st.integers(0, size - 1))
    index = data.draw(st.integers(first, size - 1))
    view = View(tree(first), LEAVES[first:size])
    assert view.root() == definition(LEAVES[:size])
    assert verify_inclusion(LEAVES[index], index, size, view.path(index), view.root())


def test_leaves_recomputed_from_columns_are_those_that_were_sealed(tmp_path: Path) -> None:
    made = audited.make(tmp_path)
    for name in made.log.names:
        named = naming.parse(name)
        assert named is not None
        facts = check(named, made.path(name).read_bytes())
        assert (facts.unreadable, facts.mismatched, facts.misplaced) == (None, 0, [])
        assert facts.computed == facts.claimed


def test_a_row_hasher_gives_the_leaf_whole_and_with_other_values(tmp_path: Path) -> None:
    made = audited.make(tmp_path)
    sheet = Sheet("x", made.path(made.log.names[1]).read_bytes())
    for row in range(sheet.rows):
        hasher = sheet.row(row)
        assert hasher.leaf() == sheet.hashes[row] == sheet.stored[row]
        assert hasher.leaf_with("status", hasher.values["status"]) == sheet.stored[row]
        assert hasher.leaf_with("status", 999) != sheet.stored[row]
        assert hasher.leaf_with_all({"keys": hasher.values["keys"], "t_end_us": None}) == hasher.leaf_with(
            "t_end_us", None
        )
    own = made.log.rows or None
    assert own is None
    log = tuple(
        OTHER_DIGEST if name == "image_digest" else sheet.columns[name][0]
        for name in (
            "log",
            "route",
            "boot",
            "model",
            "image_digest",
            "artifact_digest",
            "identity_source",
            "epoch",
        )
    )
    assert not set(sheet.with_log(log)) & set(sheet.stored)


@pytest.mark.parametrize(
    "name",
    [
        "records/model=m/digest=d/date=2026-11-24/a.b.c.d.e.f-L000000000000-000000000009-S000000000001-000000000008-0123456789abcdef.parquet",
        "records/model=m%2Fn/digest=sha256-ab/date=2026-11-24/_._._._.default.x.y-L000000000010-000000000010-S000000000000-000000000000-0123456789abcdef.parquet",
    ],
)
def test_names_of_batches_are_read(name: str) -> None:
    found = naming.parse(name)
    assert found is not None
    assert found.name == name
    assert f"{found.partition}/{found.file}" == name


@pytest.mark.parametrize(
    "name",
    [
        "records/model=m/digest=d/date=2026-11-24/x.parquet",
        "records/model=m/digest=d/a.b.c.d.e.f-L000000000000-000000000009-S000000000001-000000000008-0123456789abcdef.parquet",
        "records/model=m/digest=d/date=2026-11-24/a.b-L000000000009-000000000008-S000000000001-000000000008-0123456789abcdef.parquet",
        "records/model=m/digest=d/date=2026-11-24/a.b-L000000000000-000000000009-S000000000001-000000000008-0123456789ABCDEF.parquet",
        "site/000000000000.json",
    ],
)
def test_other_names_are_none(name: str) -> None:
    assert naming.parse(name) is None
