"""The commands that write a store, one after another over a real bucket."""

from __future__ import annotations

import json
import time
from pathlib import Path
from uuid import uuid4

import obstore
import pytest

from sidecar.ledger.note import SigningKey
from sidecar.privacy.master import LocalMasterKey
from tests.support.commands import sidecar
from tests.support.sealed_store import DAY_US, Encryption, LogMaker
from tests.support.seaweed import ADMINISTRATOR, BUCKET, Seaweed

OPERATOR = SigningKey("operator.example", b"o" * 32)
MASTER = bytes(range(32))


@pytest.mark.faults
def test_witness_hold_erase_retain_and_verify_over_a_real_bucket(
    seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ADMINISTRATOR.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIDECAR_STORE_ENDPOINT", seaweed.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint)
    folder = f"commands-{uuid4().hex}"
    url = f"s3://{BUCKET}/{folder}"
    made = _store(tmp_path / "made")
    for path in (tmp_path / "made").rglob("*"):
        if path.is_file():
            name = f"{folder}/{path.relative_to(tmp_path / 'made')}"
            obstore.put(seaweed.client(), name, path.read_bytes())
    key, master = tmp_path / "operator.key", tmp_path / "master.key"
    key.write_text(OPERATOR.private_text())
    master.write_text(MASTER.hex())
    master.chmod(0o600)
    base = ("--store", url, "--key", key)

    ran = sidecar("witness", *base, "--json")
    assert (ran.code, json.loads(ran.out)["cosigned"]) == (0, 1), ran.err
    ada = ("--subject", "ada", "--master-key", master)
    assert sidecar("hold", *base, *ada, "--reason", "case").code == 0
    assert sidecar("erase", *base, *ada).code == 1
    assert sidecar("hold", *base, *ada, "--reason", "closed", "--release").code == 0
    ran = sidecar("erase", *base, *ada, "--json")
    assert (ran.code, json.loads(ran.out)["rewritten"]) == (0, 3), ran.err
    ran = sidecar("retain", *base, "--model", "mortgage", "--older-than", "400d", "--yes", "--json")
    assert (ran.code, json.loads(ran.out)["removed"]) == (0, 2), ran.err
    left = [name for name in seaweed.names() if name.startswith(f"{folder}/records/")]
    assert left == [f"{folder}/{name}" for name in made.names[2:]]
    assert sidecar("witness", *base).code == 0
    ran = sidecar("verify", "--store", url, "--operator", OPERATOR.verifier, "--json")
    assert '"retention"' in ran.out
    assert '"erased"' in ran.out
    for bad in ("removed", "altered", "keys removed", "truncated", "forged erasure"):
        assert f'"{bad}"' not in ran.out
    kinds = [
        json.loads(seaweed.content(name))["kind"] for name in seaweed.names() if f"{folder}/site/" in name
    ]
    assert kinds == ["witness", "hold", "release", "erase", "retention"]


def _store(folder: Path) -> LogMaker:
    folder.mkdir()
    now_us = time.time_ns() // 1000
    made = LogMaker(
        folder,
        SigningKey("log", b"1" * 32),
        boot="20250101T000000-aaaaaaaaaa",
        encryption=Encryption(LocalMasterKey(MASTER)),
        t_us=now_us - 500 * DAY_US,
    )
    for number, days in enumerate((500, 450, 1)):
        made.t_us = now_us - days * DAY_US
        if number:
            made.add("batch", details={"name": made.names[-1], "sha256": made.last_sha256})
        made.exchange(subject="ada")
        made.exchange(subject="bob")
        if number == 2:
            made.add("close", details={"size": made.frontier.size})
        made.cut()
    return made
