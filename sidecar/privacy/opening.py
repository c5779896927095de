"""Encrypted records, opened again by whoever has the key object and the master key."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.errors import Damaged, Erased
from sidecar.privacy.encrypt import COLUMNS, associated_data, key_commitment
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import NONCE_BYTES, MasterKey


class _Decoded(msgspec.Struct):
    inputs: msgspec.Raw
    outputs: msgspec.Raw
    decision: str | None


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """What an encrypted record holds, as the columns of a plain one would."""

    request_body: bytes | None
    response_body: bytes | None
    inputs: str | None
    """JSON text."""
    outputs: str | None
    decision: str | None


def is_encrypted(row: Mapping[str, Any]) -> bool:
    """Whether the row's blobs are ciphertexts."""
    return row.get("key_commitment") is not None


def open_record(row: Mapping[str, Any], key_object: KeyObject | None, master: MasterKey) -> OpenedRecord:
    """The plain blobs of an encrypted row; `key_object` is None if the batch's is gone.

    Needs the row's record_id, subject_key_id, wrapped_key, key_commitment and
    the encrypted columns. Raises Erased if the key was destroyed, WrongKey if
    another master key sealed it, Damaged if anything was changed or moved.
    """
    record_id = _text(row, "record_id")
    if key_object is None:
        raise Erased(f"record {record_id}: its batch's key object is gone: it cannot be opened")
    subject_key = key_object.key(_bytes(row, "subject_key_id"), master)
    wrapped = _bytes(row, "wrapped_key")
    try:
        record_key = AESGCM(subject_key).decrypt(
            wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], record_id.encode()
        )
        cipher = AESGCM(record_key)
    except (InvalidTag, ValueError) as error:
        raise _damaged(record_id, "wrapped_key") from error
    if not hmac.compare_digest(key_commitment(record_key), _bytes(row, "key_commitment")):
        raise Damaged(f"record {record_id}: its key is not the one its leaf commits to: it proves nothing")
    plain: dict[str, bytes | None] = {}
    for column, nonce in COLUMNS.items():
        stored = row.get(column)
        try:
            plain[column] = (
                None
                if stored is None
                else cipher.decrypt(nonce, bytes(stored), associated_data(record_id, column))
            )
        except (InvalidTag, ValueError) as error:
            raise _damaged(record_id, column) from error
    inputs, outputs, decision = _decoded(record_id, plain["decoded_ciphertext"])
    return OpenedRecord(plain["request_body"], plain["response_body"], inputs, outputs, decision)


def _decoded(record_id: str, text: bytes | None) -> tuple[str | None, str | None, str | None]:
    if text is None:
        return None, None, None
    try:
        decoded = msgspec.json.decode(text, type=_Decoded)
        return bytes(decoded.inputs).decode(), bytes(decoded.outputs).decode(), decoded.decision
    except (msgspec.MsgspecError, ValueError) as error:
        raise _damaged(record_id, "decoded_ciphertext") from error


def _damaged(record_id: str, column: str) -> Damaged:
    return Damaged(
        f"record {record_id}: {column} was changed, cut or moved here from another place: "
        "sidecar verify says which object"
    )


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise Damaged(f"row: has no {column}, so that it is no encrypted record")
    return value


def _bytes(row: Mapping[str, Any], column: str) -> bytes:
    value = row.get(column)
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise Damaged(
            f"record {row.get('record_id')}: has no {column}: it is not an encrypted record, or cut"
        )
    return bytes(value)
