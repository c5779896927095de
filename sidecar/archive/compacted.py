"""Compacted files: what they hold, what is still to be compacted, and in which portions.

A compacted file lies below `compacted/` in the same partition folders as the
evidence that it repeats. Its `sidecar` metadata lists its sources, so that one
object says both what there is and that it is whole; its name comes from theirs,
so that a run that was cut short makes the same objects again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sidecar.archive import catalog
from sidecar.archive.catalog import StoredFile
from sidecar.archive.footer import metadata_in
from sidecar.archive.source import Source
from sidecar.errors import StoreError

COMPACTED: Final = "compacted"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Portion:
    """Evidence of one partition that becomes one compacted file, in the order of its rows."""

    partition: str
    """`model=…/digest=…/date=…`."""
    files: tuple[StoredFile, ...]

    @property
    def name(self) -> str:
        names = "\n".join(_short(each) for each in self.files)
        digest = hashlib.sha256(names.encode()).hexdigest()[:16]
        return f"{COMPACTED}/{self.partition}/{digest}.parquet"

    @property
    def size(self) -> int:
        return sum(each.size for each in self.files)

    def metadata(self, rows: list[int]) -> dict[str, Any]:
        """What the compacted file says of itself; `rows` of each source."""
        sources = [
            {"file": _short(file), "rows": count} for file, count in zip(self.files, rows, strict=True)
        ]
        return {"compacted": FORMAT, "rows": sum(rows), "sources": sources}


def compacted(source: Source, partitions: Iterable[str] = ("",)) -> tuple[set[str], list[str]]:
    """Names of the evidence that compacted files repeat, and of compacted files that are one too many.

    Runs at the same time can repeat evidence twice. Of two such files the one
    whose name comes first stays, whoever looks. Raises StoreError for a
    compacted file that does not say what it holds.
    """
    found: set[str] = set()
    superfluous: list[str] = []
    for folder in partitions:
        entries = source.objects.list(f"{COMPACTED}/{folder}".rstrip("/"))
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not entry.name.endswith(".parquet"):
                continue
            partition = entry.name.removeprefix(COMPACTED + "/").rpartition("/")[0]
            own = {
                f"{catalog.RECORDS}/{partition}/{each}" for each in _sources(source, entry.name, entry.size)
            }
            if found.isdisjoint(own):
                found |= own
            else:
                superfluous.append(entry.name)
    return found, superfluous


def portions(
    source: Source, done: Iterable[str], before: str, model: str | None, target_bytes: int
) -> Iterator[Portion]:
    """What is still to be compacted of the days before `before` (YYYY-MM-DD), oldest day first."""
    known = frozenset(done)
    for date, folders in reversed(catalog.days(source, model)):
        if date >= before:
            continue
        for folder in folders:
            files = [each for each in catalog.files(source, date, [folder]) if each.name not in known]
            files.sort(key=lambda each: (each.origin, each.first_leaf, each.name))
            partition = folder.removeprefix(catalog.RECORDS + "/")
            for group in _grouped(files, target_bytes):
                yield Portion(partition, tuple(group))


def _grouped(files: list[StoredFile], target_bytes: int) -> Iterator[list[StoredFile]]:
    group: list[StoredFile] = []
    size = 0
    for file in files:
        if group and size + file.size > target_bytes:
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def _sources(source: Source, name: str, size: int) -> list[str]:
    end = source.objects.get_range(name, max(0, size - 8), 8)
    length = int.from_bytes(end[:4], "little") if end[4:] == b"PAR1" else 0
    start = size - 8 - length
    metadata = metadata_in(source.objects.get_range(name, start, length)) if length and start > 0 else {}
    if metadata.get("compacted") != FORMAT:
        raise StoreError(
            f"{name}: is no compacted file that this Sidecar knows: delete it, or use a newer one"
        )
    return [str(each["file"]) for each in metadata["sources"]]


def _short(file: StoredFile) -> str:
    return file.name.rsplit("/", 1)[-1]
