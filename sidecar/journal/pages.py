"""Reads single values out of a volume file without LMDB.

LMDB trusts its file: a damaged page can kill the process that opens it. The
recorder must not die of an old volume, so at start it looks at the ends of
each with this bounds-checked walk down the B+tree (LMDB data version 1, as
lmdb.h and mdb.c of 0.9 define it; native byte order, 64 bit).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sidecar.errors import VolumeCorrupt

_MAGIC = 0xBEEFC0DE
_DATA_VERSION = 1
_META = struct.Struct("=IIQQ")
"""Magic, version, address, map size; follows the page header."""
_DB = struct.Struct("=IHHQQQQQ")
"""Page size (in the first of the two), flags, depth, branch, leaf and overflow pages, entries, root."""
_META_END = struct.Struct("=QQ")
"""Last used page, transaction id."""
_PAGE = struct.Struct("=QHHHH")
"""Page number, padding, flags, lower, upper (overflow pages: their count in place of the last two)."""
_NODE = struct.Struct("=HHHH")
"""Low and high half of the data size (branches: of the page number), flags, key size."""
_BRANCH, _LEAF, _OVERFLOW, _TYPES = 0x01, 0x02, 0x04, 0x6F
_BIG_DATA = 0x01
_NO_PAGE = (1 << 64) - 1
_MAX_DEPTH = 32


class VolumePages:
    """A volume's keys and values, read page by page. Every method raises VolumeCorrupt."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        metas = [meta for page in (0, 1) if (meta := self._meta(page))]
        if not metas:
            raise VolumeCorrupt("no valid LMDB meta page")
        _, self._page_bytes, self.entries, self._root, last_page = max(metas)
        if (last_page + 1) * self._page_bytes > self._size:
            raise VolumeCorrupt(f"file of {self._size} bytes is shorter than its {last_page + 1} pages")

    def last_key(self) -> bytes | None:
        """The highest key, None when there is none."""
        if self._root == _NO_PAGE:
            return None
        page = self._read(self._root)
        for _ in range(_MAX_DEPTH):
            *_, node = self._nodes(page)
            if self._is_leaf(page):
                return self._key(page, node)
            page = self._read(self._child(page, node))
        raise VolumeCorrupt("B+tree deeper than LMDB allows")

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, None when it is not there."""
        if self._root == _NO_PAGE:
            return None
        page = self._read(self._root)
        for _ in range(_MAX_DEPTH):
            if self._is_leaf(page):
                node = next((n for n in self._nodes(page) if self._key(page, n) == key), None)
                return None if node is None else self._value(page, node)
            chosen = None
            for index, node in enumerate(self._nodes(page)):
                if index and self._key(page, node) > key:
                    break
                chosen = node
            assert chosen is not None
            page = self._read(self._child(page, chosen))
        raise VolumeCorrupt("B+tree deeper than LMDB allows")

    def _meta(self, page: int) -> tuple[int, int, int, int, int] | None:
        # The second meta page lies one page further; LMDB's page size is the machine's when it was made.
        at = page * os.sysconf("SC_PAGESIZE") + _PAGE.size
        data = os.pread(self._file.fileno(), _META.size + 2 * _DB.size + _META_END.size, at)
        if len(data) < _META.size + 2 * _DB.size + _META_END.size:
            return None
        magic, version, _, _ = _META.unpack_from(data)
        if magic != _MAGIC or version != _DATA_VERSION:
            return None
        page_bytes = _DB.unpack_from(data, _META.size)[0]
        if page_bytes != os.sysconf("SC_PAGESIZE"):
            return None
        *_, entries, root = _DB.unpack_from(data, _META.size + _DB.size)
        last_page, txn = _META_END.unpack_from(data, _META.size + 2 * _DB.size)
        return txn, page_bytes, entries, root, last_page

    def _read(self, number: int, pages: int = 1) -> bytes:
        at = number * self._page_bytes
        length = pages * self._page_bytes
        if number < 2 or at + length > self._size:
            raise VolumeCorrupt(f"page {number} lies outside the file")
        data = os.pread(self._file.fileno(), length, at)
        if len(data) != length or _PAGE.unpack_from(data)[0] != number:
            raise VolumeCorrupt(f"page {number} does not carry its own number")
        return data

    def _is_leaf(self, page: bytes) -> bool:
        kind = _PAGE.unpack_from(page)[2] & _TYPES
        if kind not in (_BRANCH, _LEAF):
            raise VolumeCorrupt(f"page of kind {kind:#x} inside the B+tree")
        return bool(kind == _LEAF)

    def _nodes(self, page: bytes) -> Iterator[int]:
        lower = _PAGE.unpack_from(page)[3]
        count = (lower - _PAGE.size) // 2
        if count < 1 or lower > len(page):
            raise VolumeCorrupt("B+tree page without entries")
        for offset in struct.unpack_from(f"={count}H", page, _PAGE.size):
            if offset < lower or offset + _NODE.size > len(page):
                raise VolumeCorrupt("entry outside its page")
            yield offset

    def _key(self, page: bytes, node: int) -> bytes:
        start = node + _NODE.size
        end = start + _NODE.unpack_from(page, node)[3]
        if end > len(page):
            raise VolumeCorrupt("key outside its page")
        return page[start:end]

    def _child(self, page: bytes, node: int) -> int:
        low, high, top, _ = _NODE.unpack_from(page, node)
        return int(low | high << 16 | top << 32)

    def _value(self, page: bytes, node: int) -> bytes:
        low, high, flags, key_bytes = _NODE.unpack_from(page, node)
        length = low | high << 16
        start = node + _NODE.size + key_bytes
        if not flags & _BIG_DATA:
            if start + length > len(page):
                raise VolumeCorrupt("value outside its page")
            return page[start : start + length]
        if start + 8 > len(page):
            raise VolumeCorrupt("value outside its page")
        (first,) = struct.unpack_from("=Q", page, start)
        pages = -(-(_PAGE.size + length) // self._page_bytes)
        data = self._read(first, pages)
        if _PAGE.unpack_from(data)[2] & _TYPES != _OVERFLOW:
            raise VolumeCorrupt(f"page {first} is no overflow page")
        return data[_PAGE.size : _PAGE.size + length]


def open_pages(path: Path) -> tuple[BinaryIO, VolumePages]:
    """Open a volume file for reading; the caller closes the file. Raises VolumeCorrupt, OSError."""
    file = path.open("rb")
    try:
        return file, VolumePages(file)
    except BaseException:
        file.close()
        raise
