"""One volume: an LMDB environment of fixed size that is only ever appended to."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import lmdb

from sidecar.errors import JournalFull
from sidecar.journal.folder import lock_path_of, volume_path
from sidecar.journal.segment import Buffer

_READER_TABLE_BYTES = 16384
"""Room for LMDB's 126 readers, whole pages."""

SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk, quota or inode table that is full."""

open_here: dict[Path, lmdb.Environment] = {}
"""Volumes this process is writing: LMDB refuses to open a file twice in one process, readers borrow it."""


class VolumeFull(JournalFull):
    """The volume has no room for this transaction; nothing of it was written."""


class WriteFailed(JournalFull):
    """The file system failed a write; `space` tells a full disk from a broken one."""

    def __init__(self, message: str, space: bool) -> None:
        super().__init__(message)
        self.space = space


class Volume(Protocol):
    """What the committer needs of a volume; tests put failing ones in its place."""

    number: int

    def write(self, items: Iterable[tuple[bytes, Buffer]]) -> None:
        """Put all items in one synced transaction. Raises VolumeFull, WriteFailed; then none is there."""
        ...

    def has(self, key: bytes) -> bool:
        """Whether a reader would find the key."""
        ...

    def close(self) -> None: ...


VolumeFactory = Callable[[Path, int, int, bool], Volume]
"""Folder, number, size in bytes, whether to sync the meta page too."""


class LmdbVolume:
    """A volume on disk, open for writing."""

    def __init__(self, folder: Path, number: int, map_bytes: int, metasync: bool) -> None:
        """Create the file. Raises WriteFailed."""
        self.number = number
        self.path = volume_path(folder, number)
        self._metasync = metasync
        try:
            reserve_reader_table(self.path)
            self._env = lmdb.open(
                str(self.path),
                map_size=map_bytes,
                subdir=False,
                mode=0o640,
                sync=True,
                metasync=metasync,
                max_dbs=0,
                meminit=False,
            )
        except (lmdb.Error, OSError) as error:
            self._unlink()
            raise _failed(self.path, error) from error
        open_here[self.path.resolve()] = self._env

    def write(self, items: Iterable[tuple[bytes, Buffer]]) -> None:
        try:
            txn = self._env.begin(write=True)
        except lmdb.Error as error:
            raise _failed(self.path, error) from error
        try:
            for key, value in items:
                txn.put(key, value, append=True)
            txn.commit()
        except lmdb.MapFullError as error:
            txn.abort()
            raise VolumeFull(f"{self.path.name}: full") from error
        except lmdb.Error as error:
            with contextlib.suppress(lmdb.Error):
                txn.abort()
            raise _failed(self.path, error) from error
        except BaseException:
            txn.abort()
            raise

    def has(self, key: bytes) -> bool:
        try:
            with self._env.begin() as txn:
                return txn.get(key) is not None
        except lmdb.Error:
            return False

    def close(self) -> None:
        open_here.pop(self.path.resolve(), None)
        if not self._metasync:
            # Else the meta page of the last commit would wait for the kernel while later volumes are
            # synced: a power cut then leaves a hole in the middle of the journal, volume by volume.
            with contextlib.suppress(lmdb.Error):
                self._env.sync(True)
        self._env.close()

    def _unlink(self) -> None:
        for path in (self.path, lock_path_of(self.path)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def reserve_reader_table(volume: Path) -> None:
    """Allocate the blocks of LMDB's lock file before LMDB maps it.

    LMDB only extends that file; on a full disk the first touch of the mapping
    then kills the process with SIGBUS. Raises OSError when there is no room.
    """
    descriptor = os.open(lock_path_of(volume), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.posix_fallocate(descriptor, 0, _READER_TABLE_BYTES)
    finally:
        os.close(descriptor)


def _failed(path: Path, error: Exception) -> WriteFailed:
    code = getattr(error, "errno", None) or getattr(error, "code", None)
    space = code in SPACE
    if code == errno.EIO:
        # LMDB reports a short write, which is what a nearly full disk gives first, as EIO.
        with contextlib.suppress(OSError):
            status = os.statvfs(path.parent)
            space = status.f_bavail * status.f_frsize < 4 << 20
    return WriteFailed(f"{path.name}: {error}", space)
