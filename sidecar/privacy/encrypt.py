"""Records of one batch → ciphertexts that only the batch's key object opens.

Every record has a fresh key of 32 bytes, so the nonces may be fixed: 11 zero
bytes and the number of the column. The associated data bind a ciphertext to its
record and column, the key commitment binds it to one key: AES-GCM alone would
let one ciphertext open under two keys to two texts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.errors import PrivacyError
from sidecar.privacy.key_file import KEY_BYTES
from sidecar.privacy.key_object import ID_BYTES, KeyEntry, KeyObject
from sidecar.privacy.keys import SUBJECT_SEPARATOR
from sidecar.privacy.master import NONCE_BYTES, MasterKey

COLUMNS: Final[dict[str, bytes]] = {
    "request_body": bytes(11) + b"\x01",
    "response_body": bytes(11) + b"\x02",
    "decoded_ciphertext": bytes(11) + b"\x03",
}
"""Encrypted columns and their nonces."""
COMMITMENT_LABEL: Final = b"sidecar record key\x00"


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """The columns of an encrypted record; a ciphertext is None where there was nothing."""

    request_body: bytes | None
    response_body: bytes | None
    decoded: bytes | None
    subject_key_id: bytes
    wrapped_key: bytes
    key_commitment: bytes


def associated_data(record_id: str, column: str) -> bytes:
    """What binds a ciphertext to its place."""
    return record_id.encode() + b"\x00" + column.encode()


def key_commitment(record_key: bytes) -> bytes:
    """SHA-256 over a label and the record's key (32 bytes)."""
    return sha256(COMMITMENT_LABEL + record_key).digest()


class SubjectKeys:
    """The subject keys of one batch: fresh, held in memory until the batch is sealed, then forgotten."""

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._keys: dict[str | None, tuple[bytes, bytes, AESGCM]] = {}
        self._forgotten = False

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, subject: str | None) -> tuple[bytes, AESGCM]:
        """Id and cipher for a subject (several joined by SUBJECT_SEPARATOR; None: the batch's own)."""
        if self._forgotten:
            raise PrivacyError("batch keys: were given out and forgotten already: begin a new batch")
        known = self._keys.get(subject)
        if known is None:
            key = self._random(KEY_BYTES)
            known = self._keys[subject] = self._random(ID_BYTES), key, AESGCM(key)
        return known[0], known[2]

    def close(self, batch: str, master: MasterKey) -> bytes:
        """The batch's key object, its keys wrapped under `master`; afterwards nothing here opens anything.

        `batch` is `<origin>-L<first>-<last>`.
        """
        entries: list[KeyEntry] = []
        for subject, (key_id, key, _) in self._keys.items():
            wrapped = master.wrap(key, key_id)
            people = (None,) if subject is None else tuple(dict.fromkeys(subject.split(SUBJECT_SEPARATOR)))
            entries += (
                KeyEntry(key_id, None if person is None else master.tag(person), wrapped) for person in people
            )
        self._keys.clear()
        self._forgotten = True
        return KeyObject(batch, master.id, tuple(entries)).to_bytes()


class RecordSealer:
    """Encrypts the records of one batch."""

    def __init__(self, keys: SubjectKeys, random: Callable[[int], bytes] = os.urandom) -> None:
        self._keys = keys
        self._random = random

    def seal(
        self,
        record_id: str,
        request_body: bytes | None,
        response_body: bytes | None,
        decoded: bytes | None,
        subject: str | None = None,
    ) -> SealedRecord:
        """The record's blobs encrypted under a fresh key, which is wrapped under the subject's.

        `decoded` is the JSON text that stands for the columns inputs, outputs and decision.
        """
        record_key = self._random(KEY_BYTES)
        key_id, subject_cipher = self._keys.key(subject)
        cipher = AESGCM(record_key)
        place = record_id.encode()
        sealed = [
            None if data is None else cipher.encrypt(nonce, data, place + b"\x00" + column.encode())
            for (column, nonce), data in zip(
                COLUMNS.items(), (request_body, response_body, decoded), strict=True
            )
        ]
        nonce = self._random(NONCE_BYTES)
        wrapped = nonce + subject_cipher.encrypt(nonce, record_key, place)
        return SealedRecord(sealed[0], sealed[1], sealed[2], key_id, wrapped, key_commitment(record_key))
