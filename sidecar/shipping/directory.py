"""A record store in a directory of this machine or of a mounted volume."""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.errors import StoreError
from sidecar.shipping.files import NO_LINKS, make_folders, sync_folder, unfinished, write_synced
from sidecar.shipping.sink import PutResult, names_its_content


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
            make_folders(self._root, path.parent)
            if _is_there(path, name, len(data)):
                sync_folder(path.parent)
                return PutResult.EXISTED
            temporary = unfinished(path)
            write_synced(temporary, data)
            result = _appear(temporary, path, name, len(data))
            sync_folder(path.parent)
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


def _appear(temporary: Path, path: Path, name: str, size: int) -> PutResult:
    """Give the synced file its name unless a whole one is there already."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if _is_there(path, name, size):
            temporary.unlink()
            return PutResult.EXISTED
        temporary.replace(path)
        return PutResult.CREATED
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if _is_there(path, name, size):
            temporary.unlink()
            return PutResult.EXISTED
        temporary.replace(path)
        return PutResult.CREATED
    temporary.unlink()
    return PutResult.CREATED


def _is_there(path: Path, name: str, size: int) -> bool:
    """Whether the object is in the store already.

    A batch of another size is not what its name says, and is replaced. Other
    objects are never replaced: a key object may be smaller by what was erased.
    """
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return False
    return found == size or not names_its_content(name)
