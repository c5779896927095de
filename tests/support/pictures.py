"""PNG files made with every filter, and the headers of other formats."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
Rows = npt.NDArray[np.uint8]


def png(
    rows: Rows,
    width: int,
    colour: int = 2,
    depth: int = 8,
    filters: Sequence[int] = (0,),
    palette: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG of rows of bytes; the filters are used in turn."""
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, int(interlaced))
    data = zlib.compress(filtered(rows, max(1, CHANNELS[colour] * depth // 8), filters))
    parts = [_chunk(b"IHDR", head)]
    if palette:
        parts.append(_chunk(b"PLTE", palette))
    # Two pieces: readers must join them before they decompress.
    parts += [_chunk(b"IDAT", data[: len(data) // 2]), _chunk(b"IDAT", data[len(data) // 2 :])]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b"")


def filtered(rows: Rows, step: int, filters: Sequence[int]) -> bytes:
    """As the specification's section 9.2 defines the encoder's side, byte by byte."""
    out = bytearray()
    above = [0] * rows.shape[1]
    for number, row in enumerate(rows.tolist()):
        which = filters[number % len(filters)]
        out.append(which)
        for at, value in enumerate(row):
            a, b = (row[at - step] if at >= step else 0), above[at]
            c = above[at - step] if at >= step else 0
            out.append((value - (0, a, b, (a + b) // 2, _paeth(a, b, c))[which]) % 256)
        above = row
    return bytes(out)


def _paeth(a: int, b: int, c: int) -> int:
    distances = [abs(a + b - c - each) for each in (a, b, c)]
    return (a, b, c)[distances.index(min(distances))]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gray(width: int, height: int, value: int) -> str:
    """A PNG of one gray in base64."""
    return b64encode(png(np.full((height, width), value, dtype=np.uint8), width, 0)).decode()


def jpeg(width: int, height: int) -> str:
    """What a JPEG begins with, in base64: a comment, then the frame."""
    head = b"\xff\xd8\xff\xfe" + struct.pack(">H", 12) + b"0123456789"
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b64encode(head + frame + bytes(30)).decode()


def gif(width: int, height: int) -> str:
    return b64encode(b"GIF89a" + struct.pack("<HH", width, height) + bytes(40)).decode()


def webp(width: int, height: int) -> str:
    extended = b"VP8X" + bytes(8) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b64encode(b"RIFF" + bytes(4) + b"WEBP" + extended + bytes(30)).decode()
