from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from tests.bench.store import BodyCheck, StoreTail, check_bodies

TEXT = DataType.string()
COLUMNS: dict[str, Any] = {
    "record_id": TEXT,
    "kind": TEXT,
    "count": DataType.int64(),
    "outcome": TEXT,
    "decode_error": TEXT,
    "method": TEXT,
    "request_body": DataType.binary(),
    "request_body_length": DataType.int64(),
    "request_body_sha256": DataType.binary(),
}


def put(store: Path, name: str, rows: list[dict[str, Any]]) -> None:
    folder = store / "records" / "model=m" / "digest=d" / "date=2026-01-01"
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        column: Array([row.get(column) for row in rows], type=kind) for column, kind in COLUMNS.items()
    }
    write_parquet(Table.from_pydict(arrays), folder / name)


def exchange(record_id: str, **more: Any) -> dict[str, Any]:
    return {"record_id": record_id, "kind": "exchange", "outcome": "complete", "method": "POST", **more}


def test_every_file_is_counted_once_however_often_the_store_is_read(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", [exchange("b.r.1"), exchange("b.r.2")])
    tail = StoreTail(tmp_path)
    assert tail.read().exchanges == 2
    put(tmp_path, "b.parquet", [exchange("b.r.3")])
    assert tail.read().exchanges == 3
    assert tail.read().exchanges == 3
    assert (tail.files, tail.twice) == (2, 0)


def test_a_record_in_two_files_is_there_twice(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", [exchange("b.r.1"), exchange("b.r.2")])
    put(tmp_path, "b.parquet", [exchange("b.r.2")])
    tail = StoreTail(tmp_path).read()
    assert (tail.exchanges, tail.twice) == (3, 1)


def test_gaps_count_what_they_stand_for_and_are_no_exchanges(tmp_path: Path) -> None:
    gap = {"record_id": "b.r.2", "kind": "gap", "count": 41}
    put(tmp_path, "a.parquet", [exchange("b.r.1"), gap, {"record_id": "b.e.1", "kind": "event"}])
    tail = StoreTail(tmp_path).read()
    assert (tail.exchanges, tail.gap_exchanges) == (1, 41)


def test_files_still_being_written_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, ".a.parquet", [exchange("b.r.1")])
    assert StoreTail(tmp_path).read().exchanges == 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"request_body": b"whole"}, BodyCheck(1, 0, 0)),
        ({"request_body": b"other"}, BodyCheck(0, 0, 1)),
        (
            {"request_body": b"w", "request_body_length": 5, "request_body_sha256": "right"},
            BodyCheck(0, 1, 0),
        ),
        (
            {"request_body": b"w", "request_body_length": 4, "request_body_sha256": "right"},
            BodyCheck(0, 0, 1),
        ),
        (
            {"request_body": b"w", "request_body_length": 5, "request_body_sha256": "wrong"},
            BodyCheck(0, 0, 1),
        ),
        ({"request_body": b"whole", "method": "GET"}, BodyCheck(0, 0, 0)),
    ],
)
def test_bodies_are_compared_with_what_was_sent(
    tmp_path: Path, row: dict[str, Any], expected: BodyCheck
) -> None:
    digest = sha256(b"whole")
    if "request_body_sha256" in row:
        right = row["request_body_sha256"] == "right"
        row = {**row, "request_body_sha256": digest.digest() if right else bytes(32)}
    put(tmp_path, "a.parquet", [exchange("b.r.1", **row)])
    assert check_bodies(tmp_path, "request", "POST", digest.hexdigest(), 5) == expected
