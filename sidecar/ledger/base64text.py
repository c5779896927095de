"""Base64 with one text for each value (RFC 4648, section 4, padded).

Python's decoder lets unused bits and misplaced padding through, so that
several texts would mean the same bytes and a changed text would go unnoticed.
"""

from __future__ import annotations

import binascii


def encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def decode(text: str) -> bytes:
    """The bytes of canonical base64. Raises ValueError for anything else."""
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("not base64") from error
    if encode(data) != text:
        raise ValueError("not canonical base64")
    return data
