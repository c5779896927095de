"""What verification comes to: one verdict for the store, one line for each log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sidecar.audit.findings import Finding, Kind
from sidecar.site.log import Head

_ORDER = list(Kind)


@dataclass(slots=True)
class LogReport:
    """One log: how far it is intact, who signed it, what happened to it."""

    origin: str
    records: int = 0
    """Rows in the store, which are leaves of the log."""
    exchanges: int = 0
    lost: int = 0
    """Exchanges that sealed gaps account for."""
    erased: int = 0
    unproven: int = 0
    files: int = 0
    size_bytes: int = 0
    from_us: int | None = None
    to_us: int | None = None
    """Time of the last record that a checkpoint proves, with everything before it."""
    intact_leaves: int = 0
    """Leaves from the first on that are all as sealed."""
    closed: bool = False
    key: str | None = None
    enrolled_by: str | None = None
    witnessed_size: int = 0
    witnessed_us: int | None = None
    witnessed_by: str | None = None
    models: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not any(each.failure for each in self.findings)

    @property
    def status(self) -> str:
        """`intact`, or the gravest thing that was found; a warning only when nothing failed."""
        return str(self.worst.kind) if self.worst is not None and self.worst.failure else "intact"

    @property
    def worst(self) -> Finding | None:
        return min(
            self.findings,
            key=lambda each: (not each.failure, _ORDER.index(each.kind)),
            default=None,
        )

    @property
    def notes(self) -> list[str]:
        """The warnings as words, each once."""
        return list(dict.fromkeys(str(each.kind) for each in self.findings if not each.failure))

    def to_json(self) -> dict[str, Any]:
        return {
            "origin": self.origin,
            "status": self.status,
            "intact": self.intact,
            "notes": self.notes,
            "records": self.records,
            "exchanges": self.exchanges,
            "lost": self.lost,
            "erased": self.erased,
            "unproven": self.unproven,
            "files": self.files,
            "bytes": self.size_bytes,
            "from": iso(self.from_us),
            "intact_to": iso(self.to_us),
            "intact_leaves": self.intact_leaves,
            "closed": self.closed,
            "key": self.key,
            "enrolled_by": self.enrolled_by,
            "witnessed": None
            if not self.witnessed_size
            else {"size": self.witnessed_size, "at": iso(self.witnessed_us), "by": self.witnessed_by},
            "models": list(self.models),
            "findings": [each.to_json() for each in self.findings],
        }


@dataclass(slots=True)
class StoreReport:
    """The whole store, or the part that was asked for."""

    store: str
    started_us: int
    logs: list[LogReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """What concerns no single log."""
    site_entries: int = 0
    site_head: str = ""
    """How far the site log was read, for `--site-head` of a later run; empty for an empty log."""
    trusted: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    scope: str = ""
    """What was left out, in words; empty when all was checked."""
    seconds: float = 0.0
    objects_sha256: str = ""
    """SHA-256 over the lines `<sha256>  <name>` of all batch objects, sorted by name."""
    version: str = ""

    @property
    def intact(self) -> bool:
        return all(log.intact for log in self.logs) and not any(each.failure for each in self.findings)

    @property
    def exit_code(self) -> int:
        return 0 if self.intact else 1

    @property
    def records(self) -> int:
        return sum(log.records for log in self.logs)

    @property
    def failed(self) -> list[LogReport]:
        return [log for log in self.logs if not log.intact]

    def to_json(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "intact": self.intact,
            "checked_at": iso(self.started_us),
            "seconds": round(self.seconds, 3),
            "version": self.version,
            "scope": self.scope or "everything",
            "records": self.records,
            "files": sum(log.files for log in self.logs),
            "bytes": sum(log.size_bytes for log in self.logs),
            "objects_sha256": self.objects_sha256,
            "site_entries": self.site_entries,
            "site_head": self.site_head or None,
            "trusted": list(self.trusted),
            "witnesses": list(self.witnesses),
            "operators": list(self.operators),
            "findings": [each.to_json() for each in self.findings],
            "logs": [log.to_json() for log in self.logs],
        }


def site_head(head: Head) -> str:
    """`<entries>:<SHA-256 of the last one's object>`."""
    return f"{head.size}:{head.sha256}" if head.size else ""


def parse_site_head(text: str) -> Head:
    """What `site_head` made. Raises ValueError for anything else."""
    size, _, sha256 = text.strip().partition(":")
    if not size.isdecimal() or not 0 < int(size) < 10**12 or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError("is not <entries>:<SHA-256>, as a report says it")
    return Head(int(size), sha256)


def iso(t_us: int | None) -> str | None:
    """UTC with milliseconds; None for no time, the bare number for one no calendar has."""
    if t_us is None:
        return None
    try:
        moment = datetime.fromtimestamp(t_us // 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{t_us} µs"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{t_us // 1000 % 1000:03d}Z"
