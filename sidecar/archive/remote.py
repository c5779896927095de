"""A store's objects as a file system that DuckDB can read: ranges on demand, ends from memory.

DuckDB asks for a footer and then for the column chunks it needs, a few requests
a file; what a search has already read of a file's end is not asked for again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from sidecar.archive.footer import Footer
from sidecar.archive.source import Source
from sidecar.errors import UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

SCHEME = "sidecar"


class RangeFile(io.RawIOBase):
    """One object, read by ranges."""

    def __init__(self, source: Source, name: str, size: int, tail: bytes, counting: Lock) -> None:
        super().__init__()
        self._counting = counting
        self._source = source
        self._name = name
        self.size = size
        self._tail = tail
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        length = self.size - self._at if size < 0 else min(size, self.size - self._at)
        if length <= 0:
            return b""
        start = self._at - (self.size - len(self._tail))
        if start >= 0:
            data = self._tail[start : start + length]
        else:
            data = self._source.objects.get_range(self._name, self._at, length)
            with self._counting:
                self._source.account.bytes_read += len(data)
        self._at += len(data)
        return data


def file_system(source: Source, footers: Sequence[Footer]) -> AbstractFileSystem:
    """A file system of the scheme `sidecar` over these files; it knows no others and writes nothing.

    Raises UsageError when fsspec is not installed.
    """
    try:
        from fsspec import AbstractFileSystem as Base
    except ImportError as error:
        raise UsageError("a bucket is read through fsspec: pip install 'sidecar-recorder[audit]'") from error
    known = {each.file.name: each for each in footers}
    counting = Lock()

    class StoreFileSystem(Base):  # type: ignore[misc]
        protocol = SCHEME
        cachable = False

        def _of(self, path: str) -> Footer:
            name = path.removeprefix(f"{SCHEME}://").lstrip("/")
            if name not in known:
                raise FileNotFoundError(path)
            return known[name]

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            file = self._of(path).file
            return {"name": path, "size": file.size, "type": "file"}

        def exists(self, path: str, **_: Any) -> bool:
            return path.removeprefix(f"{SCHEME}://").lstrip("/") in known

        def modified(self, path: str) -> datetime:
            self._of(path)
            # Objects never change: their names hold their hashes.
            return datetime(2000, 1, 1, tzinfo=UTC)

        def open(self, path: str, mode: str = "rb", **_: Any) -> RangeFile:
            if mode != "rb":
                raise PermissionError(path)
            footer = self._of(path)
            return RangeFile(source, footer.file.name, footer.file.size, footer.tail, counting)

    return StoreFileSystem()
