"""What a running sidecar shipped, verified by the commands an auditor types."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sidecar.ledger.note import SigningKey
from tests.support.load import Load
from tests.support.running import ROOT, SIDECAR, model_server, running_sidecar, until
from tests.support.sealed_store import Tampered

ENROLMENT_KEY = SigningKey("operator", b"o" * 32)


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit code and what a `sidecar` command prints."""
    done = subprocess.run(
        [*SIDECAR, *arguments], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    return done.returncode, done.stdout, done.stderr


def verify(store: Path, *more: str) -> dict[str, Any]:
    code, out, error = command("verify", "--store", str(store), "--json", *more)
    assert error == ""
    found: dict[str, Any] = json.loads(out)
    assert code == (0 if found["intact"] else 1)
    return found


def largest(store: Path) -> Tampered:
    """The batch with the most bytes, which has many exchanges, opened."""
    path = max(store.rglob("*.parquet"), key=lambda each: each.stat().st_size)
    return Tampered(store, str(path.relative_to(store)))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """A store after two boots of one sidecar, the trusted key, and how many exchanges it holds."""
    folder = tmp_path_factory.mktemp("real")
    key = folder / "enrolment.key"
    key.write_text(ENROLMENT_KEY.private_text() + "\n")
    key.chmod(0o600)
    sent = 0
    with model_server() as upstream:
        for _ in range(2):
            with running_sidecar(
                folder,
                upstream.port,
                durability="before_response",
                model="mortgage",
                image_digest="sha256:" + "ab" * 32,
                enrolment_key=str(key),
                cluster="prod",
                namespace="default",
                workload="mortgage",
                pod_uid="7f3c0d52",
            ) as running:
                with Load(running.port, per_connection=25) as load:
                    load.more(100)
                sent += len(load.answered)
                until(lambda: running.status()["store"]["lag_records"] == 0, "the store")
                with Load(running.port, per_connection=25) as load:
                    load.more(50)
                sent += len(load.answered)
                running.stop()
    return folder / "records", str(ENROLMENT_KEY.verifier), sent


def test_every_log_of_it_is_intact_enrolled_and_closed(shipped: tuple[Path, str, int]) -> None:
    store, key, sent = shipped
    found = verify(store, "--trust", key)
    assert found["intact"], found
    assert [log["status"] for log in found["logs"]] == ["intact", "intact"]
    assert [log["notes"] for log in found["logs"]] == [[], []]
    assert all(log["enrolled_by"] == "operator" and log["closed"] for log in found["logs"])
    assert sum(log["exchanges"] for log in found["logs"]) == sent


def test_a_receipt_of_it_is_checked_offline(shipped: tuple[Path, str, int], tmp_path: Path) -> None:
    store, key, _ = shipped
    record = largest(store).rows[-2]["record_id"]
    receipt = tmp_path / "receipt.json"
    assert command("prove", record, "--store", str(store), "-o", str(receipt))[0] == 0
    code, out, _ = command("verify", "--receipt", str(receipt), "--trust", key)
    assert code == 0
    assert "proven: the record is as it was sealed under a trusted key" in out
    receipt.write_text(receipt.read_text().replace('"status": 200', '"status": 201'))
    code, out, _ = command("verify", "--receipt", str(receipt), "--trust", key)
    assert code == 1
    assert "NOT PROVEN" in out


def test_tampering_with_it_is_named(shipped: tuple[Path, str, int], tmp_path: Path) -> None:
    store, key, _ = shipped
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    opened = largest(copy)
    rows = [row for row in opened.rows if row["kind"] == "exchange"]
    rows[3]["status"] = 404
    opened.rehash()
    opened.save()
    found = verify(copy, "--trust", key)
    failed = [each for log in found["logs"] for each in log["findings"] if each["failure"]]
    assert [(each["kind"], each["field"], each["records"]) for each in failed] == [
        ("altered", "status", [rows[3]["record_id"]])
    ]


def test_a_witness_knows_of_the_end_that_was_cut_off(shipped: tuple[Path, str, int], tmp_path: Path) -> None:
    store, key, _ = shipped
    copy, witness = tmp_path / "copy", tmp_path / "witness.key"
    shutil.copytree(store, copy)
    assert command("keys", "new", "--name", "witness.example", "--out", str(witness))[0] == 0
    done = command("witness", "--store", str(copy), "--key", str(witness))
    assert done[0] == 0, done
    found = verify(copy, "--trust", key, "--witness", str(witness))
    assert found["intact"], found
    assert {log["witnessed"]["by"] for log in found["logs"]} == {"witness.example"}
    last = max(copy.rglob("*.parquet"), key=lambda path: int(path.name.split("-L")[1].split("-")[1]))
    last.unlink()
    found = verify(copy, "--trust", key, "--witness", str(witness))
    failed = [each["kind"] for log in found["logs"] for each in log["findings"] if each["failure"]]
    assert failed == ["truncated"]
    assert found["findings"] == []


def test_a_subject_erased_for_real(tmp_path: Path) -> None:
    keys = {name: tmp_path / f"{name}.key" for name in ("master", "hash", "operator")}
    for name in ("master", "hash"):
        keys[name].write_text(name[0].encode().hex() * 32)
        keys[name].chmod(0o400)
    keys["operator"].write_text(ENROLMENT_KEY.private_text())
    keys["operator"].chmod(0o600)
    with (
        model_server() as upstream,
        running_sidecar(
            tmp_path,
            upstream.port,
            model="mortgage",
            master_key=str(keys["master"]),
            hash_key=str(keys["hash"]),
            subject="header:x-applicant",
            enrolment_key=str(keys["operator"]),
        ) as running,
    ):
        for subject in ("anna", "bert", "anna"):
            request = urllib.request.Request(
                f"http://127.0.0.1:{running.port}/predict", data=b'{"n":1}', headers={"X-Applicant": subject}
            )
            urllib.request.urlopen(request, timeout=10).read()
        running.stop()
    store = tmp_path / "records"
    operator = ("--operator", str(keys["operator"]))
    options = ("--trust", str(keys["operator"]), *operator, "--master-key", str(keys["master"]))
    found = verify(store, *options)
    assert found["intact"], found
    assert found["logs"][0]["exchanges"] == 3
    done = command(
        *("erase", "--store", str(store), "--key", str(keys["operator"]), "--subject", "anna"),
        *("--master-key", str(keys["master"]), "--reason", "request 17"),
    )
    assert done[0] == 0, done
    found = verify(store, *options)
    assert found["intact"], found
    assert (found["logs"][0]["erased"], found["logs"][0]["notes"]) == (2, ["erased"])
    (path,) = (store / "subjects").iterdir()
    content = path.read_text()
    tag = json.loads(content)["subjects"][0]["tag"]
    path.write_text(content.replace(tag, tag[:-1] + ("1" if tag[-1] == "0" else "0")))
    found = verify(store, "--trust", str(keys["operator"]), *operator)
    failed = [each["field"] for log in found["logs"] for each in log["findings"] if each["failure"]]
    assert failed == ["keys"]
    path.unlink()
    found = verify(store, *options)
    failed = [each["kind"] for log in found["logs"] for each in log["findings"] if each["failure"]]
    assert failed == ["keys removed"]
