"""Timestamped witness cosignatures, `cosignature/v1` of c2sp.org/tlog-cosignature (Ed25519, type 0x04).

A cosignature says: at this time, the largest tree that I have seen of this
log, consistent with all I saw before, has this root. It is a signature line
of the checkpoint's note, next to the log's own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sidecar.errors import LedgerError
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.note import (
    SIGNATURE_BYTES,
    Note,
    PublicKey,
    Signature,
    SigningKey,
    VerifierKey,
    ed25519_is_valid,
)

COSIGNATURE: Final = 0x04
MAX_TIME_S: Final = 2**63 - 1

_TIME = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class CosignerKey(PublicKey):
    """A witness's public key; its text form is `str(key)`."""

    kind = COSIGNATURE

    @classmethod
    def of(cls, key: VerifierKey) -> CosignerKey:
        """The key that a holder of this one cosigns with: the same bytes, another type."""
        return cls(key.name, key.public_key)

    def is_valid(self, text: str, signature: bytes) -> bool:
        if len(signature) != _TIME.size + SIGNATURE_BYTES:
            return False
        (time_s,) = _TIME.unpack_from(signature)
        message = _message(text, time_s)
        return time_s <= MAX_TIME_S and ed25519_is_valid(self.public_key, message, signature[_TIME.size :])

    def cosigned_at(self, note: Note) -> int:
        """When this key cosigned the checkpoint, seconds since 1970.

        Raises LedgerError when it did not, or the note is no checkpoint.
        """
        note.verified_by([self])
        Checkpoint.parse(note.text)
        signature = note.signature_by(self)
        assert signature is not None
        (time_s,) = _TIME.unpack_from(signature)
        return int(time_s)


def cosign(key: SigningKey, note: Note, time_s: int) -> Note:
    """The checkpoint's note with this witness's cosignature, in place of an earlier one of its.

    Raises LedgerError when the note is no checkpoint. What a cosignature
    promises about consistency is the caller's to have checked.
    """
    Checkpoint.parse(note.text)
    if not 0 <= time_s <= MAX_TIME_S:
        raise LedgerError(f"cosignature: {time_s} is no time: correct the clock")
    cosigner = CosignerKey.of(key.verifier)
    stamped = _TIME.pack(time_s) + key.sign_bytes(_message(note.text, time_s))
    return note.with_signature(Signature(cosigner.name, cosigner.key_id, stamped))


def parse_verifier(text: str) -> VerifierKey | CosignerKey:
    """A public key of either type from its text form."""
    try:
        return CosignerKey.parse(text)
    except LedgerError:
        return VerifierKey.parse(text)


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
