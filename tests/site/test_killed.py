"""`sidecar erase` and `sidecar retain` as processes, killed again and again until they get through."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidecar.ledger.note import SigningKey
from sidecar.objects import open_store
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import LocalMasterKey
from sidecar.site_log import open_site_log
from tests.support.commands import sidecar
from tests.support.sealed_store import DAY_US, Encryption, LogMaker

OPERATOR = SigningKey("operator.example", b"o" * 32)
MASTER = LocalMasterKey(bytes(range(32)))
BATCHES = 60
KILLS = 15


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    now_us = time.time_ns() // 1000
    made = LogMaker(
        folder,
        SigningKey("log", b"1" * 32),
        boot="20250101T000000-aaaaaaaaaa",
        encryption=Encryption(MASTER),
        t_us=now_us - 500 * DAY_US,
    )
    for number in range(BATCHES):
        if number:
            made.add("batch", details={"name": made.names[-1], "sha256": made.last_sha256})
        if number == BATCHES - 1:
            made.t_us = now_us - DAY_US
        for subject in ("ada", "bob"):
            made.exchange(subject=subject)
        if number == BATCHES - 1:
            made.add("close", details={"size": made.frontier.size})
        made.cut()
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    key, master = tmp_path / "operator.key", tmp_path / "master.key"
    key.write_text(OPERATOR.private_text())
    master.write_bytes(bytes(range(32)))
    master.chmod(0o600)
    return key, master


def until_through(arguments: list[object], delays: random.Random) -> int:
    """Run the command, killing it after a random while; the last time it may finish. How often it was killed."""
    command = [sys.executable, "-m", "sidecar.cli", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    began = time.monotonic()
    assert subprocess.run([*command[:3], "--version"], env=environment, check=False).returncode == 0
    start_s = time.monotonic() - began
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        time.sleep(start_s + delays.uniform(0, 1.2))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return killed


def healthy(store: Path) -> None:
    """Reading the site log finds nothing wrong, and verification no failure."""
    list(open_site_log(open_store(str(store))).reader())
    ran = sidecar("verify", "--store", store, "--trust", OPERATOR.verifier, "--json")
    found = json.loads(ran.out)
    findings = [*found["findings"], *(each for log in found["logs"] for each in log["findings"])]
    assert {each["kind"] for each in findings if each["failure"]} <= {"unknown key"}


@pytest.mark.faults
def test_an_erasure_that_is_killed_again_and_again_comes_true_once(
    store: Path, keys: tuple[Path, Path]
) -> None:
    key, master = keys
    command = ["erase", "--store", store, "--key", key, "--master-key", master, "--subject", "ada"]
    assert until_through(command, random.Random(1)) > 0
    found = [KeyObject.parse(path.read_bytes()) for path in (store / "subjects").glob("*.json")]
    assert len(found) == BATCHES
    assert not any(each.ids(MASTER.tag("ada")) for each in found)
    assert all(each.ids(MASTER.tag("bob")) for each in found)
    assert len(list(open_site_log(open_store(str(store))).reader())) == 1
    healthy(store)


@pytest.mark.faults
def test_a_removal_that_is_killed_again_and_again_comes_true_once(
    store: Path, keys: tuple[Path, Path]
) -> None:
    key, _ = keys
    command = [
        "retain",
        "--store",
        store,
        "--key",
        key,
        "--model",
        "mortgage",
        "--older-than",
        "400d",
        "--yes",
    ]
    assert until_through(command, random.Random(2)) > 0
    assert len(list((store / "records").rglob("*.parquet"))) == 1
    assert len(list((store / "subjects").glob("*.json"))) == 1
    assert len(list(open_site_log(open_store(str(store))).reader())) == 1
    healthy(store)
