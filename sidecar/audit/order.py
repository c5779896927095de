"""Rows too many, too few, or in another order than they were sealed in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.audit.case import Case
from sidecar.audit.findings import NAMED, Kind, named
from sidecar.audit.sheet import Sheet

SEARCHED_ROWS = 2_000
"""Rows of which every one is suspected in turn; of more, only those that contradict themselves."""


def inserted(case: Case, count: int) -> None:
    """More rows than were sealed: which ones have to go for the root to fit."""
    sheet = case.sheet
    extra = sheet.rows - count
    for rows in _suspected_extra(sheet, extra):
        kept = [leaf for row, leaf in enumerate(sheet.hashes) if row not in rows]
        stored = [leaf for row, leaf in enumerate(sheet.stored) if row not in rows]
        if case.fits(kept) or case.fits(stored):
            ids = sheet.ids(sorted(rows))
            case.found(Kind.INSERTED, f"{named(ids)} was never sealed", None, ids)
            return
    case.outcome.unproven = sheet.rows
    case.found(
        Kind.INSERTED,
        f"holds {sheet.rows:,} records where {count:,} were sealed; which were added cannot be told",
    )


def _suspected_extra(sheet: Sheet, extra: int) -> Iterator[set[int]]:
    """Sets of rows that may be the added ones: those that repeat or do not match themselves, then any one."""
    seen: dict[Any, int] = {}
    twice: list[int] = []
    for row in range(sheet.rows):
        key = (sheet.columns["kind"][row], sheet.columns["seq"][row], sheet.columns["record_id"][row])
        if key in seen:
            twice.append(row)
        seen.setdefault(key, row)
    unlike = sheet.unlike()
    for rows in (twice, unlike, sorted({*twice, *unlike})):
        if len(rows) == extra:
            yield set(rows)
    for step in range(sheet.rows - extra, -1, -1) if sheet.rows <= SEARCHED_ROWS else ():
        yield set(range(step, step + extra))


def missing_rows(case: Case, count: int) -> None:
    """Fewer rows than were sealed; numbers or indices may say which are gone."""
    sheet = case.sheet
    case.outcome.unproven = sheet.rows
    missing = count - sheet.rows
    which = _numbers_text(case)
    case.found(
        Kind.REMOVED,
        f"{missing:,} of {count:,} sealed records {'is' if missing == 1 else 'are'} gone"
        + (f": {which[0]}" if which else "; which cannot be told"),
        None,
        which[1] if which else None,
    )


def _numbers_text(case: Case) -> tuple[str, list[str]] | None:
    """Records whose sequence numbers are missing within the batch, and ids of them."""
    sheet, log = case.sheet, case.facts.log_value("log")
    ids = [f"{log}.{number}" for number in number_holes(sheet)[:NAMED]]
    if ids:
        return named(ids), ids
    indices = [each for each in sheet.columns["leaf_index"] if each is not None]
    holes = sorted(set(range(case.first, case.end)) - set(indices)) if len(set(indices)) == sheet.rows else []
    if holes and len(holes) == case.end - case.first - sheet.rows:
        return "leaf " + ", ".join(f"{each:,}" for each in holes[:NAMED]), []
    return None


def number_holes(sheet: Sheet) -> list[int]:
    """Sequence numbers that the rows skip."""
    numbers: set[int] = set()
    for kind, seq, count in zip(
        sheet.columns["kind"], sheet.columns["seq"], sheet.columns["count"], strict=True
    ):
        if kind in ("exchange", "gap") and seq is not None:
            numbers.update(range(seq, seq + min(max(count or 1, 1), 1_000_000)))
    if not numbers or max(numbers) - min(numbers) > 10_000_000:
        return []
    return sorted(set(range(min(numbers), max(numbers))) - numbers)


def swapped(case: Case) -> bool:
    """The same rows in another order: as their indices, numbers or times would have it, or two neighbours."""
    sheet = case.sheet
    for order in _orders(sheet):
        if case.fits([sheet.hashes[row] for row in order]):
            rows = [row for place, row in enumerate(order) if place != row]
            ids = sheet.ids(sorted(rows))
            case.found(
                Kind.SWAPPED,
                f"{named(ids)} stand in another order than they were sealed in",
                None,
                ids,
            )
            return True
    return False


def _orders(sheet: Sheet) -> Iterator[list[int]]:
    rows = list(range(sheet.rows))
    for column in ("leaf_index", "seq", "t_end_us", "t_request_us"):
        values = sheet.columns[column]
        known = [row for row in rows if values[row] is not None]
        if column == "seq":
            known = [row for row in known if sheet.columns["kind"][row] in ("exchange", "gap")]
        sorted_rows = sorted(known, key=lambda row: values[row])
        if sorted_rows == known:
            continue
        order = list(rows)
        for place, row in zip(known, sorted_rows, strict=True):
            order[place] = row
        yield order
    for row in rows[:-1] if sheet.rows <= SEARCHED_ROWS else ():
        yield [*rows[:row], row + 1, row, *rows[row + 2 :]]
