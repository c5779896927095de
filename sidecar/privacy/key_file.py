"""Files that hold a secret of 32 bytes: the master key, the key of keyed hashes."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from pathlib import Path
from typing import Final

from sidecar.errors import PrivacyError

KEY_BYTES: Final = 32
_LARGEST_FILE: Final = 4096


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
