"""A directory as auditors' store."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import ObjectMissing, StoreError
from sidecar.objects import Entry, checked
from sidecar.shipping.files import (
    NO_LINKS,
    is_unfinished,
    make_folders,
    sync_folder,
    unfinished,
    write_synced,
)


class DirectoryStore:
    """A directory of this machine, or of a mounted volume."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def description(self) -> str:
        return str(self._root)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        prefix = prefix.strip("/")
        self._require_root()
        yield from self._walk(f"{checked(prefix)}/" if prefix else "", after)

    def folders(self, prefix: str = "") -> Sequence[str]:
        prefix = prefix.strip("/")
        self._require_root()
        below = f"{checked(prefix)}/" if prefix else ""
        return sorted(below + entry.name for entry in self._scan(below) if _is_folder(entry))

    def get(self, name: str) -> bytes:
        with self._errors(name):
            return (self._root / checked(name)).read_bytes()

    def get_range(self, name: str, start: int, length: int) -> bytes:
        with self._errors(name), (self._root / checked(name)).open("rb", buffering=0) as file:
            return _read_at(file.fileno(), start, length)

    def size(self, name: str) -> int:
        with self._errors(name):
            found = (self._root / checked(name)).stat()
            if not stat.S_ISREG(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, "a folder", name)
            return found.st_size

    def put_new(self, name: str, data: bytes) -> bool:
        path = self._root / checked(name)
        with self._errors(name):
            if path.exists():
                return False
            temporary = self._written(path, data)
            try:
                _name_new(temporary, path)
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
        return True

    def put(self, name: str, data: bytes) -> None:
        path = self._root / checked(name)
        with self._errors(name):
            self._written(path, data).replace(path)
            sync_folder(path.parent)

    def delete(self, name: str) -> None:
        path = self._root / checked(name)
        self._require_root()
        with self._errors(name):
            if path.exists():
                path.unlink(missing_ok=True)
                sync_folder(path.parent)

    def _written(self, path: Path, data: bytes) -> Path:
        self._require_root()
        make_folders(self._root, path.parent)
        # Several auditors may write at once, each into a file of its own.
        temporary = unfinished(path, os.urandom(6).hex())
        write_synced(temporary, data)
        return temporary

    def _walk(self, below: str, after: str) -> Iterator[Entry]:
        names = [
            (entry.name + "/" if _is_folder(entry) else entry.name, entry) for entry in self._scan(below)
        ]
        # With its slash, a folder stands where its objects' names do.
        for name, entry in sorted(names, key=lambda pair: pair[0]):
            full = below + name
            if name.endswith("/"):
                if full > after or after.startswith(full):
                    yield from self._walk(full, after)
            elif full > after and not is_unfinished(name):
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield Entry(full, found.st_size)

    def _scan(self, below: str) -> Sequence[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / below) as entries:
                return tuple(entries)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise StoreError(f"store {self._root}: {below}: {error.strerror}") from error

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise StoreError(f"store {self._root}: no such directory: mount it or correct the path")

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            self._require_root()
            raise ObjectMissing(f"store {self._root}: no object {name}") from error
        except OSError as error:
            raise StoreError(f"store {self._root}: {name}: {error.strerror or error}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # Links to folders are not followed: one could lead back up.
    return entry.is_dir(follow_symlinks=False)


def _name_new(temporary: Path, path: Path) -> None:
    """Raises FileExistsError when the name is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # No links here: the empty file made exclusively reserves the name.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        temporary.replace(path)


def _read_at(descriptor: int, start: int, length: int) -> bytes:
    parts = []
    while length > 0:
        part = os.pread(descriptor, length, start)
        if not part:
            break
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return b"".join(parts)
