"""Which files of a store may hold what is asked for, told by their names alone.

Names are made by the shipping stage: `records/model=M/digest=D/date=YYYY-MM-DD/
<boot>.<route>-<first>-<last>-<hash>.parquet`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from sidecar.errors import StoreError, UsageError

_FILE = re.compile(
    r"^(?P<boot>[^.]+)\.(?P<route>.+)-(?P<first>[0-9]{12,})-(?P<last>[0-9]{12,})-[0-9a-f]{16}\.parquet$"
)
_DATE = re.compile(r"^date=([0-9]{4}-[0-9]{2}-[0-9]{2})$")
_RECORD_ID = re.compile(r"^(?P<boot>[^.\s]+)\.(?P<route>[^\s]+)\.(?P<seq>[0-9]{1,18})(?P<rest>-[a-z0-9-]+)?$")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of records and what its path says of it."""

    path: Path
    date: str
    boot: str
    route: str
    first: int
    last: int

    @property
    def log(self) -> str:
        return f"{self.boot}.{self.route}"


@dataclass(frozen=True, slots=True)
class RecordId:
    """A record's id taken apart; `rest` is empty for exchanges and gaps."""

    log: str
    seq: int
    rest: str

    @classmethod
    def parse(cls, text: str) -> RecordId:
        """Raises UsageError for what no record can be called."""
        found = _RECORD_ID.match(text)
        if found is None:
            raise UsageError(
                f"record id {text!r}: not of the form BOOT.ROUTE.NUMBER: take one from `sidecar find`"
            )
        return cls(f"{found['boot']}.{found['route']}", int(found["seq"]), found["rest"] or "")

    @property
    def exchange(self) -> str:
        """Id of the exchange it belongs to."""
        return f"{self.log}.{self.seq}"


def dates(root: Path, model: str | None = None) -> list[tuple[str, list[Path]]]:
    """Days that have records, newest first, each with its folders; of one model if given.

    Raises StoreError when there is no store at `root`.
    """
    found: dict[str, list[Path]] = {}
    for model_folder in _folders(_records(root), "model="):
        if model is not None and not _names(model_folder, model):
            continue
        for digest_folder in _folders(model_folder, "digest="):
            for folder in _folders(digest_folder, "date="):
                match = _DATE.match(folder.name)
                if match:
                    found.setdefault(match[1], []).append(folder)
    return sorted(found.items(), reverse=True)


def files(date: str, folders: list[Path]) -> Iterator[StoredFile]:
    """Files of records of one day; anything else that lies there is passed over."""
    for folder in folders:
        for name in _listing(folder):
            match = _FILE.match(name)
            if match:
                yield StoredFile(
                    folder / name,
                    date,
                    match["boot"],
                    match["route"],
                    int(match["first"]),
                    int(match["last"]),
                )


def files_with(root: Path, record: RecordId) -> list[StoredFile]:
    """Files that may hold a record or say what became of it, newest day first."""
    return [
        file
        for date, folders in dates(root)
        for file in files(date, folders)
        if file.log == record.log and file.first <= record.seq <= file.last
    ]


def _records(root: Path) -> Path:
    if not root.is_dir():
        raise StoreError(f"store {root}: no such directory: give --store what `sidecar run` was given")
    return root / "records"


def _names(folder: Path, model: str) -> bool:
    value = unquote(folder.name.removeprefix("model="))
    # Long names are shortened with a hash: the column decides then.
    return value == model or len(folder.name) > 140


def _folders(parent: Path, prefix: str) -> list[Path]:
    return [parent / name for name in _listing(parent) if name.startswith(prefix)]


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"store folder {folder}: {error.strerror}: make it readable") from error
