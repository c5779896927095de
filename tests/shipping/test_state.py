from __future__ import annotations

import os
from pathlib import Path

import lmdb
import msgpack  # type: ignore[import-untyped]
import pytest

from sidecar.errors import JournalVersion
from sidecar.records import Epoch, Position
from sidecar.shipping.knowledge import START, Knowledge, LogEnd, PaneBook, Tree
from sidecar.shipping.parquet import EncodedBatch
from sidecar.shipping.state import PART_BYTES, AnalystState


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "analyst"


def some(number: int, size: int = 10) -> EncodedBatch:
    return EncodedBatch(f"records/{number}.parquet", os.urandom(size), number)


def test_a_fresh_state_knows_nothing(folder: Path) -> None:
    state = AnalystState.open(folder)
    assert state.load() == Knowledge()
    assert state.pending() == []
    assert state.releasable() == START


def test_everything_of_a_commit_is_there_after_reopening(folder: Path) -> None:
    state = AnalystState.open(folder)
    epoch = Epoch("default", 1, "m", "sha256:aa", None, "flag", 5)
    tree = Tree("o", "b", [3, b"x" * 32, b"y" * 32], b"r" * 32, "records/0.parquet", b"h" * 32, 5, [1], True)
    known = Knowledge(
        Position(2, 7),
        {"exchanges": 9},
        {},
        {"b.default": LogEnd(9, 8, 1)},
        {"b.default": tree},
        {("b", "default", 1): epoch},
    )
    made = some(1, 3 * PART_BYTES + 17)
    state.commit(known, {("default", "sha256:aa"): b"counts"}, [made], 77)
    state.close()
    state = AnalystState.open(folder)
    found = state.load()
    assert found.cursor == Position(2, 7)
    assert (found.totals, found.logs, found.epochs) == (known.totals, known.logs, known.epochs)
    assert found.trees == {"b.default": tree}
    assert found.monitors == {("default", "sha256:aa"): b"counts"}
    (pending,) = state.pending()
    assert (pending.name, pending.records, pending.since_us) == (made.name, 1, 77)
    assert state.data(pending) == made.data


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES])
def test_a_batch_of_any_size_comes_back_whole(folder: Path, size: int) -> None:
    state = AnalystState.open(folder)
    made = some(1, size)
    state.commit(Knowledge(), {}, [made])
    assert state.data(state.pending()[0]) == made.data


def test_batches_are_pending_in_the_order_of_their_commits(folder: Path) -> None:
    state = AnalystState.open(folder)
    state.commit(Knowledge(Position(1, 1)), {}, [some(1), some(2)])
    state.commit(Knowledge(Position(1, 2)), {}, [some(3)])
    state.shipped(state.pending()[0], {"batches": 1})
    state.commit(Knowledge(Position(1, 3)), {}, [some(4)])
    assert [each.records for each in state.pending()] == [2, 3, 4]
    assert state.load().shipping == {"batches": 1}


def test_objects_that_a_batch_needs_are_shipped_before_it(folder: Path) -> None:
    state = AnalystState.open(folder)
    keyed = EncodedBatch("records/1.parquet", b"rows", 4, (("subjects/1.json", b"keys"),))
    state.commit(Knowledge(), {}, [keyed, some(2)])
    assert [(each.name, each.records) for each in state.pending()] == [
        ("subjects/1.json", 0),
        ("records/1.parquet", 4),
        ("records/2.parquet", 2),
    ]
    assert state.data(state.pending()[0]) == b"keys"


def test_keys_that_were_shipped_are_nowhere_in_the_state(folder: Path) -> None:
    state = AnalystState.open(folder)
    secret = os.urandom(64)
    state.commit(Knowledge(), {}, [EncodedBatch("records/1", b"rows", 4, (("subjects/1", secret),))])
    state.close()
    state = AnalystState.open(folder)
    keys, _ = state.pending()
    assert state.data(keys) == secret
    assert any(secret in path.read_bytes() for path in folder.iterdir())
    state.shipped(keys, {})
    assert not any(secret in path.read_bytes() for path in folder.iterdir())


def test_keys_of_a_commit_that_never_came_are_swept(folder: Path) -> None:
    state = AnalystState.open(folder)
    state.commit(Knowledge(), {}, [EncodedBatch("records/1", b"rows", 4, (("subjects/1", b"kept"),))])
    state.close()
    (folder / "object-77").write_bytes(b"never committed")
    state = AnalystState.open(folder)
    assert [path.name for path in folder.glob("object-*")] == ["object-1"]
    assert state.data(state.pending()[0]) == b"kept"


def test_the_journal_is_needed_from_before_the_oldest_pending_batch(folder: Path) -> None:
    state = AnalystState.open(folder)
    state.commit(Knowledge(Position(1, 5)), {}, [some(1)])
    assert state.releasable() == START
    state.commit(Knowledge(Position(2, 9)), {}, [some(2)])
    state.shipped(state.pending()[0], {})
    assert state.releasable() == Position(1, 5)
    state.shipped(state.pending()[0], {})
    assert state.releasable() == Position(2, 9)


def test_shipping_again_and_again_does_not_grow_the_file(folder: Path) -> None:
    state = AnalystState.open(folder)
    for number in range(60):
        state.commit(Knowledge(Position(1, number)), {}, [some(number, 1_000_000 + 7_919 * number)])
        for pending in state.pending():
            state.shipped(pending, {})
    assert (folder / "data.mdb").stat().st_blocks * 512 < 8_000_000


def test_a_newer_format_is_refused_by_name(folder: Path) -> None:
    AnalystState.open(folder).close()
    with lmdb.open(str(folder)) as env, env.begin(write=True) as transaction:
        transaction.put(b"version", msgpack.packb(99))
    with pytest.raises(JournalVersion, match="format 99"):
        AnalystState.open(folder)


@pytest.mark.parametrize("junk", [b"x" * 100_000, b"\0" * 40_960])
def test_a_damaged_state_is_moved_aside_with_a_warning(folder: Path, junk: bytes) -> None:
    AnalystState.open(folder).close()
    (folder / "data.mdb").write_bytes(junk)
    warnings: list[str] = []
    state = AnalystState.open(folder, warnings.append)
    assert state.load() == Knowledge()
    assert len(warnings) == 1
    assert "moved to" in warnings[0]
    assert (folder.with_name("analyst-damaged-1") / "data.mdb").exists()


def test_statistics_wait_by_themselves_and_hold_no_journal(folder: Path) -> None:
    state = AnalystState.open(folder)
    known = Knowledge(Position(1, 5), panes=PaneBook("ab" * 8, 3, ["p"]))
    state.commit(
        known, {}, [some(1)], 5, [("statistics/plans/p.json", b"plan"), ("statistics/panes/x", b"1")]
    )
    state.close()
    state = AnalystState.open(folder)
    assert state.load().panes == PaneBook("ab" * 8, 3, ["p"])
    batch, plan, panes = state.pending()
    assert [each.aside for each in (batch, plan, panes)] == [False, True, True]
    assert (state.data(plan), state.data(panes)) == (b"plan", b"1")
    assert state.releasable() == START
    state.shipped(batch, {})
    assert state.releasable() == Position(1, 5)
    state.shipped(plan, {})
    assert [each.name for each in state.pending()] == ["statistics/panes/x"]
