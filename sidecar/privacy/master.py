"""The master key, under which every batch's subject keys are wrapped.

`MasterKey` is the interface; a key in a file is the implementation here. A key
management service fits behind it: `wrap` and `unwrap` are its encrypt and
decrypt with associated data, `tag` a MAC. Sidecars wrap once per subject and
batch, so a service that answers over the network should wrap a data key of its
own once and serve from that.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sidecar.errors import Damaged, PrivacyError
from sidecar.privacy.key_file import KEY_BYTES, read_secret

__all__ = ["NONCE_BYTES", "LocalMasterKey", "MasterKey", "read_master_key", "read_secret"]

NONCE_BYTES: Final = 12
_ID_LABEL: Final = b"sidecar master key\x00"
_INDEX_INFO: Final = b"sidecar subject index"


class MasterKey(Protocol):
    """What wraps the subject keys of a batch."""

    @property
    def id(self) -> str:
        """Names the key without telling anything about it; stored in every key object."""
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """`key` encrypted and bound to `context`."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The inverse. Raises Damaged if `wrapped` is not what `wrap` made for this context."""
        ...

    def tag(self, subject: str) -> bytes:
        """32 bytes by which a subject's entries are found, and not guessed without the master key."""
        ...


class LocalMasterKey:
    """A master key of 32 bytes in memory: AES-256-GCM for keys, HMAC-SHA256 for tags."""

    def __init__(self, key: bytes) -> None:
        """Raises PrivacyError if `key` is not 32 bytes."""
        if len(key) != KEY_BYTES:
            raise PrivacyError(f"master key: {len(key)} bytes, not {KEY_BYTES}: make a new one")
        self._cipher = AESGCM(key)
        self._index = HKDF(SHA256(), KEY_BYTES, salt=None, info=_INDEX_INFO).derive(key)
        self.id: str = hashlib.sha256(_ID_LABEL + key).hexdigest()[:8]

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """nonce(12) || AES-256-GCM(key), with `context` as associated data."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key in `wrapped`. Raises Damaged."""
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise Damaged("key object: an entry was changed, moved or cut: restore the object") from error

    def tag(self, subject: str) -> bytes:
        """HMAC-SHA256 of the subject under HKDF-SHA256(master key, info "sidecar subject index")."""
        return hmac.digest(self._index, subject.encode(), "sha256")


def read_master_key(path: Path) -> LocalMasterKey:
    """The master key in a file. Raises PrivacyError."""
    return LocalMasterKey(read_secret(path, "master key"))
