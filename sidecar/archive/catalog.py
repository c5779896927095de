"""Which files of a store may hold what is asked for, told by their names alone.

Names are made by whoever seals: `records/model=M/digest=D/date=YYYY-MM-DD/
<origin>-L<first leaf>-<last leaf>-S<first seq>-<last seq>-<hash>.parquet`, where the
origin is `<cluster>.<namespace>.<workload>.<pod uid>.<route>.<boot>[.<dead boot>]`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from sidecar.archive.source import Source
from sidecar.errors import UsageError

RECORDS = "records"
_FILE = re.compile(
    r"^(?P<origin>[A-Za-z0-9_.~-]+)-L(?P<first>[0-9]{12,18})-(?P<last>[0-9]{12,18})"
    r"-S(?P<first_seq>[0-9]{12,18})-(?P<last_seq>[0-9]{12,18})-[0-9a-f]{16}\.parquet$"
)
_DATE = re.compile(r"/date=([0-9]{4}-[0-9]{2}-[0-9]{2})$")
_NUMBERED = re.compile(r"^(?P<boot>[^.\s]+)\.(?P<route>[^\s]+)\.(?P<seq>[0-9]{1,18})(?P<rest>-[a-z0-9-]+)?$")
_SEALING = re.compile(
    r"^(?P<origin>[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+){5,6})"
    r"\.(?:genesis|config|identity|batch|heartbeat|close)\.(?P<leaf>[0-9]{1,18})$"
)
_PATTERN = re.compile(r"[*?\[\]]")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of records and what its name says of it."""

    name: str
    size: int
    date: str
    origin: str
    first_leaf: int
    last_leaf: int
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class RecordId:
    """A record's id taken apart.

    Ids of exchanges, gaps, deliveries and events have `boot`, `route` and
    `seq`; those of what sealing added have `origin` and `leaf` instead.
    """

    text: str
    boot: str = ""
    route: str = ""
    seq: int = 0
    rest: str = ""
    origin: str = ""
    leaf: int = -1

    @classmethod
    def parse(cls, text: str) -> RecordId:
        """Raises UsageError for what no record can be called."""
        found = _SEALING.match(text)
        if found is not None:
            return cls(text, origin=found["origin"], leaf=int(found["leaf"]))
        found = _NUMBERED.match(text)
        if found is None:
            raise UsageError(
                f"record id {text!r}: not of the form BOOT.ROUTE.NUMBER: take one from `sidecar find`"
            )
        return cls(text, found["boot"], found["route"], int(found["seq"]), found["rest"] or "")

    @property
    def exchange(self) -> str:
        """Id of the exchange it belongs to."""
        return f"{self.boot}.{self.route}.{self.seq}"

    def may_be_in(self, file: StoredFile) -> bool:
        """Whether the file's name allows the record, or what became of it, to be there."""
        if self.origin:
            return file.origin == self.origin and file.first_leaf <= self.leaf <= file.last_leaf
        if not file.first_seq <= self.seq <= file.last_seq:
            return False
        parts = file.origin.split(".")
        # The last part is the boot that recorded: a seventh is the dead boot whose exchanges these are.
        return len(parts) in (6, 7) and _is(parts[-1], self.boot) and _is(parts[4], self.route)


def days(source: Source, model: str | None = None, digest: str | None = None) -> list[tuple[str, list[str]]]:
    """Days that have records, newest first, each with its folders; of one model and digest if given.

    `digest` may be the beginning of one. Raises StoreError when there is no store.
    """
    found: dict[str, list[str]] = {}
    for model_folder in source.objects.folders(RECORDS):
        if model is not None and not _names_model(_value(model_folder, "model="), model):
            continue
        for digest_folder in source.objects.folders(model_folder):
            if digest is not None and not _names_digest(_value(digest_folder, "digest="), digest):
                continue
            for folder in source.objects.folders(digest_folder):
                match = _DATE.search(folder)
                # Sidecar writes no such names, and engines would take them for patterns.
                if match and not _PATTERN.search(folder):
                    found.setdefault(match[1], []).append(folder)
    return sorted(found.items(), reverse=True)


def files(source: Source, date: str, folders: Sequence[str]) -> Iterator[StoredFile]:
    """Files of records in these folders of one day; anything else that lies there is passed over."""
    for folder in folders:
        for entry in source.objects.list(folder):
            source.account.listed += 1
            name = entry.name
            match = _FILE.match(name[len(folder) + 1 :])
            if match:
                yield StoredFile(
                    name,
                    entry.size,
                    date,
                    match["origin"],
                    int(match["first"]),
                    int(match["last"]),
                    int(match["first_seq"]),
                    int(match["last_seq"]),
                )


def files_with(source: Source, record: RecordId) -> list[StoredFile]:
    """Files that may hold a record or say what became of it, newest day first."""
    return [
        file
        for date, folders in days(source)
        for file in files(source, date, folders)
        if record.may_be_in(file)
    ]


def _value(folder: str, key: str) -> str | None:
    last = folder.rsplit("/", 1)[-1]
    return last.removeprefix(key) if last.startswith(key) else None


def _names_model(value: str | None, model: str) -> bool:
    # Long names are shortened with a hash: the column decides then.
    return value is not None and (unquote(value) == model or len(value) > 130)


def _names_digest(value: str | None, digest: str) -> bool:
    return value is not None and value.startswith(quote(digest.replace(":", "-"), safe=""))


def _is(part: str, text: str) -> bool:
    """Whether an origin's part may stand for the text: escaped, and shortened to a hash when too long."""
    escaped = _UNSAFE.sub(
        lambda found: "".join(f"~{byte:02X}" for byte in found[0].encode(errors="surrogatepass")), text
    )
    # An empty part is written `_`, so a text that is `_` is escaped.
    if part == ({"": "_", "_": "~5F"}.get(escaped, escaped)):
        return True
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return part.endswith(f"~{digest}") and escaped.startswith(part[:-9])
