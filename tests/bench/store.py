"""Reads the store back without Sidecar's own archive: what is in it, and whether anything is there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from arro3.io import read_parquet


def parquet_files(store: Path) -> list[Path]:
    """Finished files only: Sidecar writes under another name first and renames."""
    return sorted(path for path in store.glob("records/**/*.parquet") if not path.name.startswith("."))


def _batches(path: Path, rows: int) -> Iterator[Any]:
    yield from read_parquet(path, batch_size=rows)


@dataclass
class StoreTail:
    """Follows a store: each call of `read` takes in the files that are new since the last."""

    store: Path
    exchanges: int = 0
    record_ids: set[str] = field(default_factory=set)
    gap_exchanges: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    undecoded: int = 0
    file_bytes: int = 0
    _seen: set[Path] = field(default_factory=set)

    @property
    def files(self) -> int:
        return len(self._seen)

    @property
    def twice(self) -> int:
        """Records whose id another record has too."""
        return self.exchanges - len(self.record_ids)

    def read(self) -> StoreTail:
        for path in parquet_files(self.store):
            if path not in self._seen:
                self._seen.add(path)
                self.file_bytes += path.stat().st_size
                for batch in _batches(path, 8192):
                    self._take(batch)
        return self

    def _take(self, batch: Any) -> None:
        kinds = batch.column("kind").to_pylist()
        ids = batch.column("record_id").to_pylist()
        if set(kinds) != {"exchange"}:
            counts = batch.column("count").to_pylist()
            self.gap_exchanges += sum(
                int(n or 0) for kind, n in zip(kinds, counts, strict=True) if kind == "gap"
            )
            ids = [name for kind, name in zip(kinds, ids, strict=True) if kind == "exchange"]
        self.exchanges += len(ids)
        self.record_ids.update(ids)
        self.outcomes.update(name for name in batch.column("outcome").to_pylist() if name)
        self.undecoded += sum(1 for error in batch.column("decode_error").to_pylist() if error)


@dataclass(frozen=True)
class BodyCheck:
    """What the store says of the large bodies of one direction."""

    whole: int
    """Kept byte for byte: the stored body's own SHA-256 is the one that was sent."""
    hashed: int
    """Cut, and length and SHA-256 in the record are those of what was sent."""
    wrong: int


def check_bodies(store: Path, side: str, method: str, digest: str, length: int) -> BodyCheck:
    """Compare every `request` or `response` body of that method's exchanges with what was sent.

    Rows are read four at a time: each may hold 16 MiB.
    """
    whole = hashed = wrong = 0
    for path in parquet_files(store):
        for batch in _batches(path, 4):
            columns = [f"{side}_body", f"{side}_body_length", f"{side}_body_sha256", "method", "kind"]
            for body, size, stored, verb, kind in zip(
                *(batch.column(c).to_pylist() for c in columns), strict=True
            ):
                if kind != "exchange" or verb != method:
                    continue
                if stored is None:
                    same = sha256(body or b"").hexdigest() == digest
                    whole, wrong = whole + same, wrong + (not same)
                else:
                    same = _hex(stored) == digest and size == length
                    hashed, wrong = hashed + same, wrong + (not same)
    return BodyCheck(whole, hashed, wrong)


def _hex(value: bytes | str) -> str:
    return value.hex() if isinstance(value, bytes) else value
