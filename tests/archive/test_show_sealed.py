"""`show` on encrypted, erased and redacted records, and on the log's own."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sidecar.ledger.note import SigningKey
from sidecar.privacy.master import read_master_key
from tests.support.commands import sidecar
from tests.support.sealed_store import Encryption, LogMaker

REDACTED = {"rules": ["header:authorization=drop"], "dropped": {"response_body": "cannot be decoded"}}


@pytest.fixture
def master(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.write_text("11" * 32)
    path.chmod(0o400)
    return path


class Encrypted:
    """A store with one encrypted record and its key object."""

    def __init__(self, folder: Path, master: Path) -> None:
        self.store = folder / "store"
        encryption = Encryption(read_master_key(master))
        log = LogMaker(self.store, SigningKey("k", bytes(32)), encryption=encryption)
        self.record_id = str(log.exchange(subject="anna")["record_id"])
        log.cut()
        (self.keys,) = (self.store / "subjects").iterdir()


def test_without_the_master_key_an_encrypted_record_says_that_it_is_one(tmp_path: Path, master: Path) -> None:
    made = Encrypted(tmp_path, master)
    text = sidecar("show", made.record_id, "--store", made.store)
    assert text.code == 0, text.err
    assert "encrypted: --master-key FILE opens it" in text.out
    assert '"n": 1' not in text.out
    shown = json.loads(sidecar("show", made.record_id, "--store", made.store, "--json").out)
    assert shown["encrypted"] is True
    assert base64.b64decode(shown["request"]["body_base64"]) != b'{"n":1}'
    assert "decoded" not in shown["request"]


def test_the_master_key_opens_it(tmp_path: Path, master: Path) -> None:
    made = Encrypted(tmp_path, master)
    arguments = ("show", made.record_id, "--store", made.store, "--master-key", master)
    text = sidecar(*arguments).out
    assert '"n": 1' in text
    assert "opened here with the master key" in text
    shown = json.loads(sidecar(*arguments, "--json").out)
    assert base64.b64decode(shown["response"]["body_base64"]) == b'{"deny":true}'
    assert shown["request"]["decoded"]
    assert shown["decision"] == "deny"


def test_another_master_key_is_one_clear_line(tmp_path: Path, master: Path) -> None:
    made = Encrypted(tmp_path, master)
    other = tmp_path / "other.key"
    other.write_text("22" * 32)
    other.chmod(0o400)
    ran = sidecar("show", made.record_id, "--store", made.store, "--master-key", other)
    assert ran.code == 1
    assert "sealed under master key" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_erased_record_is_shown_as_erased(tmp_path: Path, master: Path) -> None:
    made = Encrypted(tmp_path, master)
    made.keys.unlink()
    ran = sidecar("show", made.record_id, "--store", made.store, "--master-key", master)
    assert ran.code == 0
    assert "erased: its key was destroyed" in ran.out


def test_redaction_keys_and_decision_are_shown(tmp_path: Path) -> None:
    log = LogMaker(tmp_path, SigningKey("k", bytes(32)))
    row = log.exchange(redacted=json.dumps(REDACTED))
    log.cut()
    text = sidecar("show", row["record_id"], "--store", tmp_path).out
    assert "by rule header:authorization=drop" in text
    assert "response_body dropped: cannot be decoded" in text
    assert "applicant = A-1" in text
    shown = json.loads(sidecar("show", row["record_id"], "--store", tmp_path, "--json").out)
    assert shown["redacted"] == REDACTED


def test_what_sealing_added_can_be_shown(tmp_path: Path) -> None:
    log = LogMaker(tmp_path, SigningKey("k", bytes(32)))
    log.exchanges(1)
    log.cut()
    shown = json.loads(sidecar("show", f"{log.origin}.genesis.0", "--store", tmp_path, "--json").out)
    assert (shown["kind"], shown["details"]["cluster"]) == ("genesis", "prod")
