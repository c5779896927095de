"""The master key, under which every batch's subject keys are wrapped.

`MasterKey` is the interface; a key in a file is the implementation here. A key
management service fits behind it: `wrap` and `unwrap` are its encrypt and
decrypt with associated data, `tag` a MAC. Sidecars wrap once per subject and
batch, so a service that answers over the network should wrap a data key of its
own once and serve from that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sidecar.errors import Damaged, PrivacyError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_ID_LABEL: Final = b"sidecar master key\x00"
_INDEX_INFO: Final = b"sidecar subject index"
_LARGEST_FILE: Final = 4096


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


def read_secret(path: Path, what: str) -> bytes:
    """The 32 bytes in a key file: raw, 64 hex digits or base64. `what` names the key in errors.

    Raises PrivacyError, never quoting the content, also if others than the
    owner and its group may read the file or others than the owner may change it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_LARGEST_FILE)
    except OSError as error:
        raise PrivacyError(f"{what} {path}: {error.strerror}: give the path of a key file") from error
    if mode & 0o027:
        raise PrivacyError(
            f"{what} {path}: mode {mode:04o} lets others read or change it: chmod 0400 "
            "(defaultMode: 0400 in a Kubernetes volume)"
        )
    return parse_secret(content, f"{what} {path}")


def parse_secret(content: bytes, what: str) -> bytes:
    """32 bytes from a key file's content. Raises PrivacyError, never quoting it."""
    text = content.strip()
    key = b""
    if len(content) == KEY_BYTES and not _is_text(content):
        key = content
    elif re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        key = bytes.fromhex(text.decode())
    else:
        try:
            key = base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")), validate=True)
        except binascii.Error:
            key = b""
    if len(key) != KEY_BYTES:
        raise PrivacyError(
            f"{what}: is no key of {KEY_BYTES} bytes: write 64 hex digits or base64, "
            "for example from: openssl rand -hex 32"
        )
    return key


def _is_text(content: bytes) -> bool:
    """Whether the bytes are printable: 32 such bytes are a password or half a hex key, not a random key."""
    return content.isascii() and content.decode("ascii").strip().isprintable()
