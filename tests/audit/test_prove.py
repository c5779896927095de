"""Receipts of single records: of every kind, from any batch, with and without what earlier batches hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.audit.prove import prove
from sidecar.errors import RecordNotFound, StoreError
from sidecar.ledger import receipt
from sidecar.ledger.cosignature import CosignerKey
from sidecar.objects import open_store
from sidecar.privacy.master import LocalMasterKey
from tests.support import audited
from tests.support.audited import ENROLMENT_KEY, WITNESS, Store
from tests.support.sealed_store import Encryption, LogMaker, Tampered, tamper


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return audited.make(tmp_path)


def proven(store: Store, record_id: str) -> receipt.Receipt:
    """The receipt as it comes out of its file, checked under the trusted key."""
    written = receipt.write(prove(open_store(str(store.root)), record_id))
    found = receipt.parse(written)
    verdict = receipt.verify(found, [ENROLMENT_KEY.verifier])
    assert verdict.ok, verdict
    assert verdict.enrolled
    assert found.record["record_id"] == record_id
    return found


def test_every_record_of_a_log_can_be_proven(store: Store) -> None:
    index = 0
    for name in store.log.names:
        for row in Tampered(store.root, name).rows:
            found = proven(store, row["record_id"])
            assert found.proof.index == index
            index += 1
    assert index == store.log.frontier.size


def test_a_record_is_proven_where_the_batches_before_it_are_gone(store: Store) -> None:
    record = Tampered(store.root, store.log.names[2]).rows[5]["record_id"]
    for name in store.log.names[:2]:
        store.path(name).unlink()
    proven(store, record)


def test_a_batch_without_its_own_account_is_joined_to_those_before_it(store: Store) -> None:
    record = Tampered(store.root, store.log.names[1]).rows[5]["record_id"]
    tamper(store.root, store.log.names[1], lambda opened: opened.metadata.pop("frontier"))
    proven(store, record)
    store.path(store.log.names[0]).unlink()
    with pytest.raises(StoreError, match="leaf 0 is not in the store"):
        prove(open_store(str(store.root)), record)


def test_a_changed_record_has_no_receipt(store: Store) -> None:
    record = f"{store.log.log}.25"
    tamper(store.root, store.log.names[1], lambda opened: opened.row(25).update(status=200))
    with pytest.raises(StoreError, match="run `sidecar verify`"):
        prove(open_store(str(store.root)), record)


def test_a_damaged_object_gives_no_receipt_and_one_line(store: Store) -> None:
    path = store.path(store.log.names[1])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match="is damaged"):
        prove(open_store(str(store.root)), f"{store.log.log}.25")


@pytest.mark.parametrize("record_id", ["", "x", "a.b.1", "a.b.c.d.e.f.genesis.0", "\x00.b.1", "a" * 10_000])
def test_what_is_not_there_is_said(store: Store, record_id: str) -> None:
    with pytest.raises(RecordNotFound, match="not in the store"):
        prove(open_store(str(store.root)), record_id)


def test_a_receipt_carries_the_cosignature_of_its_checkpoint(store: Store) -> None:
    store.witness(store.log)
    record = Tampered(store.root, store.log.names[2]).rows[5]["record_id"]
    found = proven(store, record)
    assert receipt.verify(found, [ENROLMENT_KEY.verifier], [CosignerKey.of(WITNESS.verifier)]).ok
    earlier = proven(store, f"{store.log.log}.3")
    assert not receipt.verify(earlier, [], [CosignerKey.of(WITNESS.verifier)]).ok


def test_an_encrypted_record_is_proven_without_any_key(tmp_path: Path) -> None:
    log = LogMaker(
        tmp_path,
        audited.BOOT_KEY,
        enrolment_key=ENROLMENT_KEY,
        encryption=Encryption(LocalMasterKey(b"m" * 32)),
    )
    log.exchange(subject="anna")
    log.close()
    found = proven(Store(tmp_path, log, log), f"{log.log}.1")
    assert found.record["inputs"] is None
    assert found.record["request_body"] != b'{"n":1}'
