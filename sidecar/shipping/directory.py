"""A record store in a directory of this machine or of a mounted volume."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from sidecar.errors import StoreError
from sidecar.shipping.sink import PutResult

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


class DirectorySink:
    """Files appear under their name whole and synced, or not at all.

    The root is made only when `create` is set: a missing root later on is
    most likely a volume that is not mounted, and what would be written into
    its place could not be found again.
    """

    def __init__(self, root: Path, create: bool = False) -> None:
        self._root = root
        self._create = create

    @property
    def description(self) -> str:
        return str(self._root)

    def put(self, name: str, data: bytes) -> PutResult:
        path = self._root / name
        try:
            self._require_root()
            _make_folders(self._root, path.parent)
            if _same_size(path, len(data)):
                _sync_folder(path.parent)
                return PutResult.EXISTED
            temporary = path.with_name(f".{path.name}.part")
            _write_synced(temporary, data)
            result = _appear(temporary, path, len(data))
            _sync_folder(path.parent)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"store {self._root}: {reason}: make it writable with space; shipping is tried again"
            ) from error
        return result

    def _require_root(self) -> None:
        if self._root.is_dir():
            return
        if self._create:
            self._root.mkdir(parents=True, exist_ok=True)
            self._create = False
            return
        raise StoreError(
            f"store {self._root}: no such directory: mount or create it; shipping is tried again"
        )


def _appear(temporary: Path, path: Path, size: int) -> PutResult:
    """Give the synced file its name unless a whole one is there already.

    A file there of another size is not what its name says, so it is replaced.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        if _same_size(path, size):
            temporary.unlink()
            return PutResult.EXISTED
        temporary.replace(path)
        return PutResult.CREATED
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.replace(path)
        return PutResult.CREATED
    temporary.unlink()
    return PutResult.CREATED


def _same_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        # A full disk: give back what the half file took, others may be waiting for it.
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)


def _make_folders(root: Path, folder: Path) -> None:
    """Make the folders below root; each new one's entry is synced in its parent."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder and need not.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
