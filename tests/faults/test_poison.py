"""Exchanges that cost the analyst its life, or would: stored undecoded and counted, and the rest goes on."""

from __future__ import annotations

import gzip
import http.client
import struct
import time
from functools import partial
from pathlib import Path

import pytest

from sidecar.counters import Global
from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.running import ModelServer, Sidecar, running_sidecar, until

pytestmark = pytest.mark.faults

BOMB_ID = "bomb"
DECODING = 1


def post(port: int, identity: str, body: bytes, coding: str = "identity") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        connection.request("POST", f"/predict/{identity}", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def send_around(port: int, bomb: bytes) -> list[str]:
    """The bomb between harmless requests. Returns the paths of those."""
    paths = []
    for number in range(20):
        if number == 10:
            assert post(port, BOMB_ID, gzip.compress(bomb, 1), "gzip") == 200
        identity = f"small-{number}"
        assert post(port, identity, b'{"id": "%s", "x": 1.5}' % identity.encode()) == 200
        paths.append(f"/predict/{identity}")
    return paths


def check(running: Sidecar, paths: list[str]) -> str:
    """Assert that everything is stored once and only the bomb is undecoded; returns why it is."""
    assert running.stop() == 0
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    by_path = {row["path"]: row for row in found.exchanges}
    assert set(by_path) == {*paths, f"/predict/{BOMB_ID}"}
    assert found.gaps == []
    assert [path for path in paths if by_path[path]["decoder"] is None] == []
    bomb = by_path[f"/predict/{BOMB_ID}"]
    assert bomb["decoder"] is None
    return str(bomb["decode_error"])


def test_a_bomb_larger_than_the_memory_limit_is_survived(
    tmp_path: Path, upstream: ModelServer, report: Report
) -> None:
    bomb = b'{"id": "bomb", "text": "' + b"x" * (300 << 20) + b'"}'
    with running_sidecar(tmp_path, upstream.port, analyst_memory="160MiB", decode_limit="1GiB") as running:
        paths = send_around(running.port, bomb)
        until(lambda: running.status()["store"]["rows_shipped"] >= 21, "everything to be shipped")
        status = running.status()
        assert status["starts"]["analyst"] == 1
        assert status["analyst"]["decode_errors"] == 1
        why = check(running, paths)
    report(f"300 MiB bomb under a limit of 160 MiB: survived, stored with {why!r}")


def decoding_pid(running: Sidecar, deaths: int) -> int:
    """Pid of the analyst once it decodes an exchange that so many before it died of; 0 before that."""
    marker = (running.journal / "analyst-marker.bin").read_bytes()
    now, *table = struct.iter_unpack("<QIHH", marker)
    known = sum(entry[2] for entry in table)
    # Long enough at it that it is none of the small ones.
    time.sleep(0.5)
    still = (running.journal / "analyst-marker.bin").read_bytes() == marker
    return running.pid(Global.ANALYST_PID) if still and now[3] == DECODING and known == deaths else 0


def test_what_kills_the_analyst_twice_is_stored_undecoded(
    tmp_path: Path, upstream: ModelServer, report: Report
) -> None:
    # Four million empty lists fit the parser's buffer and not the memory limit: the allocator then
    # looks for memory for each of them, for minutes, holding the interpreter.
    bomb = b'{"id": "bomb", "lists": [' + b"[]," * (4 << 20) + b"[]]}"
    with running_sidecar(tmp_path, upstream.port, analyst_memory="320MiB", decode_limit="1GiB") as running:
        paths = send_around(running.port, bomb)
        for deaths in range(2):
            pid = until(partial(decoding_pid, running, deaths), "the bomb to be decoded")
            assert running.kill(Global.ANALYST_PID) == pid
        until(lambda: running.status()["store"]["rows_shipped"] >= 21, "everything to be shipped")
        status = running.status()
        assert status["starts"]["analyst"] == 3
        assert status["analyst"]["decode_killed"] == 1
        assert status["routes"]["default"]["committed_seq"] == 21
        assert check(running, paths) == "killed the analyst twice"
    report("12 MiB bomb of four million lists: two deaths, then stored undecoded")
