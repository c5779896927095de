"""What the analyst knows, durable and all of one moment.

One LMDB environment holds the cursor into the journal, the totals, the
statistics and the encoded batches that are not in the store yet. A single
transaction moves all of them, so after a crash at any point an exchange is
either counted and in a pending batch, or still ahead of the cursor: never
both, never neither.

Keys of the one database (all values msgpack unless said otherwise):

    version                  format number
    cursor                   [volume, segment]: everything up to here is in batches
    totals                   map of name to number: what was read, counted up to the cursor
    shipping                 map of name to number: what was put
    logs                     map of log to [last seq, last t_us, epoch]
    trees                    map of log to [origin, sealing boot, [tree size, frontier hashes…], root, last
                             batch's name, its SHA-256, time of its last leaf, epochs named, closed, what it
                             continues, store]
    epochs                   list of [boot, route, number, model, image digest, artifact digest,
                             source, since_us]
    containers               list of [boot, route, number, image, imageID, container id, restarts, started_us,
                             finished_us, configuration] of those epochs that were told of
    due                      map of log to the epochs whose identity leaf is to be written again
    monitor/SHA-256          [route, digest, state]
    panes                    [writer, next serial number, digests of plans handed over]
    pending/NUMBER           [name, size, rows, cursor before it, when its first row was read]; objects that a
                             batch needs stand before it, with no rows; so do statistics, by themselves
    part/NUMBER/PART         a pending batch's raw bytes, PART_BYTES each but the last

NUMBER is a big-endian u64, PART a big-endian u32. The bytes of objects without
rows, some of which are keys, are in files of their own, `object-NUMBER`,
beside the environment: what a transaction deletes stays in its free pages, a
file that is unlinked is gone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import lmdb
import msgpack  # type: ignore[import-untyped]

from sidecar.errors import JournalError, JournalFull, JournalVersion
from sidecar.records import Container, Epoch, Position
from sidecar.shipping.knowledge import Knowledge, LogEnd, MonitorKey, PaneBook, Tree
from sidecar.shipping.parquet import EncodedBatch

FORMAT = 2
MAP_BYTES = 1 << 32
"""Address space, not disk: the file grows only to what was pending at its worst."""
PART_BYTES = 256 * 1024
"""Small enough that freed runs of pages are found again instead of growing the file."""

STATISTICS = "statistics/"
_PENDING = b"pending/"
_PART = b"part/"
_MONITOR = b"monitor/"


@dataclass(frozen=True, slots=True)
class Pending:
    """One encoded batch that waits for the store."""

    number: int
    name: str
    size: int
    records: int
    before: Position
    """The cursor before the batch's rows were read: until it is shipped, the journal is needed from here."""
    since_us: int
    """Wall clock when the first of its rows was read."""

    @property
    def aside(self) -> bool:
        """Whether it is statistics: no record, and no reason to hold the journal or other objects up."""
        return self.name.startswith(STATISTICS)


class AnalystState:
    """The open environment. One process at a time, one thread at a time."""

    def __init__(self, environment: lmdb.Environment, folder: Path) -> None:
        self._env = environment
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, warn: Callable[[str], None] = lambda message: None) -> AnalystState:
        """Open or make the state in `folder`.

        A damaged one is moved aside and `warn` is called: what the journal
        still holds is then shipped again from its start. Raises JournalVersion
        for a newer format, JournalError when the folder cannot be used.
        """
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(
                f"analyst state {folder}: {error.strerror}: give the journal a writable folder"
            ) from error
        try:
            return cls._open(folder)
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, _DamagedError) as error:
            aside = _move_aside(folder)
            warn(
                f"analyst state {folder}: damaged ({error}), moved to {aside}: "
                "records still in the journal are shipped again"
            )
            return cls._open(folder)

    @classmethod
    def _open(cls, folder: Path) -> AnalystState:
        try:
            # No lock file: nobody else opens this, and a mapped file with holes on a full disk is a SIGBUS.
            env = lmdb.open(
                str(folder), map_size=MAP_BYTES, max_dbs=0, mode=0o640, readahead=False, lock=False
            )
        except (lmdb.DiskError, lmdb.ReadonlyError, lmdb.LockError) as error:
            raise JournalError(
                f"analyst state {folder}: {error}: give the journal a writable folder"
            ) from error
        except lmdb.Error as error:
            if "No space" in str(error):
                raise JournalFull(f"analyst state {folder}: {error}") from error
            raise
        state = cls(env, folder)
        with env.begin() as transaction:
            stored = transaction.get(b"version")
        if stored is not None:
            try:
                version = int(msgpack.unpackb(stored))
            except (ValueError, TypeError) as error:
                env.close()
                raise _DamagedError("no format number") from error
            if version > FORMAT:
                env.close()
                raise JournalVersion(
                    f"analyst state {folder}: format {version}, this build reads up to {FORMAT}: "
                    "use a newer sidecar"
                )
            state._sweep()
        return state

    def load(self) -> Knowledge:
        """What the last commit left."""
        known = Knowledge()
        with self._env.begin() as transaction:
            known.cursor = Position(*_get(transaction, b"cursor", (0, 0)))
            known.totals = dict(_get(transaction, b"totals", {}))
            known.shipping = dict(_get(transaction, b"shipping", {}))
            known.logs = {log: LogEnd(*end) for log, end in _get(transaction, b"logs", {}).items()}
            known.trees = {log: Tree(*tree) for log, tree in _get(transaction, b"trees", {}).items()}
            for boot, *fields in _get(transaction, b"epochs", []):
                epoch = Epoch(*fields)
                known.epochs[boot, epoch.route, epoch.number] = epoch
            for boot, route, number, *fields in _get(transaction, b"containers", []):
                if (told := known.epochs.get((boot, route, number))) is not None:
                    known.epochs[boot, route, number] = replace(told, container=Container(*fields))
            known.due = dict(_get(transaction, b"due", {}))
            known.panes = PaneBook(*_get(transaction, b"panes", ()))
            for _, value in _under(transaction, _MONITOR):
                route, digest, state = msgpack.unpackb(value)
                known.monitors[route, digest] = state
        return known

    def commit(
        self,
        known: Knowledge,
        monitors: Mapping[MonitorKey, bytes],
        batches: Sequence[EncodedBatch],
        since_us: int = 0,
        statistics: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Make one moment durable: what `known` says was read, the changed `monitors`, new pending batches.

        `statistics` are objects by name that wait for the store likewise, in this order.

        All or nothing. `known.monitors` and `known.shipping` are not looked at.
        Raises JournalFull when the disk has no room for it.
        """
        before = self.cursor()

        def write(transaction: lmdb.Transaction) -> None:
            transaction.put(b"version", msgpack.packb(FORMAT))
            transaction.put(b"cursor", msgpack.packb((known.cursor.volume, known.cursor.segment)))
            transaction.put(b"totals", msgpack.packb(known.totals))
            ends = {log: (end.seq, end.t_us, end.epoch) for log, end in known.logs.items()}
            transaction.put(b"logs", msgpack.packb(ends))
            trees = {log: astuple(tree) for log, tree in known.trees.items()}
            transaction.put(b"trees", msgpack.packb(trees))
            transaction.put(
                b"epochs", msgpack.packb([_epoch_row(boot, e) for (boot, *_), e in known.epochs.items()])
            )
            told = [(*key, *astuple(e.container)) for key, e in known.epochs.items() if e.container]
            transaction.put(b"containers", msgpack.packb(told))
            transaction.put(b"due", msgpack.packb(known.due))
            transaction.put(b"panes", msgpack.packb(astuple(known.panes)))
            for (route, digest), state in monitors.items():
                name = hashlib.sha256(f"{route}\0{digest}".encode()).digest()
                transaction.put(_MONITOR + name, msgpack.packb((route, digest, state)))
            number = _last_number(transaction)
            for batch in batches:
                for needed, data in batch.before:
                    number += 1
                    self._put_object(transaction, number, needed, data, before, since_us)
                number += 1
                _put_batch(transaction, number, batch, before, since_us)
            for name_of_object, data in statistics:
                number += 1
                self._put_object(transaction, number, name_of_object, data, before, since_us)

        self._write(write)

    def cursor(self) -> Position:
        with self._env.begin() as transaction:
            return Position(*_get(transaction, b"cursor", (0, 0)))

    def pending(self) -> list[Pending]:
        """Batches that wait for the store, oldest first."""
        found = []
        with self._env.begin() as transaction:
            for key, value in _under(transaction, _PENDING):
                name, size, records, before, since_us = msgpack.unpackb(value)
                number = int.from_bytes(key[-8:], "big")
                found.append(Pending(number, name, size, records, Position(*before), since_us))
        return found

    def data(self, pending: Pending) -> bytes:
        """The batch's bytes, exactly as encoded. Raises JournalFull when a file of them cannot be read."""
        if not pending.records:
            path = self._file(pending.number)
            try:
                return path.read_bytes()
            except OSError as error:
                raise JournalFull(f"analyst state {path}: {error.strerror}: restore the folder") from error
        with self._env.begin() as transaction:
            parts = [
                transaction.get(_part_key(pending.number, part))
                for part in range(-(-pending.size // PART_BYTES))
            ]
        return b"".join(part for part in parts if part is not None)

    def shipped(self, pending: Pending, shipping: Mapping[str, int]) -> None:
        """Forget a batch that is in the store, and keep the `shipping` totals that say so.

        Raises JournalFull when even that has no room; it may be called again.
        """

        def write(transaction: lmdb.Transaction) -> None:
            transaction.delete(_PENDING + struct.pack(">Q", pending.number))
            for part in range(-(-pending.size // PART_BYTES)):
                transaction.delete(_part_key(pending.number, part))
            transaction.put(b"shipping", msgpack.packb(dict(shipping)))

        self._write(write)
        if not pending.records:
            self._file(pending.number).unlink(missing_ok=True)

    def releasable(self) -> Position:
        """Up to here the journal is not needed any more: all of it is in the store."""
        waiting = next((each for each in self.pending() if not each.aside), None)
        return waiting.before if waiting else self.cursor()

    def close(self) -> None:
        self._env.close()

    def _file(self, number: int) -> Path:
        return self.folder / f"object-{number}"

    def _put_object(
        self,
        transaction: lmdb.Transaction,
        number: int,
        name: str,
        data: bytes,
        before: Position,
        since_us: int,
    ) -> None:
        self._write_file(number, data)
        row = (name, len(data), 0, (before.volume, before.segment), since_us)
        transaction.put(_PENDING + struct.pack(">Q", number), msgpack.packb(row))

    def _write_file(self, number: int, data: bytes) -> None:
        """Durable before the transaction that names it; what none names is swept at the next start."""
        path = self._file(number)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise JournalFull(
                f"analyst state {path}: {error.strerror}: free some space on its disk"
            ) from error

    def _sweep(self) -> None:
        named = {self._file(pending.number) for pending in self.pending()}
        for path in self.folder.glob("object-*"):
            if path not in named:
                path.unlink(missing_ok=True)

    def _write(self, write: Callable[[lmdb.Transaction], None]) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                write(transaction)
        except lmdb.MapFullError as error:
            raise JournalFull(f"analyst state {self.folder}: its map of {MAP_BYTES} bytes is full") from error
        except lmdb.Error as error:
            raise JournalFull(f"analyst state {self.folder}: {error}: free some space on its disk") from error


class _DamagedError(Exception):
    """The environment opens but does not hold what this module writes."""


def _put_batch(
    transaction: lmdb.Transaction, number: int, batch: EncodedBatch, before: Position, since_us: int
) -> None:
    row = (batch.name, len(batch.data), batch.records, (before.volume, before.segment), since_us)
    transaction.put(_PENDING + struct.pack(">Q", number), msgpack.packb(row))
    view = memoryview(batch.data)
    for part, start in enumerate(range(0, len(view), PART_BYTES)):
        transaction.put(_part_key(number, part), view[start : start + PART_BYTES])


def _part_key(number: int, part: int) -> bytes:
    return _PART + struct.pack(">QI", number, part)


def _last_number(transaction: lmdb.Transaction) -> int:
    """Highest number of a pending batch; numbers may be used again once a batch is gone."""
    with transaction.cursor() as cursor:
        found = cursor.prev() if cursor.set_range(_PENDING + b"\xff" * 9) else cursor.last()
        key = bytes(cursor.key()) if found else b""
    return int.from_bytes(key[len(_PENDING) :], "big") if key.startswith(_PENDING) else 0


def _epoch_row(boot: str, epoch: Epoch) -> tuple[Any, ...]:
    return (
        boot,
        epoch.route,
        epoch.number,
        epoch.model,
        epoch.image_digest,
        epoch.artifact_digest,
        epoch.source,
        epoch.since_us,
    )


def _get(transaction: lmdb.Transaction, key: bytes, default: Any) -> Any:
    value = transaction.get(key)
    return default if value is None else msgpack.unpackb(value)


def _under(transaction: lmdb.Transaction, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
    with transaction.cursor() as cursor:
        if cursor.set_range(prefix):
            for key, value in cursor:
                if bytes(key[: len(prefix)]) != prefix:
                    return
                yield bytes(key), bytes(value)


def _move_aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}-damaged-{number}")).exists():
        number += 1
    shutil.move(folder, aside)
    folder.mkdir(mode=0o750)
    return aside
