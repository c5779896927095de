"""What a store's files say happened: ids out of the raw request bodies, sequence numbers, gaps and events."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arro3.io import read_parquet

from tests.support.stored import record_files

_ID = re.compile(rb'"id": ?"([^"]*)"')
_COLUMNS = (
    "record_id", "kind", "log", "seq", "count", "reason", "status", "outcome", "model", "path",
    "request_body", "decoder", "decode_error", "details",
)  # fmt: skip


@dataclass
class Evidence:
    """Everything in one store."""

    ids: Counter[str] = field(default_factory=Counter)
    """How often each request is recorded."""
    statuses: dict[str, int | None] = field(default_factory=dict)
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)

    @property
    def missing_count(self) -> int:
        """Exchanges that the gap records account for."""
        return sum(gap["count"] for gap in self.gaps)

    def reasons(self) -> Counter[str]:
        """Exchanges in gaps, by reason."""
        found: Counter[str] = Counter()
        for gap in self.gaps:
            found[gap["reason"]] += gap["count"]
        return found

    def event_names(self) -> Counter[str]:
        return Counter(event["reason"] for event in self.events)

    def check_sequences(self) -> dict[str, int]:
        """Each log's last number. Asserts that records and gaps tile every log from 1 without overlap."""
        numbers: dict[str, list[tuple[int, int]]] = {}
        for row in self.exchanges:
            numbers.setdefault(row["log"], []).append((row["seq"], 1))
        for row in self.gaps:
            numbers.setdefault(row["log"], []).append((row["seq"], row["count"]))
        for log, runs in numbers.items():
            expected = 1
            for first, count in sorted(runs):
                assert first == expected, f"log {log}: {first} where {expected} was expected"
                expected = first + count
        return {log: max(first + count - 1 for first, count in runs) for log, runs in numbers.items()}

    def check_single(self) -> None:
        """Assert that no exchange and no record id is there twice."""
        assert [identity for identity, count in self.ids.items() if count > 1] == []
        rows = (*self.exchanges, *self.gaps, *self.events, *self.others)
        repeated = Counter(row["record_id"] for row in rows)
        assert [name for name, count in repeated.items() if count > 1] == []


def read_evidence(store: Path) -> Evidence:
    """Read every file of the store."""
    found = Evidence()
    for path in record_files(store):
        for batch in read_parquet(path):
            columns = [batch.column(name).to_pylist() for name in _COLUMNS]
            for values in zip(*columns, strict=True):
                _sort_in(found, dict(zip(_COLUMNS, values, strict=True)))
    return found


def _sort_in(found: Evidence, row: dict[str, Any]) -> None:
    if row["kind"] == "exchange":
        found.exchanges.append(row)
        identity = _ID.search(bytes(row["request_body"] or b""))
        if identity:
            name = identity[1].decode()
            found.ids[name] += 1
            found.statuses[name] = row["status"]
    elif row["kind"] == "gap":
        found.gaps.append(row)
    elif row["kind"] == "event":
        row["details"] = json.loads(row["details"] or "{}")
        found.events.append(row)
    else:
        found.others.append(row)
