"""`sidecar erase` and `sidecar retain` as processes, killed again and again until they get through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.ledger.note import SigningKey
from sidecar.objects import open_store
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import LocalMasterKey
from sidecar.shipping.files import is_unfinished
from sidecar.site_log import open_site_log
from tests.support.commands import sidecar
from tests.support.sealed_store import DAY_US, Encryption, LogMaker

OPERATOR = SigningKey("operator.example", b"o" * 32)
MASTER = LocalMasterKey(bytes(range(32)))
BATCHES = 24


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


def until_through(arguments: list[object], left: Callable[[], int]) -> int:
    """Run the command again and again, killing it as soon as it got something done; how often that was.

    `left` counts what is still to do. The first kill comes between the order
    and the first deed, as far as it can be aimed from outside.
    """
    command = [sys.executable, "-m", "sidecar.cli", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    ordered = Path(str(arguments[2])) / "site" / "000000000000.json"
    kills = 0
    while left():
        before, was_ordered = left(), ordered.exists()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None and left() == before and ordered.exists() == was_ordered:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert left() == 0 or ordered.exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return kills


def healthy(store: Path) -> None:
    """Reading the site log finds nothing wrong, and verification no failure."""
    list(open_site_log(open_store(str(store))).reader())
    ran = sidecar("verify", "--store", store, "--operator", OPERATOR.verifier, "--json")
    found = json.loads(ran.out)
    findings = [*found["findings"], *(each for log in found["logs"] for each in log["findings"])]
    assert {each["kind"] for each in findings if each["failure"]} <= {"unknown key"}


@pytest.mark.faults
def test_an_erasure_that_is_killed_again_and_again_comes_true_once(
    store: Path, keys: tuple[Path, Path]
) -> None:
    key, master = keys

    def left() -> int:
        return sum(bool(each.ids(MASTER.tag("ada"))) for each in key_objects(store))

    command = ["erase", "--store", store, "--key", key, "--master-key", master, "--subject", "ada"]
    assert until_through(command, left) >= 3
    assert len(key_objects(store)) == BATCHES
    assert all(each.ids(MASTER.tag("bob")) for each in key_objects(store))
    assert len(list(open_site_log(open_store(str(store))).reader())) == 1
    healthy(store)


@pytest.mark.faults
def test_a_removal_that_is_killed_again_and_again_comes_true_once(
    store: Path, keys: tuple[Path, Path]
) -> None:
    key, _ = keys

    def left() -> int:
        return len(list((store / "records").rglob("*.parquet"))) - 1

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
    assert until_through(command, left) >= 3
    assert len(key_objects(store)) == 1
    assert len(list(open_site_log(open_store(str(store))).reader())) == 1
    healthy(store)


def key_objects(store: Path) -> list[KeyObject]:
    return [
        KeyObject.parse(path.read_bytes())
        for path in (store / "subjects").glob("*.json")
        if not is_unfinished(path.name)
    ]
