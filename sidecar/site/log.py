"""Reading and writing the site log: `site/<index>.json`, one object an entry, several writers.

A writer puts its entry under the next index if nobody was there before it;
whoever comes second reads what was written, seals its entry anew behind that
and tries again. A reader checks every entry against all before it.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from random import uniform
from typing import Final, Protocol

from sidecar.clock import Clock, SystemClock
from sidecar.errors import LedgerError, ObjectExists, ObjectMissing, SiteLogBroken
from sidecar.site.entry import (
    FOLDER,
    KINDS,
    MAX_ENTRY_BYTES,
    Body,
    Entry,
    body_text,
    checkpoint_text,
    index_of,
    leaf_hash,
    object_name,
    parse,
)

TRIES: Final = 60
PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 0.5
FETCHED_AT_ONCE: Final = 16
"""Entries on their way at a time: a bucket answers each in tens of milliseconds, whatever else it does."""


class Listed(Protocol):
    """One object of a listing."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...


class Objects(Protocol):
    """What the site log needs of a store (`sidecar.objects.Store` has it)."""

    @property
    def description(self) -> str: ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[Listed]: ...

    def get(self, name: str) -> bytes: ...

    def put_new(self, name: str, data: bytes) -> bool: ...


class Tree(Protocol):
    """A growing Merkle tree of RFC 6962."""

    @property
    def size(self) -> int: ...

    def append(self, leaf_hash: bytes) -> None: ...

    def root(self) -> bytes: ...

    def copy(self) -> Tree: ...


class Ledger(Protocol):
    """What the site log needs of trees and notes."""

    def tree(self) -> Tree:
        """A tree without leaves."""
        ...

    def signed_text(self, note: str, key: str) -> str:
        """The note's text. Raises LedgerError unless this key, and nobody else, signed it."""
        ...


class Author(Protocol):
    """Who writes: an operator, a witness."""

    @property
    def key(self) -> str:
        """The public key as entries carry it."""
        ...

    def note(self, text: str) -> str:
        """The text with the author's signature."""
        ...


Made = Callable[[Sequence[Entry]], Body]
"""Makes the body of an entry, given what others appended since the author looked; raises to give it up."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a reader has come."""

    size: int
    """Entries read."""
    sha256: str | None
    """Of the last one's object, hex."""


class Reader:
    """Entries from the first on, each checked against all before it; goes on where it stopped."""

    def __init__(self, store: Objects, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._tree = ledger.tree()
        self._last: str | None = None

    @property
    def head(self) -> Head:
        return Head(self._tree.size, self._last)

    def __iter__(self) -> Iterator[Entry]:
        """What is in the store and was not read yet. Raises SiteLogBroken naming the first bad entry."""
        for listed, data in self._objects():
            yield self._checked(listed, data)

    def root(self) -> bytes:
        """Root over the entries read."""
        return self._tree.root()

    def tree_with(self, leaf: bytes) -> Tree:
        """The tree if this leaf were the next."""
        tree = self._tree.copy()
        tree.append(leaf)
        return tree

    def _objects(self) -> Iterator[tuple[Listed, bytes]]:
        after = object_name(self._tree.size - 1) if self._tree.size else ""
        waiting: deque[tuple[Listed, Future[bytes]]] = deque()
        with ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="site-log") as pool:
            try:
                for listed in self._store.list(FOLDER, after=after):
                    if index_of(listed.name) is None:
                        continue
                    self._fits(listed)
                    waiting.append((listed, pool.submit(self._store.get, listed.name)))
                    if len(waiting) >= FETCHED_AT_ONCE:
                        first, data = waiting.popleft()
                        yield first, self._got(first, data)
                while waiting:
                    first, data = waiting.popleft()
                    yield first, self._got(first, data)
            finally:
                pool.shutdown(cancel_futures=True)

    def _fits(self, listed: Listed) -> None:
        if listed.size > MAX_ENTRY_BYTES:
            raise self._broken(index_of(listed.name) or 0, f"it has {listed.size} bytes")

    def _got(self, listed: Listed, data: Future[bytes]) -> bytes:
        try:
            return data.result()
        except ObjectMissing as error:
            raise self._broken(index_of(listed.name) or 0, "it was removed while it was read") from error

    def _checked(self, listed: Listed, data: bytes) -> Entry:
        index = self._tree.size
        if index_of(listed.name) != index:
            raise self._broken(index, "it is not there, but later entries are")
        try:
            entry = parse(data)
        except LedgerError as error:
            raise self._broken(index, str(error)) from error
        if entry.index != index:
            raise self._broken(index, f"it says that it is entry {entry.index}")
        if entry.previous != self._last:
            raise self._broken(index, "it does not follow the entry before it: one of the two was exchanged")
        tree = self.tree_with(entry.leaf())
        if entry.root != b64encode(tree.root()).decode():
            raise self._broken(index, "its root is not that of the entries up to it: one of them was changed")
        try:
            text = self._ledger.signed_text(entry.note, entry.key)
        except LedgerError as error:
            raise self._broken(index, str(error)) from error
        if text != entry.checkpoint:
            raise self._broken(index, "its signature is for another size or root")
        self._tree = tree
        self._last = sha256(data).hexdigest()
        return entry

    def _broken(self, index: int, what: str) -> SiteLogBroken:
        return SiteLogBroken(
            index,
            f"site log of {self._store.description}: entry {index} ({object_name(index)}): {what}: "
            "restore it from a copy of the store",
        )


class SiteLog:
    """The site log of one store."""

    def __init__(self, store: Objects, ledger: Ledger, clock: Clock | None = None) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock or SystemClock()

    def reader(self) -> Reader:
        """A reader that stands before the first entry."""
        return Reader(self._store, self._ledger)

    def append(self, author: Author, kind: str, body: Body | Made, reader: Reader | None = None) -> Entry:
        """Add an entry behind whatever is there by then, and give it as it was stored.

        With `body` a function, it gets the entries that `reader` had not read
        yet, again after every time that another writer was faster: what it
        decides, it decides knowing everything that stands before its entry. The
        reader ends right before the new entry. Raises ObjectExists after TRIES
        such times, SiteLogBroken when the log cannot be read to its end.
        """
        if kind not in KINDS:
            raise LedgerError(f"site log: no kind of entry is called {kind!r}")
        reader = reader or self.reader()
        pause = PAUSE_S
        for _ in range(TRIES):
            fresh = list(reader) if callable(body) else _read_on(reader)
            made = body(fresh) if callable(body) else body
            entry = self._sealed(author, kind, made, reader)
            data = entry.encode()
            if len(data) > MAX_ENTRY_BYTES:
                raise LedgerError(f"site log: an entry of {len(data)} bytes, the most is {MAX_ENTRY_BYTES}")
            # A put whose answer was lost is repeated by the store's library and then finds its own object.
            if self._store.put_new(entry.name, data) or self._store.get(entry.name) == data:
                return entry
            time.sleep(uniform(0, pause))
            pause = min(2 * pause, LONGEST_PAUSE_S)
        raise ObjectExists(
            f"site log of {self._store.description}: other writers were faster {TRIES} times: try again"
        )

    def _sealed(self, author: Author, kind: str, body: Body, reader: Reader) -> Entry:
        index, t_us = reader.head.size, self._clock.wall_us()
        tree = reader.tree_with(leaf_hash(index, t_us, kind, body_text(body)))
        root = b64encode(tree.root()).decode()
        note = author.note(checkpoint_text(index + 1, root))
        return Entry(index, reader.head.sha256, t_us, kind, dict(body), root, author.key, note)


def _read_on(reader: Reader) -> Sequence[Entry]:
    """Read to the end and keep nothing."""
    for _ in reader:
        pass
    return ()
