"""The last file of a log: no leaf seals its metadata, and what its rows can tell of them is held against them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sidecar.audit.findings import Kind
from sidecar.key_filter import key_filter
from sidecar.ledger import base64text
from sidecar.ledger.cosignature import cosign
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
