"""Records of a store, newest first, as a stream."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, Protocol

from sidecar.archive import catalog, duck
from sidecar.archive.footer import Footer, read_footers
from sidecar.archive.query import FIELDS, Query, Row, order
from sidecar.archive.source import Source
from sidecar.archive.table import Table
from sidecar.errors import StoreError

CHUNK_ROWS = 65_536
CHUNK_FILES = 256
RECORDED = frozenset({"exchange", "gap", "delivery", "event"})
"""Kinds whose time is of the day in their file's name."""
_DAY_US = 86_400_000_000
_FOREVER_US = 1 << 62

Problem = Callable[[StoreError], None]


class Engine(Protocol):
    """Reads the rows of files that names and footers could not rule out."""

    def newest(self, footers: Sequence[Footer], query: Query) -> list[Row]: ...


class ArrowEngine:
    """Without DuckDB: every column of a file is read, a file at a time. Knows no SQL."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def newest(self, footers: Sequence[Footer], query: Query) -> list[Row]:
        """As DuckEngine.newest."""
        rows = (
            row
            for each in footers
            for row in Table(self._source, each.file.name).rows(FIELDS)
            if query.matches(row)
        )
        return heapq.nsmallest(query.limit, rows, key=order) if query.limit else sorted(rows, key=order)


def find(
    source: Source, query: Query, problem: Problem, use_duckdb: bool | None = None
) -> Iterator[dict[str, Any]]:
    """Matching records, latest request first, read no further than they are taken.

    A file that cannot be read is given to `problem` and passed over. Raises
    StoreError when there is no store at all, UsageError for a `where` that is
    no predicate, or that needs DuckDB where it is not installed. `use_duckdb`
    None: wherever it is installed.
    """
    use_duckdb = duck.installed() if use_duckdb is None else use_duckdb
    if query.where is not None:
        if not use_duckdb:
            raise duck.required("--where")
        duck.checked_where(query.where)
    rows = _newest_first(source, query, problem, use_duckdb)
    for row in islice(rows, query.limit or None):
        yield dict(zip(FIELDS, row, strict=True))


def _newest_first(source: Source, query: Query, problem: Problem, use_duckdb: bool) -> Iterator[Row]:
    """Days hold disjoint times; within one, a file is read when its last row's turn comes."""
    for date, folders in catalog.days(source, query.model, query.digest):
        begin_us = _day_start_us(date)
        # What sealing adds to a log stands in the file of the rows beside it, which may be days older.
        end_us = begin_us + _DAY_US - 1 if query.kinds <= RECORDED else _FOREVER_US
        if not query.may_overlap(begin_us, end_us):
            continue
        candidates = _candidates(source, query, problem, date, folders, (begin_us, end_us))
        if not candidates:
            continue
        if use_duckdb:
            with duck.DuckEngine(source, [footer for _, footer in candidates]) as engine:
                yield from _merged(engine, candidates, query, problem)
        else:
            yield from _merged(ArrowEngine(source), candidates, query, problem)


def _candidates(
    source: Source, query: Query, problem: Problem, date: str, folders: list[str], day_us: tuple[int, int]
) -> list[tuple[int, Footer]]:
    """Files that may hold matches with the time of their last row, latest first."""
    found = []
    for footer in read_footers(source, catalog.files(source, date, folders)):
        if footer.problem is not None:
            problem(footer.problem)
            continue
        first_us = _time(footer.metadata.get("t_min_us"), day_us[0])
        last_us = _time(footer.metadata.get("t_max_us"), day_us[1])
        if query.may_overlap(first_us, last_us) and query.may_be_in(footer.metadata):
            found.append((last_us, footer))
    found.sort(key=lambda each: (-each[0], each[1].file.name))
    return found


def _merged(
    engine: Engine, candidates: list[tuple[int, Footer]], query: Query, problem: Problem
) -> Iterator[Row]:
    # The heap is ordered by the negated time, then by id; the number keeps rows from being compared.
    heap: list[tuple[int, str, int, Row]] = []
    number = count()
    for last_us, chunk in _chunks(candidates, query):
        while heap and -heap[0][0] > last_us:
            yield heapq.heappop(heap)[3]
        for row in _rows(engine, chunk, query, problem):
            heapq.heappush(heap, (*order(row), next(number), row))
        if query.limit and len(heap) > 2 * query.limit:
            heap = heapq.nsmallest(query.limit, heap)
    while heap:
        yield heapq.heappop(heap)[3]


def _chunks(candidates: list[tuple[int, Footer]], query: Query) -> Iterator[tuple[int, list[Footer]]]:
    """Files to be read in one go, with the latest time among them: a few at first, for who wants a few."""
    chunk: list[Footer] = []
    rows, latest, most = 0, 0, 4 if query.limit and not query.keys else CHUNK_FILES
    for last_us, footer in candidates:
        own = _time(footer.metadata.get("rows"), CHUNK_ROWS)
        if chunk and (len(chunk) >= most or rows + own > CHUNK_ROWS):
            yield latest, chunk
            chunk, rows, most = [], 0, min(CHUNK_FILES, most * 2)
        if not chunk:
            latest = last_us
        chunk.append(footer)
        rows += own
    if chunk:
        yield latest, chunk


def _rows(engine: Engine, chunk: list[Footer], query: Query, problem: Problem) -> list[Row]:
    try:
        return engine.newest(chunk, query)
    except StoreError as error:
        if len(chunk) == 1:
            problem(error)
            return []
    # One of them cannot be read: alone it is found out which.
    return [row for footer in chunk for row in _rows(engine, [footer], query, problem)]


def _time(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def _day_start_us(date: str) -> int:
    try:
        return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError:
        return 0
