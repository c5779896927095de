"""The metadata of many files, from their last bytes: times, counts and the filter over their keys.

A Parquet reader parses a whole footer (fifty columns) to give one text out of
it, 0.1 ms in native code and 5 in Python; a search over ten thousand files has
no time for that. The text is looked for where the format puts it: a KeyValue
struct near the footer's end, in Thrift's compact encoding (field 1 of type
binary, its length, `sidecar`, field 2 of type binary, its length, the text).
Inside that text, which is JSON, the marking control byte cannot occur.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from sidecar.archive.catalog import StoredFile
from sidecar.archive.source import Source
from sidecar.errors import StoreError

TAIL_BYTES: Final = 16 << 10
READERS: Final = 32
"""Requests at once to a bucket."""

_MAGIC = b"PAR1"
_KEY = b"\x18\x07sidecar\x18"


class Footer(NamedTuple):
    """A file's `sidecar` metadata; `problem` is set instead where the file has no footer."""

    file: StoredFile
    metadata: dict[str, Any]
    tail: bytes
    """The last bytes, which a reader of a bucket would ask for again."""
    problem: StoreError | None = None


def read_footers(source: Source, files: Iterable[StoredFile]) -> Iterator[Footer]:
    """The footers of all files, in their order, read no further than they are taken."""
    account = source.account
    for footer in _local(source.root, files) if source.root is not None else _remote(source, files):
        account.footers += 1
        account.bytes_read += len(footer.tail)
        yield footer if source.root is None else footer._replace(tail=b"")


def metadata_in(footer: bytes) -> dict[str, Any]:
    """The `sidecar` metadata in a footer's bytes; empty when there is none to be found."""
    at = footer.rfind(_KEY)
    if at < 0:
        return {}
    length, start = _varint(footer, at + len(_KEY))
    try:
        found = orjson.loads(footer[start : start + length])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _local(root: Path, files: Iterable[StoredFile]) -> Iterator[Footer]:
    base = f"{root}/"
    for file in files:
        try:
            descriptor = os.open(base + file.name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            yield _broken(file, error.strerror or str(error))
            continue
        try:
            yield _parsed(file, lambda at, count, fd=descriptor: os.pread(fd, count, at))
        except OSError as error:
            yield _broken(file, error.strerror or str(error))
        finally:
            os.close(descriptor)


def _remote(source: Source, files: Iterable[StoredFile]) -> Iterator[Footer]:
    def read(file: StoredFile) -> Footer:
        try:
            return _parsed(file, lambda at, count: source.objects.get_range(file.name, at, count))
        except StoreError as error:
            return Footer(file, {}, b"", error)

    waiting = iter(files)
    with ThreadPoolExecutor(READERS) as pool:
        # In portions, so that a caller who stops early has not asked for everything.
        while portion := list(islice(waiting, READERS * 8)):
            yield from pool.map(read, portion)


def _parsed(file: StoredFile, read: Any) -> Footer:
    start = max(0, file.size - TAIL_BYTES)
    tail: bytes = read(start, file.size - start)
    if len(tail) < 12 or not tail.endswith(_MAGIC):
        return _broken(file, "no Parquet footer at its end")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > file.size:
        return _broken(file, "its footer is longer than the file")
    if length > len(tail):
        tail = read(file.size - length, length - len(tail)) + tail
    return Footer(file, metadata_in(tail[-length:-8]), tail)


def _broken(file: StoredFile, reason: str) -> Footer:
    return Footer(file, {}, b"", StoreError(f"{file.name}: cannot be read: {reason}"))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 35:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, at
