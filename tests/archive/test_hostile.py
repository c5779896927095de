"""Stores that somebody else wrote: odd values, odd names and control characters harm nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidecar.archive import catalog
from sidecar.archive.find import find
from sidecar.archive.query import Query
from sidecar.archive.source import Source
from sidecar.errors import StoreError
from sidecar.ledger.note import SigningKey
from sidecar.objects import open_store
from tests.support.commands import sidecar
from tests.support.sealed_store import LogMaker

EVIL = "\x1b]0;owned\x07\x1b[2J"


def fail(error: StoreError) -> None:
    raise AssertionError(error)


@pytest.mark.parametrize("use_duckdb", [True, False])
def test_rows_without_their_usual_values_are_listed(tmp_path: Path, use_duckdb: bool) -> None:
    log = LogMaker(tmp_path, SigningKey("k", bytes(32)))
    log.exchange(outcome=None, path=None, method=None, t_end_us=None, keys=None, decision=None)
    log.exchange()
    twice = log.exchange()
    log.exchange(record_id=twice["record_id"], t_request_us=twice["t_request_us"])
    log.cut()
    source = Source(open_store(str(tmp_path)), tmp_path)
    assert len(list(find(source, Query(), fail, use_duckdb))) == 4
    for query in (
        Query(path="/x"),
        Query(path="/*"),
        Query(keys=(("a", "b"),)),
        Query(outcome="x"),
        Query(decision="x"),
    ):
        list(find(source, query, fail, use_duckdb))
    ran = sidecar("find", "--store", tmp_path)
    assert (ran.code, len(ran.out.splitlines())) == (0, 5)


def test_control_characters_reach_no_terminal(tmp_path: Path) -> None:
    log = LogMaker(tmp_path, SigningKey("k", bytes(32)), model=EVIL)
    changed: dict[str, Any] = {
        "path": EVIL,
        "outcome": EVIL,
        "client": EVIL,
        "reason": EVIL,
        "decision": EVIL,
    }
    record_id = log.exchange(keys={EVIL: EVIL}, redacted=EVIL, decode_error=EVIL, **changed)["record_id"]
    log.gap(1, EVIL)
    log.cut()
    for ran in (
        sidecar("find", "--store", tmp_path, "--kind", "all"),
        sidecar("show", record_id, "--store", tmp_path),
    ):
        assert ran.code == 0, ran.err
        assert "\x1b" not in ran.out
        assert "\x07" not in ran.out
        assert "owned" in ran.out


def test_folders_that_look_like_patterns_are_passed_over(tmp_path: Path) -> None:
    log = LogMaker(tmp_path, SigningKey("k", bytes(32)))
    log.exchanges(2)
    log.cut()
    real = next((tmp_path / "records").iterdir())
    (tmp_path / "records" / "model=*").symlink_to(real, target_is_directory=True)
    real.rename(tmp_path / "records" / "model=[m]ortgage")
    source = Source(open_store(str(tmp_path)), tmp_path)
    assert catalog.days(source) == []
    assert list(find(source, Query(), fail)) == []
