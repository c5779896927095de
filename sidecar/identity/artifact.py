"""The SHA-256 of a model's files, in a form that anybody can recompute with coreutils.

One file: its own SHA-256. A folder: the SHA-256 of what this prints inside it,

    find -L . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum -z --

one `<hex digest>  <relative path>` per file, ended by NUL, in order of the
paths' bytes. Several artifacts: the same list with each path under its
artifact's base name. Only names and contents count, not times or owners, so
the same model gives the same digest wherever it is mounted.

Links are followed: model hubs and Kubernetes volumes are made of them. Entries
whose names begin with `..` are skipped, since Kubernetes keeps a volume's
former and current state under such names; the command above lists none when
the folder is an ordinary one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidecar.errors import ConfigError


def artifact_digest(paths: Sequence[str]) -> str:
    """`sha256:` + hex of the artifact(s).

    Raises ConfigError for a path that is missing, unreadable, empty, a socket
    or the like, and for two artifacts of one base name.
    """
    roots = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - resolve() would follow links
    folders = [_is_folder(root) for root in roots]
    if folders == [False]:
        return "sha256:" + _file_digest(roots[0])
    names: dict[str, Path] = {}
    files: list[tuple[bytes, Path]] = []
    for root, is_folder in zip(roots, folders, strict=True):
        other = names.setdefault(root.name, root)
        if other is not root:
            raise ConfigError(f"artifact: {root} and {other} have one name: give the folder that holds both")
        prefix = os.fsencode(root.name) + b"/" if len(roots) > 1 else b""
        if is_folder:
            found = [(prefix + relative, path) for relative, path in _walk(root, b"", ())]
            if not found:
                raise ConfigError(f"artifact: {root} holds no files: give the model's folder")
            files += found
        else:
            files.append((os.fsencode(root.name), root))
    total = hashlib.sha256()
    for relative, path in sorted(files):
        total.update(_file_digest(path).encode() + b"  " + relative + b"\0")
    return "sha256:" + total.hexdigest()


def _walk(folder: Path, prefix: bytes, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[bytes, Path]]:
    try:
        own = folder.stat()
        here = (own.st_dev, own.st_ino)
        if here in above:
            raise ConfigError(f"artifact: {folder} links to a folder it is in: remove that link")
        for entry in folder.iterdir():
            relative = prefix + os.fsencode(entry.name)
            if entry.name.startswith(".."):
                continue
            mode = entry.stat().st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(entry, relative + b"/", (*above, here))
            elif stat.S_ISREG(mode):
                yield relative, entry
            else:
                raise ConfigError(
                    f"artifact: {entry} is neither file nor folder: move it out of the artifact"
                )
    except OSError as error:
        raise _unreadable(folder, error) from error


def _is_folder(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise ConfigError(f"artifact: {path} is neither file nor folder: give the model's file or folder")
    return stat.S_ISDIR(mode)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigError:
    absent = isinstance(error, FileNotFoundError | NotADirectoryError)
    remedy = "correct the path" if absent else "let this user read it"
    return ConfigError(f"artifact: cannot read {error.filename or path}: {error.strerror}: {remedy}")
