"""What the archive needs of a store, and the account of what it took from it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Listed(Protocol):
    """One object as listed."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...


class Objects(Protocol):
    """The objects of one store, to be read. Threads may share it; every method raises StoreError."""

    @property
    def description(self) -> str: ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[Listed]: ...

    def folders(self, prefix: str = "") -> Sequence[str]: ...

    def get(self, name: str) -> bytes: ...

    def get_range(self, name: str, start: int, length: int) -> bytes: ...


@dataclass(slots=True)
class Account:
    """What a search read; `--explain` shows it."""

    listed: int = 0
    """Objects whose names were looked at."""
    footers: int = 0
    """Files whose last bytes were read."""
    opened: int = 0
    """Files whose rows were read."""
    row_groups: int = 0
    """Row groups of the opened files."""
    bytes_read: int = 0
    began: float = field(default_factory=time.monotonic)

    def lines(self) -> list[str]:
        """For a person."""
        took_ms = (time.monotonic() - self.began) * 1000
        return [
            f"files listed     {self.listed:>12,}",
            f"footers read     {self.footers:>12,}",
            f"files opened     {self.opened:>12,}",
            f"row groups       {self.row_groups:>12,}",
            f"bytes read       {self.bytes_read:>12,}",
            f"milliseconds     {took_ms:>12,.0f}",
        ]


@dataclass(frozen=True, slots=True)
class Source:
    """A store to search. `root` is its folder where it is one of this machine, which spares copies."""

    objects: Objects
    root: Path | None = None
    account: Account = field(default_factory=Account)

    def path(self, name: str) -> Path | None:
        """The object as a file of this machine; None in a bucket."""
        return None if self.root is None else self.root / name
