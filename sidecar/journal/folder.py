"""The journal's folder: names of its files, its lock, and the checks that need no LMDB."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

from sidecar.counters import VERSION as COUNTERS_VERSION
from sidecar.counters import find_all
from sidecar.errors import JournalError, JournalLocked, JournalVersion

FORMAT = 1
"""Of the journal as a whole: folder, volumes, segments. Raised when an older build could misread it."""

VOLUME_PATTERN = re.compile(r"^volume-([0-9]{8,})\.lmdb$")
_LOCK_PATTERN = re.compile(rb"^sidecar-journal ([0-9]{1,9})\n(?:pid ([0-9]{1,10})\n)?")


def volume_path(folder: Path, number: int) -> Path:
    return folder / f"volume-{number:08d}.lmdb"


def lock_path_of(volume: Path) -> Path:
    """LMDB's own reader table, which lies beside every volume."""
    return volume.with_name(volume.name + "-lock")


def volumes(folder: Path) -> list[int]:
    """Numbers of the volumes present, ascending; none when somebody removed the folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(int(m[1]) for entry in entries if (m := VOLUME_PATTERN.match(entry.name)))
    except FileNotFoundError:
        return []


def volume_bytes_on_disk(folder: Path) -> int:
    """Bytes that all volumes together take on the disk."""
    total = 0
    for number in volumes(folder):
        try:
            total += volume_path(folder, number).stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def discard_volume(folder: Path, number: int) -> None:
    """Unlink a volume, its reader table last, so that no volume is ever seen without one."""
    path = volume_path(folder, number)
    path.unlink(missing_ok=True)
    lock_path_of(path).unlink(missing_ok=True)


def move_aside(folder: Path, path: Path) -> Path:
    """Put a file that cannot be trusted into `aside/`, beside earlier ones; returns where it went."""
    aside = folder / "aside"
    aside.mkdir(mode=0o750, exist_ok=True)
    target = aside / path.name
    suffix = 0
    while target.exists():
        suffix += 1
        target = aside / f"{path.name}.{suffix}"
    path.rename(target)
    lock_path_of(path).unlink(missing_ok=True)
    return target


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable (a new file's name is not, until its folder is synced)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def acquire_lock(folder: Path) -> int:
    """Take the journal for this process; returns the descriptor that holds the lock.

    The lock lives as long as any process has the descriptor (children may
    inherit it). Raises JournalLocked when somebody has it, JournalVersion when
    a newer Sidecar made the folder, JournalError when it cannot be written.
    """
    path = folder / "lock"
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise JournalError(
            f"journal {folder}: {error.strerror}: give --journal a folder this user can write"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalLocked(_locked_by(folder, descriptor)) from error
        _check_format(folder, os.pread(descriptor, 64, 0))
        text = f"sidecar-journal {FORMAT}\npid {os.getpid()}\n".encode()
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))
    except OSError as error:
        os.close(descriptor)
        raise JournalError(f"journal {folder}: {error.strerror}: the lock file cannot be written") from error
    except JournalError:
        os.close(descriptor)
        raise
    return descriptor


def check(folder: Path) -> None:
    """Find what a user can set right, before any socket opens; makes the folder if it is missing.

    Raises JournalLocked, JournalVersion, or JournalError for a folder that
    cannot be written.
    """
    os.close(acquire_lock(folder))
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.touch(mode=0o640)
        probe.unlink()
    except OSError as error:
        raise JournalError(
            f"journal {folder}: {error.strerror}: give --journal a folder this user can write"
        ) from error
    for path in find_all(folder):
        with path.open("rb") as file:
            version = int.from_bytes(file.read(12)[8:12], "little")
        if version > COUNTERS_VERSION:
            raise JournalVersion(
                f"{path}: counters format {version}, this build reads up to {COUNTERS_VERSION}: {_NEWER}"
            )


_NEWER = "use that newer sidecar, or another --journal folder"


def _check_format(folder: Path, text: bytes) -> None:
    match = _LOCK_PATTERN.match(text)
    if match and int(match[1]) > FORMAT:
        raise JournalVersion(
            f"journal {folder}: format {int(match[1])}, this build reads up to {FORMAT}: {_NEWER}"
        )


def _locked_by(folder: Path, descriptor: int) -> str:
    match = _LOCK_PATTERN.match(os.pread(descriptor, 64, 0))
    holder = f"process {int(match[2])}" if match and match[2] else "another process"
    return (
        f"journal {folder}: in use by {holder}: stop that sidecar, or give this one another --journal folder"
    )
