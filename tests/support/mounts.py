"""Small file systems in memory, for tests that need root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of that size mounted there; skips the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder.mkdir(exist_ok=True)
    done = _mount("-t", "tmpfs", "-o", f"size={size}", "sidecar-test", str(folder))
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that is just ending may still have a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def remount(folder: Path, option: str) -> None:
    """Make a mounted file system `ro` or `rw`."""
    done = _mount("-o", f"remount,{option}", str(folder))
    if done.returncode:
        pytest.skip(f"{folder} cannot be remounted {option}: {done.stderr.strip()}")


@contextmanager
def ext4(image: Path, folder: Path, size_mib: int = 0) -> Iterator[Path]:
    """An ext4 in a file, mounted through a loop device; made first if a size is given. Skips where that fails."""
    if os.geteuid() != 0:
        pytest.skip("mounting an ext4 needs root")
    if size_mib:
        with image.open("wb") as file:
            file.truncate(size_mib << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    folder.mkdir(exist_ok=True)
    done = _mount("-o", "loop", str(image), str(folder))
    if done.returncode:
        pytest.skip(f"no loop device can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
