"""Glue: the batches of a store by log, and what each says of itself without being read whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

import orjson
from arro3.io import read_parquet

from sidecar.audit.naming import RECORDS, BatchName, parse
from sidecar.audit.parquet import METADATA_KEY
from sidecar.damage import refused
from sidecar.errors import ObjectMissing, StoreError
from sidecar.objects import Entry, Store

COMPACTED = "compacted"
"""Folder of copies that `sidecar compact` makes."""
TAIL_BYTES = 64 * 1024
"""Read at once from a file's end: the footer of most."""


def by_log(store: Store, since: str | None = None) -> dict[str, list[BatchName]]:
    """Every sealed batch by the origin of its log, in leaf order; with `since`, of that day and later."""
    logs: dict[str, list[BatchName]] = {}
    for folder in (RECORDS,) if since is None else _days(store, since):
        for named in named_batches(store.list(folder)):
            logs.setdefault(named.origin, []).append(named)
    for batches in logs.values():
        batches.sort(key=lambda named: (named.first_leaf, named.last_leaf, named.name))
    return logs


def _days(store: Store, since: str) -> Iterator[str]:
    for model in store.folders(RECORDS):
        for digest in store.folders(model):
            yield from (each for each in store.folders(digest) if each.rpartition("/date=")[2] >= since)


def named_batches(listed: Iterable[Entry]) -> Iterable[BatchName]:
    """Those of the objects that are called as sealed batches are."""
    for entry in listed:
        named = parse(entry.name)
        if named is not None:
            yield named


def metadata(store: Store, name: str) -> dict[str, Any]:
    """What the batch's footer says. Raises StoreError for a file that has none of ours."""
    with refused(lambda reason: StoreError(f"{name}: no batch of Sidecar: {reason}"), StoreError):
        found = orjson.loads(
            read_parquet(cast("IO[bytes]", _Ranged(store, name))).schema.metadata[METADATA_KEY]
        )
    if not isinstance(found, dict):
        raise StoreError(f"{name}: its `sidecar` metadata is no JSON object")
    return found


def copies(
    store: Store, model_folder: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, frozenset[str]]]:
    """Compacted files of a model's days that are wanted, each with the names of the batches it repeats.

    `model_folder` is `model=…/`. Raises StoreError for one that does not say what it repeats.
    """
    for digest in store.folders(f"{COMPACTED}/{model_folder}"):
        for day in store.folders(digest):
            if not wanted(day.rpartition("/date=")[2]):
                continue
            partition = day.removeprefix(f"{COMPACTED}/")
            for entry in store.list(day):
                try:
                    sources = [str(each["file"]) for each in metadata(store, entry.name)["sources"]]
                except (KeyError, TypeError) as error:
                    raise StoreError(
                        f"{entry.name}: does not say which batches it repeats: delete it"
                    ) from error
                yield entry.name, frozenset(f"{RECORDS}{partition}/{each}" for each in sources)


class _Ranged(io.RawIOBase):
    """An object as a file that is read where it is asked."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._size = store.size(name)
        self._at = 0
        self._tail_from = max(self._size - TAIL_BYTES, 0)
        self._tail = store.get_range(name, self._tail_from, self._size - self._tail_from)
        if len(self._tail) != self._size - self._tail_from:
            raise ObjectMissing(f"store {store.description}: {name} changed while it was read")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        start = min(self._at, end)
        if start >= self._tail_from:
            data = self._tail[start - self._tail_from : end - self._tail_from]
        else:
            data = self._store.get_range(self._name, start, end - start)
        self._at = start + len(data)
        return data
