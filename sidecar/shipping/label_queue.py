"""Labels that were taken and are not in the store yet, durable in a small LMDB environment.

Keys of the one database:

    event/SHA-256      an event's canonical bytes
    object/NAME        the bytes of a file that waits for the store
    counts             msgpack map: taken, repeated, shipped

A label is acknowledged after the commit that holds it. One transaction turns
events into an object, so after a kill at any point a label is either still an
event or in one object of a name that its content gives: never in two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import lmdb
import msgpack  # type: ignore[import-untyped]

from sidecar.errors import JournalError, JournalFull

MAP_BYTES = 512 << 20
"""Address space; the file grows to what waited at its worst."""
MAX_WAITING = 200_000
"""Labels that may wait; beyond, they are refused until the store takes some."""

_EVENT, _OBJECT, _COUNTS = b"event/", b"object/", b"counts"
Encode = Callable[[list[bytes]], tuple[str, bytes]]
"""Events → an object's name and bytes."""


class LabelQueue:
    """The open environment. One process at a time; threads may share it."""

    def __init__(self, environment: lmdb.Environment, folder: Path) -> None:
        self._env = environment
        self._folder = folder
        # LMDB's own lock is a mapped file, which on a full disk is a SIGBUS.
        self._one = threading.RLock()

    @classmethod
    def open(cls, folder: Path) -> LabelQueue:
        """Open or make the queue. Raises JournalError when the folder cannot be used."""
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            env = lmdb.open(str(folder), map_size=MAP_BYTES, max_dbs=0, mode=0o640, lock=False)
        except (OSError, lmdb.Error) as error:
            raise JournalError(
                f"labels {folder}: {error}: give the journal a writable folder, or move this one aside"
            ) from error
        return cls(env, folder)

    def add(self, events: Mapping[bytes, bytes]) -> int:
        """Take events by their SHA-256; how many of them were not waiting already. Durable on return.

        Raises JournalFull when too many wait, or the disk has no room.
        """
        with self._one, self._writing() as transaction:
            waiting = transaction.stat()["entries"]
            if waiting + len(events) > MAX_WAITING:
                raise JournalFull(
                    f"{waiting:,} labels wait for the store; at most {MAX_WAITING:,} may: "
                    "look why the store does not take them, and send these again later"
                )
            fresh = sum(
                transaction.put(_EVENT + digest, event, overwrite=False) for digest, event in events.items()
            )
            _count(transaction, taken=fresh, repeated=len(events) - fresh)
        return fresh

    def seal(self, encode: Encode, most: int) -> str | None:
        """Turn up to `most` events into an object that waits for the store; its name, None without events."""
        with self._one, self._writing() as transaction:
            found = []
            for key, value in _under(transaction, _EVENT):
                found.append((key, value))
                if len(found) == most:
                    break
            if not found:
                return None
            name, data = encode([value for _, value in found])
            transaction.put(_OBJECT + name.encode(), data)
            for key, _ in found:
                transaction.delete(key)
        return name

    def objects(self) -> list[str]:
        """Names of the objects that wait."""
        with self._one, self._env.begin() as transaction:
            return [key[len(_OBJECT) :].decode() for key, _ in _under(transaction, _OBJECT)]

    def data(self, name: str) -> bytes:
        """A waiting object's bytes."""
        with self._one, self._env.begin() as transaction:
            return bytes(transaction.get(_OBJECT + name.encode()) or b"")

    def shipped(self, name: str) -> None:
        """Forget an object that is in the store."""
        with self._one, self._writing() as transaction:
            transaction.delete(_OBJECT + name.encode())
            _count(transaction, shipped=1)

    def counts(self) -> dict[str, int]:
        """`taken` and `repeated` labels, `shipped` objects, `waiting` labels, `objects` that wait."""
        with self._one, self._env.begin() as transaction:
            counts = dict(_counts(transaction))
            objects = sum(1 for _ in _under(transaction, _OBJECT))
            entries = transaction.stat()["entries"] - objects - (transaction.get(_COUNTS) is not None)
        return counts | {"waiting": entries, "objects": objects}

    def close(self) -> None:
        self._env.close()

    def _writing(self) -> _Writing:
        return _Writing(self._env, self._folder)


class _Writing:
    """A write transaction whose failures are JournalFull."""

    def __init__(self, env: lmdb.Environment, folder: Path) -> None:
        self._env = env
        self._folder = folder

    def __enter__(self) -> lmdb.Transaction:
        try:
            self._transaction = self._env.begin(write=True)
        except lmdb.Error as error:
            raise self._full(error) from error
        return self._transaction

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._transaction.abort()
            if isinstance(error, lmdb.Error):
                raise self._full(error) from error
            return
        try:
            self._transaction.commit()
        except lmdb.Error as failed:
            raise self._full(failed) from failed

    def _full(self, error: lmdb.Error) -> JournalFull:
        return JournalFull(f"labels {self._folder}: {error}: free some space on its disk")


def _count(transaction: lmdb.Transaction, **more: int) -> None:
    counts = _counts(transaction)
    transaction.put(_COUNTS, msgpack.packb({name: counts[name] + more.get(name, 0) for name in counts}))


def _counts(transaction: lmdb.Transaction) -> dict[str, int]:
    stored = transaction.get(_COUNTS)
    return {"taken": 0, "repeated": 0, "shipped": 0} | (msgpack.unpackb(stored) if stored else {})


def _under(transaction: lmdb.Transaction, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    with transaction.cursor() as cursor:
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not bytes(key).startswith(prefix):
                    return
                yield bytes(key), bytes(value)
