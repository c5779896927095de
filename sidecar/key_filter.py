"""A Bloom filter over the business keys of one batch file, kept in the file's metadata.

Names of objects say which log, time and numbers a file holds, not whose keys.
Parquet's own Bloom filters cannot be asked for a value inside a map by the
readers at hand, and finding one means parsing a whole footer; this one is read
with the last bytes of the file, ten thousand files in well under a second.

Text form: `<hashes>:<base64 of the bits>`. A pair sets `hashes` bits: with h1
and h2 the first two little-endian 64-bit numbers of SHA-256(name || 0x00 ||
value) and h2's lowest bit set, bit (h1 + i * h2 mod 2^64) mod m for i from 0,
where m is the number of bits, a power of two; bit b is bit b mod 8 (lowest
first) of byte b div 8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

HASHES: Final = 8
BITS_A_PAIR: Final = 16
"""At least; one file in 1,700 is then opened in vain."""
SMALLEST_BITS: Final = 512
LARGEST_BITS: Final = 1 << 20

_WORD: Final = (1 << 64) - 1


def key_filter(pairs: Iterable[tuple[str, str]]) -> str | None:
    """The filter's text over (name, value) pairs; None when there are none."""
    import numpy as np

    digests = b"".join({_digest(name, value) for name, value in pairs})
    count = len(digests) // 16
    if not count:
        return None
    size = SMALLEST_BITS
    while size < min(count * BITS_A_PAIR, LARGEST_BITS):
        size *= 2
    words = np.frombuffer(digests, dtype="<u8").reshape(count, 2)
    steps = np.arange(HASHES, dtype=np.uint64)
    places = (words[:, :1] + (words[:, 1:] | np.uint64(1)) * steps) & np.uint64(size - 1)
    bits = np.zeros(size, dtype=np.uint8)
    bits[places.ravel().astype(np.int64)] = 1
    packed = np.packbits(bits, bitorder="little").tobytes()
    return f"{HASHES}:{base64.b64encode(packed).decode()}"


def may_hold(text: object, name: str, value: str) -> bool:
    """Whether a file with this filter may have a row with the key; True for a filter that cannot be read."""
    if not isinstance(text, str):
        return True
    hashes, _, coded = text.partition(":")
    try:
        bits = base64.b64decode(coded, validate=True)
        count = int(hashes)
    except (ValueError, binascii.Error):
        return True
    size = len(bits) * 8
    if not size or size & (size - 1) or not 0 < count <= 64:
        return True
    digest = _digest(name, value)
    first, step = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") | 1
    for index in range(count):
        place = ((first + index * step) & _WORD) & (size - 1)
        if not bits[place >> 3] >> (place & 7) & 1:
            return False
    return True


def _digest(name: str, value: str) -> bytes:
    return sha256(
        name.encode(errors="surrogatepass") + b"\x00" + value.encode(errors="surrogatepass")
    ).digest()[:16]
