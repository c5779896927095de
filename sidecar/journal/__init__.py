"""The journal: exchange → durable segment, and back.

`check` and `acquire_lock` are light enough for the supervisor; the writer and
the reader bring LMDB in and are imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.journal.folder import acquire_lock, check
from sidecar.journal.limits import JournalLimits

if TYPE_CHECKING:
    from sidecar.journal.reader import Corrupt, JournalReader, Segment
    from sidecar.journal.writer import JournalWriter

__all__ = [
    "Corrupt",
    "JournalLimits",
    "JournalReader",
    "JournalWriter",
    "Segment",
    "acquire_lock",
    "check",
]


def __getattr__(name: str) -> Any:
    if name == "JournalWriter":
        from sidecar.journal import writer

        return writer.JournalWriter
    if name in ("JournalReader", "Segment", "Corrupt"):
        from sidecar.journal import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
