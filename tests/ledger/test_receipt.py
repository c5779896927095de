from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.ledger import receipt as receipts
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.cosignature import CosignerKey, cosign
from sidecar.ledger.enrolment import certify
from sidecar.ledger.leaf import LeafEncoder, Row
from sidecar.ledger.note import SigningKey
from sidecar.ledger.origin import Place, origin
from sidecar.ledger.proof import inclusion_path
from sidecar.ledger.receipt import Receipt, Step, Verdict, parse, verify, write
from sidecar.ledger.tlog_proof import TlogProof
from sidecar.ledger.tree import root_of
from tests.ledger import rfc6962
from tests.ledger.rows import LOG, SALT, any_log, any_row, row

PLACE = Place("prod", "default", "mortgage", "0a1b")
BOOT = "20261123T231500-9f3c2a71b0"
KEY = SigningKey(origin(PLACE, "default", BOOT), bytes([1] * 32))
ENROLLER = SigningKey("enrolment.example", bytes([2] * 32))
STRANGER = SigningKey("stranger.example", bytes([3] * 32))
WITNESS = SigningKey("witness.example", bytes([4] * 32))
COSIGNER = CosignerKey.of(WITNESS.verifier)
ROW = row(
    record_id="b1.default.7", kind="exchange", seq=7, status=200, request_body=b'{"x":1}', response_body=b"\xff\x00",
    inputs='{"x":1}', keys={"applicant": "A-1"}, request_head=b"POST / HTTP/1.1\r\n\r\n", request_complete=True,
)  # fmt: skip


def sealed(
    log: Row = LOG,
    values: Row = ROW,
    salt: bytes | None = SALT,
    index: int = 6,
    size: int = 11,
    key: SigningKey = KEY,
) -> Receipt:
    """A receipt for one row among others, enrolled and witnessed."""
    leaves = rfc6962.leaves(size)
    leaves[index] = LeafEncoder(log).leaf(values, salt)
    note = Checkpoint(key.name, size, root_of(leaves)).signed(key)
    return Receipt(
        log_values=log,
        row_values=values,
        salt=salt,
        leaf_hash=leaves[index],
        public_key=key.verifier,
        enrolment=certify(ENROLLER, PLACE.prefix, BOOT, key.verifier.public_key),
        proof=TlogProof(index, tuple(inclusion_path(leaves, index)), cosign(WITNESS, note, 1_764_000_000)),
    )


def check(receipt: Receipt) -> Verdict:
    return verify(receipt, [ENROLLER.verifier], [COSIGNER])


def test_a_receipt_verifies_after_being_written_and_read() -> None:
    receipt = sealed()
    again = parse(write(receipt))
    assert again == receipt
    verdict = check(again)
    assert verdict.ok
    assert verdict.enrolled
    assert verdict.failed is None
    assert [each.step for each in verdict.findings] == list(Step)


@given(any_log, any_row, st.data())
@settings(max_examples=50)
def test_every_row_survives_its_receipt(log: Row, values: Row, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 20))
    receipt = sealed(log, values, SALT, data.draw(st.integers(0, size - 1)), size)
    again = parse(write(receipt))
    assert again == receipt
    assert check(again).ok


def test_a_row_with_keys_as_pairs_verifies_too() -> None:
    receipt = sealed(values=row(record_id="r", keys=[("b", "2"), ("a", None)]))
    assert check(parse(write(receipt))).ok


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


WHOLE = sealed()
OTHER_LOG = SigningKey(origin(PLACE, "other", BOOT), KEY.seed)


@pytest.mark.parametrize(
    ("broken", "step"),
    [
        (replace(WHOLE, row_values=(*ROW[:16], 201, *ROW[17:])), Step.LEAF),
        (replace(WHOLE, row_values=(*ROW[:18], b'{"x":2}', *ROW[19:])), Step.LEAF),
        (replace(WHOLE, row_values=(*ROW[:18], None, *ROW[19:])), Step.LEAF),
        (replace(WHOLE, log_values=(*LOG[:4], "sha256:" + "cd" * 32, *LOG[5:])), Step.LEAF),
        (replace(WHOLE, salt=flip(SALT)), Step.LEAF),
        (replace(WHOLE, salt=None), Step.LEAF),
        (replace(WHOLE, leaf_hash=flip(WHOLE.leaf_hash)), Step.LEAF),
        (replace(WHOLE, proof=replace(WHOLE.proof, index=5)), Step.PATH),
        (replace(WHOLE, proof=replace(WHOLE.proof, index=11)), Step.PATH),
        (replace(WHOLE, proof=replace(WHOLE.proof, path=WHOLE.proof.path[:-1])), Step.PATH),
        (replace(WHOLE, proof=replace(WHOLE.proof, path=tuple(map(flip, WHOLE.proof.path)))), Step.PATH),
        (replace(WHOLE, public_key=STRANGER.verifier), Step.CHECKPOINT),
        (replace(WHOLE, public_key=STRANGER.named(KEY.name).verifier), Step.CHECKPOINT),
        (replace(WHOLE, public_key=OTHER_LOG.verifier), Step.CHECKPOINT),
        (sealed(key=STRANGER.named(KEY.name)), None),
        (replace(sealed(key=STRANGER.named(KEY.name)), enrolment=WHOLE.enrolment), Step.ENROLMENT),
        (replace(WHOLE, enrolment=None), Step.ENROLMENT),
        (replace(WHOLE, enrolment="nonsense"), Step.ENROLMENT),
        (replace(WHOLE, enrolment=certify(STRANGER, PLACE.prefix, BOOT, KEY.verifier.public_key)), Step.ENROLMENT),
        (replace(WHOLE, enrolment=certify(ENROLLER, PLACE.prefix, "other", KEY.verifier.public_key)), Step.ENROLMENT),
        (replace(WHOLE, proof=replace(WHOLE.proof, checkpoint=Checkpoint.parse(WHOLE.proof.checkpoint.text).signed(KEY))), Step.WITNESS),
    ],
)  # fmt: skip
def test_the_step_that_failed_is_named(broken: Receipt, step: Step | None) -> None:
    verdict = check(broken)
    assert verdict.failed is step
    assert verdict.ok is (step is None)
    # Reading makes no difference.
    assert check(parse(write(broken))) == verdict


def test_a_checkpoint_that_was_changed_fails_where_it_shows() -> None:
    bigger = Checkpoint(KEY.name, 11, rfc6962.root(rfc6962.leaves(11)))
    note = replace(WHOLE.proof.checkpoint, text=bigger.text())
    verdict = check(replace(WHOLE, proof=replace(WHOLE.proof, checkpoint=note)))
    failed = [each.step for each in verdict.findings if each.passed is False]
    assert failed == [Step.PATH, Step.CHECKPOINT, Step.WITNESS]


def test_without_trusted_keys_the_enrolment_is_told_but_proves_nothing() -> None:
    verdict = verify(WHOLE)
    assert verdict.ok
    assert not verdict.enrolled
    assert "unchecked: certified in the name of enrolment.example" in verdict.findings[-1].text
    verdict = verify(replace(WHOLE, enrolment=None))
    assert verdict.ok
    assert not verdict.enrolled
    assert verdict.findings[-1].text.startswith("unenrolled")
    of_another = certify(ENROLLER, PLACE.prefix, "other", KEY.verifier.public_key)
    assert verify(replace(WHOLE, enrolment=of_another)).failed is Step.ENROLMENT


def test_every_changed_value_of_a_written_receipt_is_noticed() -> None:
    document = json.loads(write(WHOLE))

    def noticed(changed: dict[str, Any]) -> bool:
        try:
            return not check(parse(json.dumps(changed))).ok
        except LedgerError:
            return True

    value: Any
    for name in document["record"]:
        for value in ("", "AAAA", 0, 12, True, 1.5, [], {}, {"a": "b"}, None):
            if document["record"][name] == value and type(document["record"][name]) is type(value):
                continue
            assert noticed({**document, "record": {**document["record"], name: value}}), (name, value)
    for name in document:
        for value in ("", "AAAA", 0, [], {}, None, 2):
            assert noticed({**document, name: value}), (name, value)
    assert not noticed(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"), ("{", "not JSON"), ("[]", "not of the format"), ("{}", "not of the format"),
        ('{"format": "sidecar-receipt/2"}', "not of the format"), ("[" * 100_000, "not JSON"),
        ('{"format": "sidecar-receipt/1", "canonical": 2}', "canonical version 2, this build knows 1: use a newer"),
        ('{"format": "sidecar-receipt/1", "canonical": true}', "canonical version True"),
        ('{"format": "a", "format": "sidecar-receipt/1"}', "twice"),
        ('{"format": "sidecar-receipt/1", "canonical": 1, "more": 1}', "no record, no salt.*unknown 'more'"),
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_refused(text: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        parse(text)


def test_an_oversized_receipt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MAX_RECEIPT_BYTES", 100)
    with pytest.raises(LedgerError, match="longer than 100"):
        parse(write(WHOLE))


@pytest.mark.parametrize("offset", range(4))
def test_flipped_bits_of_a_written_receipt_are_noticed(offset: int) -> None:
    whole = write(WHOLE).encode()
    for bit in range(offset, len(whole) * 8, 31):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            verdict = check(parse(flipped.decode()))
        except (LedgerError, UnicodeDecodeError):
            continue
        assert not verdict.ok, (bit, flipped[bit // 8 - 20 : bit // 8 + 20])
