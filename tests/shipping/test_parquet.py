from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from arro3.io import read_parquet
from hypothesis import given
from hypothesis import strategies as st

from sidecar.archive.catalog import files
from sidecar.records import Delivery, Epoch, Event, Exchange, Gap, Message, Observation, Outcome
from sidecar.shipping.parquet import NO_VALUE, batch, encode, object_name, path_safe
from sidecar.shipping.rows import COLUMNS, SLICE_ROWS, GroupKey, RowGroup, json_text

BOOT = "20261123T231500-9f3c2a71b0"
KEY = GroupKey(BOOT, "default", 1, 20_780)
EPOCH = Epoch("default", 1, "mortgage", "sha256:" + "ab" * 32, None, "flag")
START_US = 20_780 * 86_400_000_000


def group_of(count: int) -> RowGroup:
    group = RowGroup(KEY, EPOCH)
    for number in range(1, count + 1):
        exchange = Exchange("default", number % 3, "10.0.0.1:4000", START_US + number, 0)
        exchange.seq = number
        exchange.end_ns = 5_000
        head = b"POST /p HTTP/1.1\r\nContent-Length: 8\r\n\r\n"
        body = b'{"n":%03d}' % (number % 1000)
        request = Message(head, body, length=len(body))
        response = Message(b"HTTP/1.1 200 OK\r\n\r\n", b"ok", length=2)
        observation = Observation("plain_json", 1, {"n": [number]}, {"ok": [True]})
        group.exchange(exchange, request, response, observation, None)
    return group


def rows_of(data: bytes, folder: Path) -> list[dict[str, object]]:
    path = folder / "some.parquet"
    path.write_bytes(data)
    found = []
    for each in read_parquet(path):
        columns = [each.column(name).to_pylist() for name in COLUMNS]
        found += [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]
    return found


@pytest.mark.parametrize("count", [1, SLICE_ROWS - 1, SLICE_ROWS, SLICE_ROWS + 1, 3 * SLICE_ROWS + 7])
def test_rows_come_back_as_they_went_in(count: int, tmp_path: Path) -> None:
    rows = rows_of(encode(group_of(count)), tmp_path)
    assert [row["seq"] for row in rows] == list(range(1, count + 1))
    assert rows[-1]["request_body"] == b'{"n":%03d}' % (count % 1000)
    assert {row["model"] for row in rows} == {"mortgage"}
    assert rows[0]["t_first_byte_us"] is None
    assert rows[0]["t_end_us"] == START_US + 1 + 5


def test_equal_rows_give_equal_bytes_in_another_process_too() -> None:
    script = (
        "from tests.shipping.test_parquet import *; import hashlib; "
        "print(hashlib.sha256(encode(group_of(2500))).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1


def test_the_name_says_log_range_and_content() -> None:
    group = group_of(12)
    data = encode(group)
    name = object_name(group, data)
    assert name.startswith(
        f"records/model=mortgage/digest=sha256-{'ab' * 32}/date=2026-11-23/{BOOT}.default-"
    )
    assert "-000000000001-000000000012-" in name
    assert batch(group).name == name
    other = group_of(13)
    assert object_name(other, encode(other)).rsplit("-", 1)[1] != name.rsplit("-", 1)[1]


def test_the_archive_reads_names_as_shipping_writes_them(tmp_path: Path) -> None:
    group = group_of(12)
    made = batch(group)
    path = tmp_path / made.name
    path.parent.mkdir(parents=True)
    path.write_bytes(made.data)
    (file,) = files("2026-11-23", [path.parent])
    assert (file.log, file.first, file.last) == (KEY.log, 1, 12)


def test_the_metadata_tells_the_span_without_reading_rows(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    path.write_bytes(encode(group_of(5)))
    metadata = orjson.loads(read_parquet(path).schema.metadata[b"sidecar"])
    assert (metadata["t_min_us"], metadata["t_max_us"]) == (START_US + 1, START_US + 5)
    assert (metadata["first"], metadata["last"], metadata["rows"]) == (1, 5, 5)


def test_all_kinds_of_entries_share_a_file(tmp_path: Path) -> None:
    group = group_of(1)
    group.gap(Gap(BOOT, "default", 2, 10, START_US + 5, START_US + 9, "disk_full"))
    group.delivery(Delivery("default", 1, START_US + 7, Outcome.CLIENT_ABORT))
    group.event(Event("clock_step", START_US + 8, {"seconds": 2}), 11, 7, 0)
    rows = rows_of(encode(group), tmp_path)
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
