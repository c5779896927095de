from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar import lookup
from sidecar.errors import RecordNotFound, StoreError, UsageError
from sidecar.privacy.keys import KeyReader, parse_key
from sidecar.privacy.replacement import Replacer, value_bytes
from sidecar.records import Exchange, Message
from sidecar.shipping.rows import DAY_US, GroupKey, RowGroup
from tests.support.sealing import group_for
from tests.support.stored_sample import BOOT, EPOCH, LOG, REQUEST_HEAD, START_US, group, put, sample

show = lookup.show


@pytest.fixture
def store(tmp_path: Path) -> Path:
    sample(tmp_path / "store")
    return tmp_path / "store"


def find(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(lookup.find, ["--store", str(store), *arguments])


def group_with_keys(number: int) -> RowGroup:
    """Ten exchanges of file `number`, each with an applicant of its own and the file's case."""
    made = group_for(GroupKey(BOOT, "default", 1, START_US // DAY_US), EPOCH)
    for index in range(10):
        exchange = Exchange("default", 1, "10.0.0.1:4000", START_US + number * 1_000 + index, 0)
        exchange.seq = number * 10 + index + 1
        message = Message(REQUEST_HEAD, b"{}", length=2)
        keys = {"applicant": f"A-{number}-{index}", "case": f"C-{number}"}
        made.exchange(exchange, message, message, None, None, keys)
    return made


def found(store: Path, *arguments: str) -> list[dict[str, Any]]:
    result = find(store, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_rows_of_the_log_itself_are_told_by_what_they_have(store: Path) -> None:
    listed = find(store, "--kind", "all", "--limit", "0").output
    assert "genesis" in listed
    assert "None" not in listed


def test_records_come_newest_first_over_files_models_and_days(store: Path) -> None:
    rows = found(store, "--limit", "0")
    times = [row["t_request_us"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert len(rows) == 250
    assert {row["kind"] for row in rows} == {"exchange"}


def test_a_line_of_json_has_what_is_promised(store: Path) -> None:
    (row,) = found(store, "--limit", "1")
    promised = (
        "record_id seq model image_digest artifact_digest t_request_us t_first_byte_us t_end_us method path "
        "status outcome request_bytes response_bytes"
    )
    assert set(promised.split()) <= set(row)
    assert (row["record_id"], row["seq"], row["model"]) == (f"{LOG}.240", 240, "mortgage")
    assert (row["method"], row["path"], row["status"], row["outcome"]) == (
        "POST",
        "/predict",
        500,
        "complete",
    )
    assert row["t_first_byte_us"] - row["t_request_us"] == 1_500


def test_the_limit_is_fifty_unless_said_otherwise(store: Path) -> None:
    assert len(found(store)) == 50
    assert [row["seq"] for row in found(store, "--limit", "3")] == [240, 239, 238]


def test_each_filter_keeps_exactly_what_matches(store: Path) -> None:
    everything = found(store, "--limit", "0")
    assert found(store, "--limit", "0", "--status", "500") == [r for r in everything if r["status"] == 500]
    assert found(store, "--limit", "0", "--model", "rates/v2") == [
        r for r in everything if r["model"] == "rates/v2"
    ]
    low, high = START_US + 30_000, START_US + 75_000
    kept = found(store, "--limit", "0", "--since", str(low / 1e6), "--until", str(high / 1e6))
    assert kept == [r for r in everything if low <= r["t_request_us"] < high]


def test_gaps_deliveries_and_events_are_listed_when_asked_for(store: Path) -> None:
    (gap,) = found(store, "--kind", "gap")
    assert (gap["seq"], gap["count"], gap["reason"]) == (201, 20, "disk_full")
    kinds = [row["kind"] for row in found(store, "--kind", "gap", "--kind", "event", "--kind", "delivery")]
    assert kinds == ["event", "delivery", "gap"]
    everything = found(store, "--kind", "all", "--limit", "0")
    kinds = [row["kind"] for row in everything]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "exchange": 250, "gap": 1, "delivery": 1, "event": 1,
        "genesis": 2, "config": 2, "identity": 2, "batch": 2,
    }  # fmt: skip


def test_the_table_has_a_line_for_each_record(store: Path) -> None:
    lines = find(store, "--kind", "exchange", "--kind", "gap", "--limit", "0").stdout.splitlines()
    assert lines[0].startswith("TIME (UTC)")
    assert len(lines) == 252
    assert f"{LOG}.240  POST /predict" in lines[1]
    assert any("20 exchanges left no record: disk_full" in line for line in lines)


def test_an_empty_or_missing_store_is_told_apart(tmp_path: Path) -> None:
    result = find(tmp_path)
    assert result.exit_code == 0
    assert "no records found" in result.stderr
    missing = find(tmp_path / "missing")
    assert isinstance(missing.exception, StoreError)
    assert "no such directory" in str(missing.exception)


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"junk" * 1_000, None])
def test_an_unreadable_file_is_named_and_the_rest_goes_on(store: Path, damage: bytes | None) -> None:
    path = put(store, group(300, 310, START_US + 400_000))
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 64 + whole[264:] if damage is None else damage)
    result = find(store, "--json", "--limit", "0")
    assert isinstance(result.exception, StoreError)
    assert result.exception.exit_code == 1
    assert path.name in result.stderr
    assert "1 file" in str(result.exception)
    assert len(result.stdout.splitlines()) == 250


def test_any_damaged_byte_is_an_error_by_name_and_never_a_crash(store: Path) -> None:
    path = put(store, group(300, 310, START_US + 400_000))
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        result = find(store, "--json", "--limit", "0")
        assert result.exception is None or isinstance(result.exception, StoreError)
        assert len(result.stdout.splitlines()) >= 250


@pytest.mark.parametrize(
    "arguments",
    [["--since", "yesterday"], ["--status", "x"], ["--status", "9"], ["--limit", "-1"], ["--kind", "x"]],
)
def test_a_wrong_value_is_a_usage_error(store: Path, arguments: list[str]) -> None:
    assert find(store, *arguments).exit_code == 2


def shown(store: Path, record_id: str) -> dict[str, Any]:
    result = CliRunner().invoke(show, [record_id, "--store", str(store), "--json"])
    assert result.exit_code == 0, result.output
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


def test_show_gives_headers_in_wire_order_bodies_and_what_was_decoded(store: Path) -> None:
    record = shown(store, f"{LOG}.150")
    assert record["request"]["headers"] == [["Host", "model"], ["X-Twice", "1"], ["X-Twice", "2"]]
    assert base64.b64decode(record["request"]["body_base64"]) == b'{"n":150}'
    assert record["request"]["decoded"] == {"n": [150]}
    assert record["response"]["decoded"] == {"deny": [True]}
    assert record["deliveries"] == [{"t_end_us": START_US + 180_000, "outcome": "client_abort"}]


def test_show_tells_that_a_number_lies_in_a_gap(store: Path) -> None:
    assert shown(store, f"{LOG}.201")["kind"] == "gap"
    result = CliRunner().invoke(show, [f"{LOG}.210", "--store", str(store)])
    assert isinstance(result.exception, RecordNotFound)
    assert "gap" in str(result.exception)
    assert "disk_full" in str(result.exception)


def test_show_of_what_is_not_there_says_so(store: Path) -> None:
    result = CliRunner().invoke(show, [f"{LOG}.999", "--store", str(store)])
    assert isinstance(result.exception, RecordNotFound)
    result = CliRunner().invoke(show, ["nonsense", "--store", str(store)])
    assert isinstance(result.exception, UsageError)


def test_show_prints_everything_for_a_person(store: Path) -> None:
    text = CliRunner().invoke(show, [f"{LOG}.150", "--store", str(store)]).stdout
    for expected in (
        "mortgage",
        "X-Twice: 2",
        '"n": 150',
        '"deny": true',
        "client_abort",
        "2026-11-23 01:00:00.099Z",
    ):
        assert expected in text
    assert "clock_step" in CliRunner().invoke(show, [f"{LOG}.220-event-77-0", "--store", str(store)]).stdout


def test_show_takes_the_content_coding_off_for_a_person_and_keeps_it_in_json(tmp_path: Path) -> None:
    made = group(1, 1, START_US)
    packed = gzip.compress(b'{"secret": 1}')
    head = REQUEST_HEAD.replace(b"X-Twice: 1", b"Content-Encoding: gzip")
    made._tuples[0] = tuple(
        {REQUEST_HEAD: head, b'{"n":1}': packed}.get(value, value) if isinstance(value, bytes) else value
        for value in made._tuples[0]
    )
    put(tmp_path, made)
    assert '"secret": 1' in CliRunner().invoke(show, [f"{LOG}.1", "--store", str(tmp_path)]).stdout
    assert base64.b64decode(shown(tmp_path, f"{LOG}.1")["request"]["body_base64"]) == packed


def test_control_characters_of_a_body_do_not_reach_the_terminal(tmp_path: Path) -> None:
    made = group(1, 1, START_US)
    made._tuples[0] = tuple(
        b"evil \x1b[2J\x07" if value == b'{"n":1}' else value for value in made._tuples[0]
    )
    put(tmp_path, made)
    text = CliRunner().invoke(show, [f"{LOG}.1", "--store", str(tmp_path)]).stdout
    assert "\x1b[2J" not in text
    assert "evil \\x1b[2J\\x07" in text
    assert BOOT in text


def test_a_key_is_looked_for_in_no_file_that_cannot_have_it(tmp_path: Path) -> None:
    """Files as the product writes them: their ends alone rule most of them out."""
    for number in range(20):
        made = group_with_keys(number)
        put(tmp_path, made)
    (row,) = found(tmp_path, "--key", "applicant=A-7-3", "--key", "case=C-7")
    assert (row["seq"], row["keys"]) == (74, {"applicant": "A-7-3", "case": "C-7"})
    explained = find(tmp_path, "--key", "applicant=A-7-3", "--explain").stderr
    told = dict(line.rsplit(maxsplit=1) for line in explained.splitlines() if "  " in line)
    assert (told["files listed"], told["footers read"], told["files opened"]) == ("20", "20", "1")
    assert found(tmp_path, "--key", "applicant=A-7-3", "--key", "case=C-8") == []
    assert found(tmp_path, "--key", "applicant=nobody") == []


SECRET = bytes(range(32))


@pytest.fixture
def hash_key(tmp_path: Path) -> Path:
    path = tmp_path / "hash.key"
    path.write_text(SECRET.hex())
    path.chmod(0o400)
    return path


def hashed_store(folder: Path) -> Path:
    """Ten exchanges whose keys are stored as the sidecars do it under a hash key, two of them of several."""
    made = group_for(GroupKey(BOOT, "default", 1, START_US // DAY_US), EPOCH)
    reader = KeyReader([parse_key("applicant=request.body:$.applicants[*]")], lambda each: each.body, SECRET)
    for index in range(10):
        exchange = Exchange("default", 1, "10.0.0.1:4000", START_US + index, 0)
        exchange.seq = index + 1
        people = [f"A-{index}", f"B-{index}", "C-0"][: 3 if index in (4, 7) else 1]
        body = json.dumps({"applicants": people}).encode()
        message = Message(REQUEST_HEAD, body, length=len(body))
        made.exchange(exchange, message, message, None, None, reader.keys(message, message))
    put(folder, made)
    return folder


def test_hashed_keys_are_found_with_the_sidecars_hash_key(tmp_path: Path, hash_key: Path) -> None:
    hashed = hashed_store(tmp_path / "hashed")
    for wanted, expected in (("A-4", [5]), ("B-7", [8]), ("C-0", [8, 5]), ("nobody", [])):
        rows = found(hashed, "--key", f"applicant={wanted}", "--hash-key", str(hash_key))
        assert [row["seq"] for row in rows] == expected
    assert found(hashed, "--key", "applicant=A-4") == []
    both = ("--key", "applicant=A-4", "--key", "applicant=C-0", "--hash-key", str(hash_key))
    assert [row["seq"] for row in found(hashed, *both)] == [5]


def test_that_nothing_was_found_says_how_keys_are_stored(store: Path, tmp_path: Path, hash_key: Path) -> None:
    hashed = hashed_store(tmp_path / "hashed")
    assert "--hash-key FILE" in find(hashed, "--key", "applicant=A-4").stderr
    assert "--hash-key" not in find(hashed, "--key", f"applicant={'0' * 64}").stderr
    right = ("--hash-key", str(hash_key))
    assert "--hash-key" not in find(hashed, "--key", "applicant=nobody", *right).stderr
    plain = tmp_path / "plain"
    put(plain, group_with_keys(1))
    assert "leave --hash-key out" in find(plain, "--key", "applicant=A-1-1", *right).stderr
    assert "--hash-key" not in find(plain, "--key", "applicant=nobody").stderr


def test_a_hash_key_that_is_none_is_a_usage_error(store: Path, tmp_path: Path, hash_key: Path) -> None:
    for arguments in (
        ("--hash-key", str(hash_key)),
        ("--key", "applicant=A", "--hash-key", str(tmp_path / "none")),
    ):
        assert isinstance(find(store, *arguments).exception, UsageError)


def test_openssl_gives_the_hash_that_the_page_on_privacy_says(hash_key: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text()
    (line,) = re.findall(r"`(printf [^`]* openssl dgst [^`]*)`", page)
    ran = subprocess.run(
        ["bash", "-c", line], cwd=hash_key.parent, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split()[-1] == lookup.hasher(hash_key)("A-17")
    assert ran.stdout.split()[-1] == Replacer(SECRET).hash(value_bytes("A-17"))


@pytest.mark.parametrize("key", ["applicant", "=x", ""])
def test_a_key_without_name_or_value_is_a_usage_error(store: Path, key: str) -> None:
    assert find(store, "--key", key).exit_code == 2
