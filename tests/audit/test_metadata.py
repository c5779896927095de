"""The last file of a log: no leaf seals its metadata, and what its rows can tell of them is held against them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.audit.findings import Kind
from sidecar.key_filter import key_filter
from sidecar.ledger import base64text
from sidecar.ledger.cosignature import cosign
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.keys import SUBJECT_SEPARATOR
from sidecar.privacy.master import LocalMasterKey
from tests.support import audited
from tests.support.audited import ENROLMENT_KEY, STRANGER, WITNESS, Store, failures, the_failure
from tests.support.sealed_store import Encryption, LogMaker, Tampered, tamper


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("sealed")
    log = LogMaker(root, audited.BOOT_KEY, enrolment_key=ENROLMENT_KEY)
    log.exchanges(5)
    log.next()
    log.exchanges(5)
    log.close()
    encryption = Encryption(LocalMasterKey(b"m" * 32))
    other = LogMaker(
        root,
        audited.OTHER_BOOT_KEY,
        boot=audited.OTHER_BOOT,
        enrolment_key=ENROLMENT_KEY,
        encryption=encryption,
    )
    other.exchange(subject="anna")
    other.close()
    return Store(root, log, other)


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    shutil.copytree(made.root, tmp_path / "store")
    return Store(tmp_path / "store", made.log, made.other)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_filter", key_filter([("applicant", "somebody else")])),
        ("key_filter", f"8:{base64text.encode(bytes(64))}"),
        ("key_filter", None),
        ("t_min_us", 1),
        ("t_max_us", 2),
        ("first_seq", 900),
        ("last_seq", 901),
        ("rows", 1),
        ("model", "another"),
        ("digest", "sha256:" + "00" * 32),
        ("date", "1999-12-31"),
        ("enrolment", None),
        ("enrolment", "sidecar-enrolment/1\n"),
        ("log", "another.default"),
    ],
)
def test_an_edited_field_of_the_last_file_is_named(store: Store, field: str, value: Any) -> None:
    assert store.report().intact
    tamper(store.root, store.log.names[-1], lambda opened: opened.metadata.update({field: value}))
    found = the_failure(store.report())
    assert found.kind in (Kind.ALTERED, Kind.RELABELLED)
    assert found.field == field


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ({"keys": None, "key_entries": None}, "keys"),
        ({"keys": "subjects/of-another-batch.json"}, "keys"),
        ({"key_entries": None}, "key_entries"),
    ],
)
def test_a_key_object_that_is_no_longer_named(store: Store, edit: dict[str, Any], field: str) -> None:
    tamper(store.root, store.other.names[-1], lambda opened: opened.metadata.update(edit))
    if edit.get("keys", "") is None:
        shutil.rmtree(store.root / "subjects")
    assert field in {each.field for each in failures(store.report())}


def test_a_file_in_the_place_of_the_one_a_witness_saw(store: Store) -> None:
    store.witness(store.log)
    assert store.report(witnesses=[WITNESS]).intact

    def rewrite(opened: Tampered) -> None:
        opened.metadata["remark"] = "nothing that rows could tell"

    tamper(store.root, store.log.names[-1], rewrite)
    assert store.report().intact, "without the witness there is nothing to tell it by"
    found = the_failure(store.report(witnesses=[WITNESS]))
    assert (found.kind, found.field) == (Kind.ALTERED, "file")
    assert store.log.names[-1] in found.text


def test_a_stranger_who_repeats_a_cosignature_says_nothing_of_files(store: Store) -> None:
    assert store.log.checkpoint is not None
    note = cosign(WITNESS, store.log.checkpoint.signed(store.log.key), audited.NOW_US // 1_000_000)
    body = audited.sighting(store.log, note, WITNESS)
    body["checkpoints"][0]["batch"] = "records/of/his/choice.parquet"
    store.append("witness", body, STRANGER)
    assert store.report(witnesses=[WITNESS]).intact


def shared_key(root: Path) -> LogMaker:
    """A log of one record about two people, whose key stands under an entry for each."""
    encryption = Encryption(LocalMasterKey(b"m" * 32))
    log = LogMaker(root, audited.BOOT_KEY, enrolment_key=ENROLMENT_KEY, encryption=encryption)
    log.exchange(subject=SUBJECT_SEPARATOR.join(("anna", "bert")))
    log.close()
    return log


def test_one_persons_entry_of_a_shared_key_is_not_taken_out_unnoticed(tmp_path: Path) -> None:
    log = shared_key(tmp_path)
    assert audited.report(tmp_path).intact
    (path,) = (tmp_path / "subjects").iterdir()
    content = json.loads(path.read_bytes())
    assert len(content["subjects"]) == 2
    shared = content["subjects"].pop()["id"]
    path.write_text(json.dumps(content, separators=(",", ":")))
    found = the_failure(audited.report(tmp_path))
    assert (found.kind, found.object) == (Kind.KEYS_REMOVED, f"subjects/{path.name}")

    # Once both are gone by an order for that key, nothing is left to explain.
    path.write_text(json.dumps({**content, "subjects": []}, separators=(",", ":")))
    audited.append(tmp_path, "erase", audited.erase(f"subjects/{path.name}", log.names[0], [shared]))
    assert audited.report(tmp_path).intact


def test_an_entry_that_only_the_metadata_know_is_noticed(store: Store) -> None:
    def add(opened: Tampered) -> None:
        opened.metadata["key_entries"] = [*opened.metadata["key_entries"], "00" * 16]

    tamper(store.root, store.other.names[-1], add)
    assert the_failure(store.report()).kind is Kind.KEYS_REMOVED


def test_a_key_that_no_record_names_is_noticed(store: Store) -> None:
    (path,) = (store.root / "subjects").iterdir()
    known = KeyObject.parse(path.read_bytes())
    added = replace(known, entries=(*known.entries, replace(known.entries[0], id=b"x" * 16)))
    path.write_bytes(added.to_bytes())
    tamper(
        store.root,
        store.other.names[-1],
        lambda opened: opened.metadata.update(key_entries=list(added.digests())),
    )
    found = the_failure(store.report())
    assert (found.kind, found.field) == (Kind.INSERTED, "keys")
