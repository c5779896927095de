"""The mean brightness of a PNG (W3C PNG, third edition) with numpy and zlib alone."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
LUMA: Final = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_CHANNELS: Final = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _GRAY_ALPHA: 2, _RGBA: 4}
_DEPTHS: Final = {
    _GRAY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GRAY_ALPHA: (8, 16),
    _RGBA: (8, 16),
}
_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Header:
    """What IHDR says."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def stride(self) -> int:
        """Bytes of a row's pixels."""
        return -(-self.width * _CHANNELS[self.colour] * self.depth // 8)

    @property
    def pixel_bytes(self) -> int:
        """Of the whole image, decompressed."""
        return self.height * self.stride

    @property
    def plain(self) -> bool:
        """Whether it is of a kind that is read here: interlaced ones are not."""
        return not self.interlaced and self.depth in _DEPTHS.get(self.colour, ())


def header(data: bytes) -> Header | None:
    """The header of a PNG; None of anything else."""
    if len(data) < 29 or data[:8] != SIGNATURE or data[12:16] != b"IHDR" or data[25] not in _CHANNELS:
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return Header(width, height, data[24], data[25], data[28] != 0)


def brightness(data: bytes) -> float | None:
    """Mean luma over all pixels, 0 black to 1 white, without alpha; None where the pixels cannot be read.

    Takes memory and time in proportion to `header(data).pixel_bytes`: whoever calls it has looked.
    """
    head = header(data)
    if head is None or not head.plain or not head.width or not head.height:
        return None
    chunks = _chunks(data)
    whole = head.height * (1 + head.stride)
    try:
        plain = zlib.decompressobj().decompress(b"".join(chunks.get(b"IDAT", ())), whole)
    except zlib.error:
        return None
    if len(plain) != whole:
        return None
    rows = np.frombuffer(plain, dtype=np.uint8).reshape(head.height, 1 + head.stride)
    if rows[:, 0].max() > _PAETH:
        return None
    pixels = unfiltered(rows[:, 0], rows[:, 1:], max(1, _CHANNELS[head.colour] * head.depth // 8))
    return _mean(head, pixels, b"".join(chunks.get(b"PLTE", ())))


def _chunks(data: bytes) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name in (b"IDAT", b"PLTE"):
            found.setdefault(name, []).append(data[at + 8 : at + 8 + length])
        at += 12 + length
    return found


def unfiltered(filters: Bytes, rows: Bytes, step: int) -> Bytes:
    """Rows of bytes with their filters undone; `step` bytes is a pixel (specification, section 9)."""
    if filters.max() <= _UP:
        return _unfiltered_by_row(filters, rows, step)
    # A byte needs those to the left, above and above left: all pixels of one anti-diagonal at once.
    height, width = len(rows), -(-rows.shape[1] // step)
    padded = np.zeros((height, width * step), dtype=np.int16)
    padded[:, : rows.shape[1]] = rows
    skewed = np.zeros((width + height - 1, height, step), dtype=np.int16)
    inside = np.zeros((width + height - 1, height, 1), dtype=np.int16)
    for row in range(height):
        skewed[row : row + width, row] = padded[row].reshape(width, step)
        inside[row : row + width, row] = 255
    is_sub, is_up, is_average, is_paeth = (
        (filters == which).astype(np.int16)[:, None] for which in (_SUB, _UP, _AVERAGE, _PAETH)
    )
    left = np.zeros((height, step), dtype=np.int16)
    above, corner = left.copy(), left.copy()
    for diagonal, allowed in zip(skewed, inside, strict=True):
        near = above - corner
        far = left - corner
        to_left, to_above, to_corner = np.abs(near), np.abs(far), np.abs(near + far)
        paeth = np.where(
            (to_left <= to_above) & (to_left <= to_corner),
            left,
            np.where(to_above <= to_corner, above, corner),
        )
        diagonal += is_sub * left + is_up * above + is_average * ((left + above) >> 1) + is_paeth * paeth
        diagonal &= allowed
        corner = above
        above = np.zeros_like(left)
        above[1:] = diagonal[:-1]
        left = diagonal
    columns = np.arange(width)
    pixels = np.stack([skewed[row + columns, row].reshape(-1) for row in range(height)])
    return pixels[:, : rows.shape[1]].astype(np.uint8)


def _unfiltered_by_row(filters: Bytes, rows: Bytes, step: int) -> Bytes:
    found = rows.copy()
    for at, which in enumerate(filters.tolist()):
        if which == _SUB:
            for channel in range(step):
                found[at, channel::step] = np.cumsum(found[at, channel::step], dtype=np.uint8)
        elif which == _UP and at:
            found[at] += found[at - 1]
    return found


def _mean(head: Header, rows: Bytes, palette: bytes) -> float | None:
    channels = _CHANNELS[head.colour]
    if head.depth == 16:
        deep = rows.view(">u2").reshape(-1, channels)
        return _luma(deep.sum(axis=0, dtype=np.int64), 65_535 * len(deep))
    values: npt.NDArray[Any]
    if head.depth == 8:
        values = rows.reshape(-1, channels)
    else:
        bits = np.unpackbits(rows, axis=1).reshape(head.height, -1, head.depth)[:, : head.width]
        values = (bits @ (1 << np.arange(head.depth)[::-1])).reshape(-1, 1)
    if head.colour == _PALETTE:
        colours = np.frombuffer(palette[: len(palette) // 3 * 3], dtype=np.uint8).reshape(-1, 3)
        used = np.bincount(values.ravel(), minlength=len(colours))
        if len(used) > len(colours):
            return None
        return _luma(used @ colours.astype(np.int64), 255 * values.size)
    return _luma(values.sum(axis=0, dtype=np.int64), ((1 << head.depth) - 1) * len(values))


def _luma(sums: npt.NDArray[np.int64], white: int) -> float:
    """From exact sums over the channels, so that the order of the pixels cannot matter."""
    if len(sums) < 3:
        return int(sums[0]) / white
    return sum(weight * int(total) for weight, total in zip(LUMA, sums[:3], strict=True)) / white
