"""The analyst's process as the supervisor starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import Address, Handover, RouteSettings, Settings
from tests.support.journaled import BOOT, EPOCH, START_US, exchange, fill
from tests.support.sealing import KEY, SigningThread
from tests.support.stored import sequence_numbers


class Process:
    """One analyst process over a filled journal, with its admin socket and life pipe."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.journal, self.store = folder / "journal", folder / "store"
        self._admin = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"http://127.0.0.1:{self._admin.getsockname()[1]}"
        self._life_read, self.life = os.pipe()
        routes = (RouteSettings("default", Address("127.0.0.1", 1), Address("127.0.0.1", 2), "mortgage"),)
        settings = Settings(
            routes=routes, store=str(self.store), journal=str(self.journal), log_format="json", **changes
        )
        counters = str(self.journal / f"counters-{BOOT}.bin")
        admin = self._admin.fileno()
        self._signing = SigningThread(BOOT)
        handover = Handover(
            settings,
            BOOT,
            START_US,
            counters,
            {},
            [],
            [admin],
            self._life_read,
            -1,
            (EPOCH,),
            self._signing.descriptor,
            KEY.verifier.public_key,
        )
        descriptor = handover.write()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar.pipeline", str(descriptor)],
            pass_fds=(descriptor, admin, self._life_read, self._signing.descriptor),
            stderr=subprocess.PIPE,
        )
        os.close(descriptor)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            body: bytes = answer.read()
            return body

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/api/v1/status"))
        return found

    def wait_until(self, shipped: int) -> dict[str, Any]:
        for _ in range(400):
            status = self.status()
            if status["store"]["rows_shipped"] >= shipped and status["store"]["lag_records"] == 0:
                return status
            time.sleep(0.05)
        raise AssertionError(status)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self._admin.close()
        self._signing.close()
        os.close(self._life_read)
        if self.life >= 0:
            os.close(self.life)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for process in made:
        process.close()


def test_everything_is_shipped_and_the_status_says_so(tmp_path: Path, started: list[Process]) -> None:
    fill(tmp_path / "journal", map(exchange, range(1, 1_001)))
    process = Process(tmp_path, batch_age_s=0.2)
    started.append(process)
    status = process.wait_until(shipped=1_000)
    assert sequence_numbers(process.store) == list(range(1, 1_001))
    assert status["analyst"]["exchanges"] == 1_000
    assert status["routes"]["default"]["committed_seq"] == 1_000
    (model,) = status["models"]
    assert (model["route"], model["digest"]) == ("default", "sha256:" + "ab" * 32)
    assert set(status["processes"]) == {"supervisor", "recorder", "analyst"}
    assert b"sidecar_store_lag_records 0.0" in process.get("/metrics")
    assert process.get("/healthz") == b"ok\n"


def test_sigterm_ships_what_has_not_reached_its_age_and_exits_0(
    tmp_path: Path, started: list[Process]
) -> None:
    fill(tmp_path / "journal", map(exchange, range(1, 101)))
    process = Process(tmp_path, batch_age_s=3600.0)
    started.append(process)
    while process.status()["analyst"]["exchanges"] < 100:
        time.sleep(0.05)
    assert sequence_numbers(process.store) == []
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(30) == 0
    assert sequence_numbers(process.store) == list(range(1, 101))


def test_told_to_end_before_it_is_up_it_still_ships(tmp_path: Path, started: list[Process]) -> None:
    """As the supervisor starts it: SIGTERM waits until the process can handle it."""
    fill(tmp_path / "journal", map(exchange, range(1, 101)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        process = Process(tmp_path, batch_age_s=3600.0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    started.append(process)
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(60) == 0
    assert sequence_numbers(process.store) == list(range(1, 101))


def test_it_dies_with_its_supervisor(tmp_path: Path, started: list[Process]) -> None:
    fill(tmp_path / "journal", map(exchange, range(1, 11)))
    process = Process(tmp_path)
    started.append(process)
    process.get("/healthz")
    os.close(process.life)
    process.life = -1
    assert process.process.wait(30) == 1


@pytest.mark.faults
def test_a_compression_bomb_under_a_small_memory_limit_does_not_stop_the_rest(
    tmp_path: Path, started: list[Process]
) -> None:
    import gzip

    bomb = gzip.compress(b'{"n":[' + b"0," * 100_000_000 + b"0]}", compresslevel=1)
    bad = exchange(50, bomb)
    bad.request = [bad.request[0].replace(b"Host: model", b"Host: model\r\nContent-Encoding: gzip")]
    fill(tmp_path / "journal", (bad if n == 50 else exchange(n) for n in range(1, 101)))
    limits = {"analyst_memory": 192 << 20, "decode_limit": 400 << 20}
    for _ in range(4):
        process = Process(tmp_path, batch_age_s=0.2, **limits)
        started.append(process)
        try:
            process.wait_until(shipped=100)
        except (OSError, json.JSONDecodeError):
            # Died of it; the supervisor starts the next one.
            assert process.process.wait(30) != 0
            continue
        break
    assert sequence_numbers(process.store) == list(range(1, 101))
    assert process.status()["analyst"]["decode_errors"] == 1


@pytest.mark.faults
def test_a_missing_store_is_said_in_status_and_everything_is_shipped_once_it_is_back(
    tmp_path: Path, started: list[Process]
) -> None:
    fill(tmp_path / "journal", map(exchange, range(1, 101)))
    store = tmp_path / "store"
    store.write_bytes(b"a file where the directory should be")
    process = Process(tmp_path, batch_age_s=0.1)
    started.append(process)
    while process.status()["store"]["up"]:
        time.sleep(0.05)
    status = process.status()["store"]
    assert str(store) in status["error"]
    assert status["batches_pending"] > 0
    assert b"sidecar_store_up 0.0" in process.get("/metrics")
    store.unlink()
    process.wait_until(shipped=100)
    assert sequence_numbers(store) == list(range(1, 101))
