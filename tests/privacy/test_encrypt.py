from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import Damaged, Erased, PrivacyError, WrongKey
from sidecar.privacy.encrypt import COLUMNS, RecordSealer, SubjectKeys, associated_data
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.keys import SUBJECT_SEPARATOR
from sidecar.privacy.master import LocalMasterKey
from sidecar.privacy.opening import OpenedRecord, is_encrypted, open_record
from tests.privacy.galois import two_key_ciphertext

MASTER = LocalMasterKey(b"m" * 32)
BATCH = "prod.ns.w.uid.default.b-L000000000000-000000000009"
DECODED = b'{"inputs":{"age":[41]},"outputs":{"y":[0.5]},"decision":"0.5"}'
Row = dict[str, Any]


@dataclass
class Batch:
    """Records sealed together, and the key object that opens them."""

    rows: list[Row]
    stored: bytes

    @property
    def keys(self) -> KeyObject:
        return KeyObject.parse(self.stored)


def batch(*records: tuple[bytes | None, bytes | None, bytes | None, str | None]) -> Batch:
    keys = SubjectKeys()
    sealer = RecordSealer(keys)
    rows = []
    for number, (asked, answered, decoded, subject) in enumerate(records, 1):
        record_id = f"b.default.{number}"
        sealed = sealer.seal(record_id, asked, answered, decoded, subject)
        rows.append(
            {
                "record_id": record_id,
                "request_body": sealed.request_body,
                "response_body": sealed.response_body,
                "decoded_ciphertext": sealed.decoded,
                "subject_key_id": sealed.subject_key_id,
                "wrapped_key": sealed.wrapped_key,
                "key_commitment": sealed.key_commitment,
            }
        )
    return Batch(rows, keys.close(BATCH, MASTER))


def one() -> tuple[Row, KeyObject]:
    made = batch((b"asked", b"answered", DECODED, "ann"))
    return made.rows[0], made.keys


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=200),
            st.none() | st.binary(max_size=200),
            st.none() | st.just(DECODED),
            st.none() | st.sampled_from(["ann", "bob", "zoë"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_was_sealed_opens(
    records: list[tuple[bytes | None, bytes | None, bytes | None, str | None]],
) -> None:
    made = batch(*records)
    assert len({entry.id for entry in made.keys.entries}) == len({record[3] for record in records})
    for row, (asked, answered, decoded, _) in zip(made.rows, records, strict=True):
        assert is_encrypted(row)
        opened = open_record(row, made.keys, MASTER)
        assert (opened.request_body, opened.response_body) == (asked, answered)
        assert opened.inputs == (None if decoded is None else '{"age":[41]}')
        assert opened.decision == (None if decoded is None else "0.5")


def test_the_format_is_the_documented_one() -> None:
    """Opened with the cipher alone, as a stranger would from docs/privacy.md."""
    row, keys = one()
    entry = json.loads(keys.to_bytes())["subjects"][0]
    wrapped = base64.b64decode(entry["wrapped"])
    subject_key = AESGCM(b"m" * 32).decrypt(wrapped[:12], wrapped[12:], bytes.fromhex(entry["id"]))
    record_key = AESGCM(subject_key).decrypt(row["wrapped_key"][:12], row["wrapped_key"][12:], b"b.default.1")
    assert row["key_commitment"] == hashlib.sha256(b"sidecar record key\x00" + record_key).digest()
    for number, column, plain in (
        (1, "request_body", b"asked"),
        (2, "response_body", b"answered"),
        (3, "decoded_ciphertext", DECODED),
    ):
        data = b"b.default.1\x00" + column.encode()
        assert AESGCM(record_key).decrypt(bytes(11) + bytes([number]), row[column], data) == plain
    assert (
        json.loads(keys.to_bytes())["master"]
        == hashlib.sha256(b"sidecar master key\x00" + b"m" * 32).hexdigest()[:8]
    )


@pytest.mark.parametrize(
    "column", ["request_body", "response_body", "decoded_ciphertext", "wrapped_key", "key_commitment"]
)
def test_a_ciphertext_moved_to_another_record_does_not_open(column: str) -> None:
    made = batch((b"asked", b"answered", DECODED, "ann"), (b"asked", b"answered", DECODED, "ann"))
    first, second = made.rows
    with pytest.raises(Damaged):
        open_record({**second, column: first[column]}, made.keys, MASTER)


def test_a_whole_record_under_another_id_does_not_open() -> None:
    row, keys = one()
    with pytest.raises(Damaged, match="wrapped_key was changed"):
        open_record({**row, "record_id": "b.default.2"}, keys, MASTER)


def test_a_ciphertext_moved_to_another_column_does_not_open() -> None:
    row, keys = one()
    columns = list(COLUMNS)
    for column in columns:
        for other in columns:
            if column != other:
                with pytest.raises(Damaged):
                    open_record({**row, column: row[other]}, keys, MASTER)


def test_one_flipped_bit_anywhere_fails() -> None:
    row, keys = one()
    for column in (*COLUMNS, "wrapped_key", "key_commitment", "subject_key_id"):
        for bit in range(len(row[column]) * 8):
            changed = bytearray(row[column])
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises((Damaged, Erased)) as raised:
                open_record({**row, column: bytes(changed)}, keys, MASTER)
            assert (raised.type is Erased) == (column == "subject_key_id")


def test_one_flipped_bit_in_a_wrapped_subject_key_fails() -> None:
    row, keys = one()
    (entry,) = keys.entries
    for bit in range(len(entry.wrapped) * 8):
        wrapped = bytearray(entry.wrapped)
        wrapped[bit // 8] ^= 1 << bit % 8
        changed = KeyObject(keys.batch, keys.master, (type(entry)(entry.id, entry.tag, bytes(wrapped)),))
        with pytest.raises(Damaged, match="key object"):
            open_record(row, changed, MASTER)


def test_cut_and_missing_columns_fail_as_damage() -> None:
    row, keys = one()
    for column in (*COLUMNS, "wrapped_key", "key_commitment"):
        for length in (0, 5, len(row[column]) - 1):
            with pytest.raises(Damaged):
                open_record({**row, column: row[column][:length]}, keys, MASTER)
    for column in ("record_id", "wrapped_key", "key_commitment", "subject_key_id"):
        with pytest.raises(Damaged):
            open_record({**row, column: None}, keys, MASTER)


def test_one_ciphertext_does_not_open_to_two_originals() -> None:
    first, second = bytes(range(32)), bytes(range(32, 64))
    data = associated_data("b.default.1", "request_body")
    forged = two_key_ciphertext(first, second, COLUMNS["request_body"], data)
    texts = {AESGCM(key).decrypt(COLUMNS["request_body"], forged, data) for key in (first, second)}
    assert len(texts) == 2, "plain GCM opens it under both keys"

    def sealed_with(key: bytes) -> tuple[bytes, Row, KeyObject]:
        subjects = SubjectKeys()
        key_id, cipher = subjects.key(None)
        wrapped = bytes(12) + cipher.encrypt(bytes(12), key, b"b.default.1")
        commitment = hashlib.sha256(b"sidecar record key\x00" + first).digest()
        row = {
            "record_id": "b.default.1",
            "request_body": forged,
            "subject_key_id": key_id,
            "wrapped_key": wrapped,
            "key_commitment": commitment,
        }
        return key, row, KeyObject.parse(subjects.close(BATCH, MASTER))

    _, row, keys = sealed_with(first)
    assert open_record(row, keys, MASTER).request_body in texts
    _, row, keys = sealed_with(second)
    with pytest.raises(Damaged, match="not the one its leaf commits to"):
        open_record(row, keys, MASTER)


def test_an_erased_subject_opens_nothing_and_the_others_everything() -> None:
    made = batch(*[(b"x", b"y", DECODED, subject) for subject in ("ann", "bob", None)])
    ids = made.keys.ids(MASTER.tag("ann"))
    assert len(ids) == 1
    left = KeyObject.parse(made.keys.without(ids).to_bytes())
    with pytest.raises(Erased, match="was destroyed"):
        open_record(made.rows[0], left, MASTER)
    assert isinstance(open_record(made.rows[1], left, MASTER), OpenedRecord)
    assert isinstance(open_record(made.rows[2], left, MASTER), OpenedRecord)
    assert left.ids(MASTER.tag("ann")) == frozenset()
    (destroyed,) = [entry for entry in made.keys.entries if entry.id in ids]
    assert destroyed.wrapped not in left.to_bytes()
    with pytest.raises(Erased, match="key object is gone"):
        open_record(made.rows[1], None, MASTER)


def test_erasing_any_of_several_people_erases_their_common_record() -> None:
    made = batch((b"x", b"y", None, SUBJECT_SEPARATOR.join(["ann", "bob"])), (b"x", b"y", None, "bob"))
    assert len(made.keys.ids(MASTER.tag("bob"))) == 2
    left = made.keys.without(made.keys.ids(MASTER.tag("ann")))
    with pytest.raises(Erased):
        open_record(made.rows[0], left, MASTER)
    assert open_record(made.rows[1], left, MASTER).request_body == b"x"


def test_the_batchs_own_key_hangs_on_no_subject() -> None:
    made = batch((b"x", None, None, None))
    assert made.keys.ids(MASTER.tag("")) == frozenset()
    assert made.keys.entries[0].tag is None


def test_another_master_key_is_told_from_damage() -> None:
    row, keys = one()
    with pytest.raises(WrongKey, match="sealed under master key"):
        open_record(row, keys, LocalMasterKey(b"n" * 32))


def test_subject_keys_are_fresh_and_forgotten_after_the_batch() -> None:
    keys = SubjectKeys()
    RecordSealer(keys).seal("r", b"x", None, None, "ann")
    keys.close(BATCH, MASTER)
    assert len(keys) == 0
    with pytest.raises(PrivacyError, match="forgotten"):
        keys.key("ann")
    row, stored = one()
    other, _ = one()
    cipher = AESGCM(stored.key(row["subject_key_id"], MASTER))
    with pytest.raises(InvalidTag):
        cipher.decrypt(other["wrapped_key"][:12], other["wrapped_key"][12:], b"b.default.1")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"format":1,"batch":"b","master":"m","subjects":[{"id":"zz","tag":null,"wrapped":""}]}',
        b'{"format":1,"batch":"b","master":"m","subjects":[{"id":"00","tag":null,"wrapped":""}]}',
        b'{"format":1,"batch":"b","master":"m","subjects":[{"id":"00000000000000000000000000000000","tag":"00","wrapped":""}]}',
        b'{"format":1,"batch":"b","master":"m","subjects":[{"id":"00000000000000000000000000000000","tag":null,"wrapped":"*"}]}',
    ],
)
def test_what_is_no_key_object_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged, match="key object"):
        KeyObject.parse(data)


def test_a_newer_key_object_is_refused() -> None:
    with pytest.raises(PrivacyError, match="newer"):
        KeyObject.parse(b'{"format":2,"batch":"b","master":"m","subjects":[]}')


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_damaged_key_object_opens_nothing_wrong(data: st.DataObject) -> None:
    made = batch((b"asked", None, None, "ann"))
    stored = bytearray(made.stored)
    bit = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[bit // 8] ^= 1 << bit % 8
    try:
        opened = open_record(made.rows[0], KeyObject.parse(bytes(stored)), MASTER)
    except PrivacyError:
        return
    # The batch's name, the tag and unused bits of base64 say nothing about the key.
    assert opened.request_body == b"asked"
