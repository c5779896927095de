from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from arro3.io import read_parquet
from hypothesis import given
from hypothesis import strategies as st

from sidecar.records import Delivery, Epoch, Event, Exchange, Gap, Message, Observation, Outcome
from sidecar.schema import COLUMN_TYPES
from sidecar.shipping.parquet import NO_VALUE, BatchFacts, encode, object_name, path_safe
from sidecar.shipping.rows import SLICE_ROWS, GroupKey, RowGroup
from sidecar.shipping.values import json_text, sparse
from tests.support.sealing import group_for

BOOT = "20261123T231500-9f3c2a71b0"
KEY = GroupKey(BOOT, "default", 1, 20_780)
EPOCH = Epoch("default", 1, "mortgage", "sha256:" + "ab" * 32, None, "flag")
START_US = 20_780 * 86_400_000_000


def group_of(count: int) -> RowGroup:
    group = group_for(KEY, EPOCH)
    for number in range(1, count + 1):
        exchange = Exchange("default", number % 3, "10.0.0.1:4000", START_US + number, 0)
        exchange.seq = number
        exchange.end_ns = 5_000
        head = b"POST /p HTTP/1.1\r\nContent-Length: 8\r\n\r\n"
        body = b'{"n":%03d}' % (number % 1000)
        request = Message(head, body, length=len(body))
        response = Message(b"HTTP/1.1 200 OK\r\n\r\n", b"ok", length=2)
        observation = Observation("plain_json", 1, {"n": [number]}, {"ok": [True]})
        keys = {"customer": f"c{number}", "case": "1"} if number % 2 else None
        group.exchange(exchange, request, response, observation, None, keys)
    return group


def facts_of(group: RowGroup) -> BatchFacts:
    return BatchFacts(
        origin=f"_._._._.default.{BOOT}",
        log=KEY.log,
        model=EPOCH.model,
        digest=EPOCH.digest,
        date=KEY.iso_date,
        rows=group.rows,
        first_leaf=40,
        first_seq=group.first,
        last_seq=group.last,
        t_min_us=group.t_min_us,
        t_max_us=group.t_max_us,
        checkpoint="",
        public_key="",
        enrolment=None,
        keys=None,
    )


def encoded(group: RowGroup) -> bytes:
    return encode(facts_of(group), group.batches(40, [], []))


def rows_of(data: bytes, folder: Path) -> list[dict[str, object]]:
    path = folder / "some.parquet"
    path.write_bytes(data)
    found = []
    for each in read_parquet(path):
        columns = [each.column(name).to_pylist() for name in COLUMN_TYPES]
        found += [dict(zip(COLUMN_TYPES, values, strict=True)) for values in zip(*columns, strict=True)]
    return found


@pytest.mark.parametrize("count", [1, SLICE_ROWS - 1, SLICE_ROWS, SLICE_ROWS + 1, 3 * SLICE_ROWS + 7])
def test_rows_come_back_as_they_went_in(count: int, tmp_path: Path) -> None:
    rows = rows_of(encoded(group_of(count)), tmp_path)
    assert [row["seq"] for row in rows] == list(range(1, count + 1))
    assert rows[-1]["request_body"] == b'{"n":%03d}' % (count % 1000)
    assert {row["model"] for row in rows} == {"mortgage"}
    assert rows[0]["t_first_byte_us"] is None
    assert [row["leaf_index"] for row in rows] == list(range(40, 40 + count))
    assert rows[0]["keys"] == [("case", "1"), ("customer", "c1")]
    assert rows[0]["decision"] == "true"
    assert rows[0]["t_end_us"] == START_US + 1 + 5


def test_equal_rows_give_equal_bytes_in_another_process_too() -> None:
    script = (
        "from tests.shipping.test_parquet import *; import hashlib; "
        "print(hashlib.sha256(encoded(group_of(2500))).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1


def test_the_name_says_origin_ranges_and_content() -> None:
    group = group_of(12)
    data = encoded(group)
    name = object_name(facts_of(group), data)
    folder = f"records/model=mortgage/digest=sha256-{'ab' * 32}/date=2026-11-23/"
    ranges = "-L000000000040-000000000051-S000000000001-000000000012-"
    assert name.startswith(f"{folder}_._._._.default.{BOOT}{ranges}")
    other = group_of(13)
    assert object_name(facts_of(other), encoded(other)).rsplit("-", 1)[1] != name.rsplit("-", 1)[1]


def test_the_metadata_tells_the_span_without_reading_rows(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    path.write_bytes(encoded(group_of(5)))
    metadata = orjson.loads(read_parquet(path).schema.metadata[b"sidecar"])
    assert (metadata["t_min_us"], metadata["t_max_us"]) == (START_US + 1, START_US + 5)
    assert (metadata["first_leaf"], metadata["last_leaf"], metadata["rows"]) == (40, 44, 5)
    assert (metadata["first_seq"], metadata["last_seq"]) == (1, 5)


def test_rows_of_the_log_itself_stand_around_the_others(tmp_path: Path) -> None:
    group = group_of(2)
    before = [sparse(record_id="o.genesis.0", kind="genesis", t_request_us=START_US, details="{}")]
    after = [sparse(record_id="o.close.3", kind="close", t_request_us=START_US + 9, details="{}")]
    rows = rows_of(encode(facts_of(group), group.batches(0, before, after)), tmp_path)
    assert [row["kind"] for row in rows] == ["genesis", "exchange", "exchange", "close"]
    assert [row["leaf_index"] for row in rows] == [0, 1, 2, 3]
    assert [rows[0]["leaf_hash"], rows[3]["leaf_hash"]] == [group.leaf(before[0]), group.leaf(after[0])]
    assert [row["leaf_hash"] for row in rows[1:3]] == group.leaves
    assert rows[0]["salt"] is None
    assert {row["model"] for row in rows} == {"mortgage"}


def test_all_kinds_of_entries_share_a_file(tmp_path: Path) -> None:
    group = group_of(1)
    group.gap(Gap(BOOT, "default", 2, 10, START_US + 5, START_US + 9, "disk_full"))
    group.delivery(Delivery("default", 1, START_US + 7, Outcome.CLIENT_ABORT))
    group.event(Event("clock_step", START_US + 8, {"seconds": 2}), 11, 7, 0)
    rows = rows_of(encoded(group), tmp_path)
    assert [row["kind"] for row in rows] == ["exchange", "gap", "delivery", "event"]
    assert (group.first, group.last) == (1, 11)
    assert len({row["record_id"] for row in rows}) == 4


@given(st.text(min_size=1))
def test_a_model_name_becomes_one_harmless_folder_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    safe = path_safe(name)
    assert len(safe.encode()) <= 160 + 20
    assert "/" not in safe
    assert safe.isascii()
    assert safe.isprintable()


def test_different_long_names_stay_different() -> None:
    assert path_safe("m" * 500 + "a") != path_safe("m" * 500 + "b")
    assert path_safe("") == NO_VALUE


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_decoded_value_becomes_json_text(value: object) -> None:
    assert orjson.loads(json_text({"f": value}).replace("\\ud", "\\u00d")) is not None
