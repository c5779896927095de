"""Compacted files repeat the evidence row by row, and nothing happens to the evidence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sidecar.ledger.leaf import canonical, leaf_hash
from sidecar.ledger.note import SigningKey
from sidecar.objects_directory import DirectoryStore
from sidecar.schema import LOG_COLUMNS, ROW_COLUMNS
from tests.support.commands import sidecar
from tests.support.sealed_store import DAY_US, START_US, LogMaker, encode
from tests.support.stored import stored_rows


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two days, two models; three batches a log."""
    root = tmp_path / "store"
    for number in range(3):
        log = LogMaker(
            root, SigningKey("k", bytes([number + 1]) * 32), boot=f"b{number}",
            model="rates/v2" if number == 2 else "mortgage", t_us=START_US - (3 - number) * DAY_US // 2,
        )  # fmt: skip
        log.exchanges(20)
        log.next()
        log.gap(2)
        log.exchanges(20, status=500)
        log.next()
        log.exchanges(5)
        log.close()
    return root


def evidence(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((store / "records").rglob("*.parquet"))
    }


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {row["record_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_every_row_is_repeated_and_the_evidence_is_untouched(store: Path) -> None:
    before = evidence(store)
    ran = sidecar("compact", "--store", store)
    assert ran.code == 0, ran.err
    assert "9 files of" in ran.out
    assert evidence(store) == before
    compacted = by_id(stored_rows(store / "compacted"))
    assert compacted == by_id(stored_rows(store / "records"))
    for row in compacted.values():
        log, own = (tuple(row[name] for name in names) for names in (LOG_COLUMNS, ROW_COLUMNS))
        assert leaf_hash(canonical(log, own, row["salt"])) == row["leaf_hash"]
    assert len(list((store / "compacted").rglob("*.parquet"))) == 3
    assert sidecar("verify", "--store", store).code == 0


def test_a_second_run_finds_nothing_to_do_and_new_evidence_alone_is_added(store: Path) -> None:
    sidecar("compact", "--store", store)
    first = set((store / "compacted").rglob("*.parquet"))
    assert "nothing to compact; 9 files were compacted before" in sidecar("compact", "--store", store).out
    log = LogMaker(store, SigningKey("k", bytes([9]) * 32), boot="late")
    log.exchanges(3)
    log.close()
    ran = json.loads(sidecar("compact", "--store", store, "--json").out)
    assert (ran["files"], ran["sources"], ran["already"]) == (1, 1, 9)
    assert first < set((store / "compacted").rglob("*.parquet"))
    by_id(stored_rows(store / "compacted"))


def test_a_run_that_was_cut_short_goes_on_where_it_was(store: Path) -> None:
    sidecar("compact", "--store", store)
    made = {path.name: path.read_bytes() for path in (store / "compacted").rglob("*.parquet")}
    lost = next((store / "compacted").rglob("*.parquet"))
    lost.unlink()
    assert sidecar("compact", "--store", store).code == 0
    assert {path.name: path.read_bytes() for path in (store / "compacted").rglob("*.parquet")} == made


def test_portions_stay_below_the_size_asked_for(store: Path) -> None:
    """Bodies that cannot be compressed: four batches of 0.6 MB make four files where 1 MiB is the target."""
    log = LogMaker(store, SigningKey("k", bytes([9]) * 32), boot="large")
    for _ in range(4):
        body = os.urandom(600_000)
        log.exchange(request_body=body, request_body_length=len(body))
        log.next()
    log.close()
    dry = sidecar("compact", "--store", store, "--json", "--dry-run", "--target-size", "1")
    assert json.loads(dry.out)["rows"] == 0
    assert not (store / "compacted").exists()
    assert sidecar("compact", "--store", store, "--target-size", "1").code == 0
    sizes = [path.stat().st_size for path in (store / "compacted").rglob("*.parquet")]
    assert max(sizes) < 1 << 20
    assert len(sizes) == 3 + 4
    by_id(stored_rows(store / "compacted"))


def test_what_two_runs_at_once_have_repeated_twice_is_repeated_once_again(
    store: Path, tmp_path: Path
) -> None:
    """The other run had seen fewer files of the day, and made others of them."""
    other = tmp_path / "other"
    shutil.copytree(store, other)
    for path in (other / "records").rglob("*.parquet"):
        if "-L000000000000-" in path.name:
            path.unlink()
    assert sidecar("compact", "--store", other).code == 0
    assert sidecar("compact", "--store", store).code == 0
    expected = by_id(stored_rows(store / "compacted"))
    shutil.copytree(other / "compacted", store / "compacted", dirs_exist_ok=True)
    assert len(stored_rows(store / "compacted")) > len(expected)
    before = evidence(store)
    would = sidecar("compact", "--store", store, "--dry-run")
    assert (would.code, would.out.count("would remove")) == (0, 3)
    assert len(stored_rows(store / "compacted")) > len(expected)
    ran = sidecar("compact", "--store", store)
    assert ran.code == 0, ran.err
    assert ran.out.count("another run repeated the same evidence") == 3
    assert by_id(stored_rows(store / "compacted")).keys() == expected.keys()
    assert evidence(store) == before
    assert "nothing to compact" in sidecar("compact", "--store", store).out


def test_a_run_looks_again_for_what_another_one_made_meanwhile(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = DirectoryStore.put_new

    def slow(self: DirectoryStore, name: str, data: bytes) -> bool:
        monkeypatch.undo()
        # A whole run of its own, between the reading of the evidence and the putting.
        assert sidecar("compact", "--store", store, "--target-size", 1).code == 0
        # As if it had had other sources, and so another name.
        return began(self, name[: -len(".parquet")] + "f.parquet", data)

    monkeypatch.setattr(DirectoryStore, "put_new", slow)
    ran = sidecar("compact", "--store", store)
    assert ran.code == 0, ran.err
    assert "removed compacted/" in ran.out
    rows = stored_rows(store / "compacted")
    assert len(by_id(rows)) == len(rows)


def test_days_that_are_not_over_wait(store: Path) -> None:
    ran = json.loads(sidecar("compact", "--store", store, "--json", "--before", "2026-11-23").out)
    assert ran["sources"] == 3
    assert sidecar("compact", "--store", store, "--before", "tomorrow").code == 2


def test_an_altered_row_is_named_and_never_repeated(store: Path) -> None:
    path = next(each for each in (store / "records").rglob("*.parquet") if "rates" in str(each))
    rows = [row for row in stored_rows(store / "records") if row["boot"] == "b2" and row["leaf_index"] < 23]
    victim = next(row for row in rows if row["kind"] == "exchange")
    victim["status"] = 201
    for row in rows:
        row["keys"] = None if row["keys"] is None else dict(row["keys"])
    path.write_bytes(encode(rows, {"format": 2, "rows": len(rows)}))
    ran = sidecar("compact", "--store", store)
    assert ran.code == 1
    assert victim["record_id"] in ran.err
    assert "sidecar verify" in ran.err
    models = {row["model"] for row in stored_rows(store / "compacted")}
    assert models == {"mortgage"}


def test_a_damaged_compacted_file_is_an_error_by_name(store: Path) -> None:
    sidecar("compact", "--store", store)
    path = next((store / "compacted").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    ran = sidecar("compact", "--store", store)
    assert ran.code == 1
    assert path.name in ran.err
    assert len(ran.err.splitlines()) == 1


def test_the_view_has_the_columns_of_an_inference_table(store: Path, tmp_path: Path) -> None:
    view = tmp_path / "view.sql"
    assert sidecar("compact", "--store", store, "--view", view).code == 0
    with duckdb.connect(":memory:") as connection:
        connection.execute(view.read_text())
        described = connection.execute("DESCRIBE inference_table").fetchall()
        assert {name: kind for name, kind, *_ in described} == {
            "databricks_request_id": "VARCHAR",
            "client_request_id": "VARCHAR",
            "date": "DATE",
            "timestamp_ms": "BIGINT",
            "status_code": "INTEGER",
            "sampling_fraction": "DOUBLE",
            "execution_time_ms": "BIGINT",
            "request": "VARCHAR",
            "response": "VARCHAR",
            "request_metadata": "MAP(VARCHAR, VARCHAR)",
        }
        rows = connection.execute(
            "SELECT status_code, request, response, execution_time_ms, request_metadata['model_name'] "
            "FROM inference_table WHERE databricks_request_id = 'b0.default.1'"
        ).fetchall()
        assert rows == [(200, '{"n":1}', '{"deny":true}', 2, "mortgage")]
        assert connection.execute("SELECT count(*) FROM inference_table").fetchone() == (135,)
