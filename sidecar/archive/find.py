"""Records of a store, newest first, as a stream."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sidecar.archive import catalog
from sidecar.archive.table import Table
from sidecar.errors import StoreError

FIELDS = (
    "record_id",
    "kind",
    "log",
    "route",
    "boot",
    "seq",
    "count",
    "model",
    "image_digest",
    "artifact_digest",
    "identity_source",
    "epoch",
    "connection",
    "client",
    "t_request_us",
    "t_request_end_us",
    "t_first_byte_us",
    "t_end_us",
    "method",
    "path",
    "status",
    "outcome",
    "reason",
    "request_bytes",
    "response_bytes",
    "decoder",
    "decode_error",
    "details",
)
"""What a found record carries: every column but the payloads."""

_TIME = FIELDS.index("t_request_us")
_ID = FIELDS.index("record_id")
_DAY_US = 86_400_000_000

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. `since_us` is included, `until_us` is not."""

    kinds: frozenset[str] = frozenset({"exchange"})
    model: str | None = None
    status: int | None = None
    since_us: int | None = None
    until_us: int | None = None
    limit: int = 50
    """0 for all."""

    def matches(self, row: Row) -> bool:
        time_us = row[_TIME]
        return (
            row[1] in self.kinds
            and (self.since_us is None or time_us >= self.since_us)
            and (self.until_us is None or time_us < self.until_us)
            and (self.model is None or row[FIELDS.index("model")] == self.model)
            and (self.status is None or row[FIELDS.index("status")] == self.status)
        )

    def may_overlap(self, first_us: int, last_us: int) -> bool:
        return (self.since_us is None or last_us >= self.since_us) and (
            self.until_us is None or first_us < self.until_us
        )


def find(root: Path, query: Query, problem: Callable[[StoreError], None]) -> Iterator[dict[str, Any]]:
    """Matching records, latest request first, read no further than they are taken.

    A file that cannot be read is given to `problem` and passed over. Raises
    StoreError when there is no store at all.
    """
    rows = _newest_first(root, query, problem)
    for row in islice(rows, query.limit or None):
        yield dict(zip(FIELDS, row, strict=True))


def _newest_first(root: Path, query: Query, problem: Callable[[StoreError], None]) -> Iterator[Row]:
    """Days hold disjoint times; within one, a file is read when its last row's turn comes."""
    for date, folders in catalog.dates(root, query.model):
        begin_us = _day_start_us(date)
        if not query.may_overlap(begin_us, begin_us + _DAY_US - 1):
            continue
        spans = _spans(catalog.files(date, folders), begin_us, query, problem)
        # The heap is ordered by the negated time, then by id, so rows themselves are never compared.
        heap: list[tuple[int, str, Row]] = []
        for last_us, path in spans:
            while heap and -heap[0][0] > last_us:
                yield heapq.heappop(heap)[2]
            try:
                for row in _matching(path, query):
                    heapq.heappush(heap, (-row[_TIME], row[_ID], row))
            except StoreError as error:
                problem(error)
        while heap:
            yield heapq.heappop(heap)[2]


def _spans(
    files: Iterator[catalog.StoredFile], begin_us: int, query: Query, problem: Callable[[StoreError], None]
) -> list[tuple[int, Path]]:
    """Files that may hold matches with the time of their last row, latest first."""
    found = []
    for file in files:
        try:
            metadata = Table(file.path).metadata
        except StoreError as error:
            problem(error)
            continue
        first_us = int(metadata.get("t_min_us", begin_us))
        last_us = int(metadata.get("t_max_us", begin_us + _DAY_US - 1))
        if query.may_overlap(first_us, last_us):
            found.append((last_us, file.path))
    return sorted(found, reverse=True)


def _matching(path: Path, query: Query) -> list[Row]:
    rows = (row for row in Table(path).rows(FIELDS) if query.matches(row))
    if query.limit:
        return heapq.nlargest(query.limit, rows, key=lambda row: row[_TIME])
    return list(rows)


def _day_start_us(date: str) -> int:
    try:
        return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError:
        return 0
