"""Images in base64 → format, bytes and dimensions from headers of PNG, JPEG, GIF, WebP; brightness of PNG.

Brightness takes decompressed pixels, which only PNG gives up without a library
of its own, and milliseconds. So every image up to `PIXELS_ALWAYS` bytes of
pixels is measured, and of larger ones a share that falls with their size,
picked by a checksum of the image: the work for an image is bounded on average,
and the same images are measured wherever and however they are counted.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from sidecar.statistics import png
from sidecar.statistics.coding import UNREADABLE
from sidecar.statistics.facts import BriefImage, Facts

ASPECTS: Final = ("bytes", "width", "height", "brightness")
PIXELS_ALWAYS: Final = 8 << 10
PIXELS_MOST: Final = 1 << 20
"""Bytes of pixels beyond which brightness is never measured."""
BODY_MOST: Final = 1 << 20
"""Bytes of the file likewise."""
UNMEASURED: Final = -1.0
"""In place of a brightness that was not looked at; of one that cannot be read, NaN."""
FORMATS: Final = ["png", "jpeg", "gif", "webp"]
_BEGINNINGS: Final = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
_LEAST = 44
"""Characters below which a text is no image."""
_HEAD_CHARACTERS = 4 * 21_846
"""About 64 KiB: in a JPEG the dimensions may stand behind a thumbnail."""


def format_of(text: str) -> str | None:
    """The image format a base64 text (or data URL) begins like; None for other texts."""
    if len(text) < _LEAST:
        return None
    start = text.find(",", 0, 100) + 1 if text.startswith("data:image/") else 0
    for beginning, name in _BEGINNINGS.items():
        if text.startswith(beginning, start):
            return name
    return None


def measured(text: str) -> tuple[str, list[float]] | None:
    """Format, and bytes, width, height and brightness; None if its header cannot be read."""
    name = format_of(text)
    if name is None:
        return None
    start = text.find(",", 0, 100) + 1 if text.startswith("data:image/") else 0
    body = len(text) - start
    try:
        head = b64decode(text[start : start + min(_HEAD_CHARACTERS, body - body % 4)])
    except (binascii.Error, ValueError):
        return None
    size = _READERS[name](head)
    if size is None:
        return None
    padding = text[-2:].count("=")
    told = body // 4 * 3 - padding
    light = _brightness(text[start:], head) if name == "png" and told <= BODY_MOST else UNMEASURED
    return name, [float(told), float(size[0]), float(size[1]), light]


def _brightness(body: str, head: bytes) -> float:
    known = png.header(head)
    if known is None or not known.plain or known.pixel_bytes > PIXELS_MOST:
        return UNMEASURED
    if known.pixel_bytes > PIXELS_ALWAYS:
        picked = zlib.crc32(body.encode("ascii", "replace")) / 2**32
        if picked * known.pixel_bytes >= PIXELS_ALWAYS:
            return UNMEASURED
    try:
        found = png.brightness(b64decode(body))
    except (binascii.Error, ValueError):
        found = None
    return float("nan") if found is None else found


def image_facts(values: Sequence[Any]) -> Facts:
    """The format of every image (or that it cannot be read), and the aspects of those that can."""
    main: list[Any] = []
    places, rows = [], []
    for at, value in enumerate(values):
        found: tuple[str, list[float]] | None = None
        if type(value) is BriefImage:
            found = (value.label, value.facts)
        elif type(value) is str:
            found = measured(value)
        else:
            main.append(value)
            continue
        main.append(UNREADABLE if found is None else found[0])
        if found is not None:
            places.append(at)
            rows.append(found[1])
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(ASPECTS))
    aspects = {name: table[:, at] for at, name in enumerate(ASPECTS)}
    unmeasured = {"brightness": aspects["brightness"] == UNMEASURED}
    return Facts(main, np.array(places, dtype=np.int64), aspects, unmeasured)


def _png(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24 or head[12:16] != b"IHDR":
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _gif(head: bytes) -> tuple[int, int] | None:
    if len(head) < 10 or head[:6] not in (b"GIF87a", b"GIF89a"):
        return None
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


_READERS: Final = {"png": _png, "jpeg": _jpeg, "gif": _gif, "webp": _webp}
