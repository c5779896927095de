"""Files and folders that survive a power cut: written whole, synced, then named."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}
"""What file systems without hard links answer."""


def unfinished(path: Path, writer: str = "") -> Path:
    """Where the file is written until it is whole: hidden, beside it, of a bounded length.

    One writer uses one such name for a file, so that what its killed predecessor left is overwritten.
    """
    return path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:24]}{writer}.part")


def is_unfinished(name: str) -> bool:
    """Whether a file of that name is, or was, on its way."""
    return name.startswith(".") and name.endswith(".part")


def write_synced(path: Path, data: bytes) -> None:
    """Write the whole file and sync it; a half-written one is removed."""
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


def make_folders(root: Path, folder: Path) -> None:
    """Make the folders below root; each new one's entry is synced in its parent."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was named or removed in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder and need not.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
