"""What happened to one batch whose rows do not lead to its signed checkpoint.

The signed root accepts exactly one sequence of leaves. Whatever is suspected
(a row too many, two rows swapped, a field changed, another digest written
over all rows) is undone on the leaf hashes and tried against it; what fits is
proven, and the walk goes on from the repaired tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sidecar.audit.batch import BatchFacts
from sidecar.audit.findings import NAMED, Finding, Kind, named
from sidecar.audit.ranges import Node, Range, subtrees
from sidecar.audit.relabelled import relabelling
from sidecar.audit.repair import Accepts, Change, contradiction, find_change
from sidecar.audit.sealed import Signed
from sidecar.audit.sheet import Sheet
from sidecar.audit.view import View, root_of

EXPLAINED = 20
"""Rows of one batch whose change is searched for."""
SEARCHED_ROWS = 2_000
"""Rows of which every one is suspected in turn; of more, only those that contradict themselves."""


class Bench:
    """The log's batches, and a way to lay one open."""

    def __init__(self, batches: list[BatchFacts], fetch: Callable[[str], bytes]) -> None:
        self.batches = batches
        self._fetch = fetch

    def sheet(self, facts: BatchFacts) -> Sheet:
        return Sheet(facts.named.name, self._fetch(facts.named.name))

    def computed(self, facts: BatchFacts, first: int) -> list[Node]:
        """Subtrees of the batch's rows when its first is leaf `first`, whatever its name says."""
        if facts.named.first_leaf == first:
            return facts.computed
        return subtrees(first, self.sheet(facts).hashes)


@dataclass(slots=True)
class Outcome:
    """What was found, and the tree after the batch when it is known."""

    findings: list[Finding] = field(default_factory=list)
    after: Range | None = None
    unproven: int = 0


@dataclass(slots=True)
class _Case:
    """One batch under diagnosis."""

    bench: Bench
    facts: BatchFacts
    signed: Signed
    first: int
    end: int
    before: Range | None
    outcome: Outcome

    def found(
        self, kind: Kind, text: str, field: str | None = None, records: list[str] | None = None
    ) -> None:
        named_ = self.facts.named
        self.outcome.findings.append(
            Finding(
                kind,
                f"{named_.file}: {text}",
                named_.name,
                self.first,
                self.end - 1,
                tuple((records or [])[:NAMED]),
                field,
            )
        )

    def fits(self, leaves: list[bytes]) -> bool:
        """Whether these leaves lead to the signed root; the tree after them is then kept."""
        if self.before is None or not self.signed.valid:
            return False
        if self.signed.size != self.first + len(leaves):
            return False
        after = self.before.copy()
        after.push(subtrees(self.first, leaves))
        if after.root() != self.signed.root:
            return False
        self.outcome.after = after
        return True

    def assume(self, leaves: list[bytes]) -> None:
        """Go on as if these were the leaves; the next checkpoint confirms it or not."""
        if self.before is not None:
            self.outcome.after = self.before.copy()
            self.outcome.after.push(subtrees(self.first, leaves))


def diagnose(
    bench: Bench, facts: BatchFacts, signed: Signed, first: int, end: int, before: Range | None
) -> Outcome:
    """Say what happened to the batch; `before` is the tree of the leaves before it, if known."""
    case = _Case(bench, facts, signed, first, end, before, Outcome())
    if facts.unreadable is not None:
        case.outcome.unproven = end - first
        case.found(
            Kind.ALTERED,
            f"the object is damaged and its {end - first:,} records cannot be read: {facts.unreadable}",
            "file",
        )
        return case.outcome
    sheet = bench.sheet(facts)
    if not signed.valid:
        case.found(Kind.ALTERED, f"its checkpoint cannot be relied on: {signed.problem}", "checkpoint")
        _without_checkpoint(case, sheet)
    elif _other_checkpoint(case, sheet) or before is None:
        _without_checkpoint(case, sheet)
    else:
        _against_root(case, sheet)
    return case.outcome


def _without_checkpoint(case: _Case, sheet: Sheet) -> None:
    """Only the stored leaf hashes to compare with: they say which rows do not match themselves."""
    rows = [row for row in range(sheet.rows) if sheet.hashes[row] != sheet.stored[row]]
    case.outcome.unproven = sheet.rows
    _altered_rows(case, sheet, rows)
    if not rows:
        _absent_rows(case, sheet)
    case.assume(sheet.stored)


def _other_checkpoint(case: _Case, sheet: Sheet) -> bool:
    """A checkpoint that belongs to another size of this log than this batch ends at."""
    size, end = case.signed.size, case.first + sheet.rows
    if size == end or sheet.rows != case.facts.named.leaves:
        return False
    if size <= case.first:
        case.found(
            Kind.ALTERED,
            f"carries an earlier batch's checkpoint, of {size:,} leaves, where it ends at {end:,}",
            "checkpoint",
        )
        return True
    if size > end and case.end == end and not _number_holes(sheet):
        case.found(
            Kind.FUTURE,
            f"carries a checkpoint of {size:,} leaves, where it ends at {end:,}: it was made later, "
            "or what came between was removed",
            "checkpoint",
        )
        return True
    return False


def _against_root(case: _Case, sheet: Sheet) -> None:
    count = case.signed.size - case.first
    if sheet.rows > count and _inserted(case, sheet, count):
        return
    if sheet.rows < count:
        _missing_rows(case, sheet, count)
        return
    if case.fits(sheet.stored):
        rows = [row for row in range(sheet.rows) if sheet.hashes[row] != sheet.stored[row]]
        _altered_rows(case, sheet, rows)
        if not rows:
            _misplaced(case, sheet)
        return
    if case.fits(sheet.hashes):
        rows = [row for row in range(sheet.rows) if sheet.hashes[row] != sheet.stored[row]]
        ids = [sheet.id(row) for row in rows]
        if ids:
            case.found(Kind.ALTERED, f"the stored leaf hash of {named(ids)} is not its own", "leaf_hash", ids)
        else:
            _misplaced(case, sheet)
        return
    if not (_swapped(case, sheet) or _relabelled(case, sheet) or _one_row(case, sheet)):
        case.outcome.unproven = sheet.rows
        _not_told(case, sheet)


def _misplaced(case: _Case, sheet: Sheet) -> None:
    ids = [sheet.id(row) for row in case.facts.misplaced]
    if ids:
        case.found(Kind.ALTERED, f"leaf_index of {named(ids)} is not its place", "leaf_index", ids)


def _altered_rows(case: _Case, sheet: Sheet, rows: list[int]) -> None:
    """Rows whose leaf hash stands there as sealed: each is explained against its own."""
    if not rows:
        return
    stored = sheet.stored

    def accepts(row: int, leaf: bytes) -> bool:
        return leaf == stored[row]

    found = relabelling(
        sheet,
        rows,
        case.facts,
        case.bench.batches,
        lambda hashes: all(hashes[row] == stored[row] for row in rows),
    )
    if found is not None:
        whose = "" if len(rows) == sheet.rows else f" of {named([sheet.id(row) for row in rows])}"
        case.found(
            Kind.RELABELLED, f"{found.column}{whose} {found.text}", found.column, [sheet.id(r) for r in rows]
        )
        return
    explained: dict[str, list[tuple[int, Change]]] = {}
    untold: list[int] = []
    for row in rows[:EXPLAINED]:
        change = find_change(sheet, row, accepts, thorough=len(rows) <= 3)
        if change is None:
            untold.append(row)
        else:
            explained.setdefault(change.field, []).append((row, change))
    # Rows past the limit were most likely changed in the same way; they are counted with the largest group.
    rest = rows[EXPLAINED:]
    for column, changes in sorted(explained.items(), key=lambda each: -len(each[1])):
        ids = [sheet.id(row) for row, _ in changes] + [sheet.id(row) for row in rest]
        rest = []
        change = changes[0][1]
        how = change.text if change.proven else f"seemingly {change.text}"
        case.found(
            Kind.ALTERED, f"{named(ids)}: {how}" + (", and the like" if len(ids) > 1 else ""), column, ids
        )
    if untold or rest:
        ids = [sheet.id(row) for row in (*untold, *rest)]
        case.found(Kind.ALTERED, f"some field of {named(ids)} is not what was sealed", None, ids)


def _inserted(case: _Case, sheet: Sheet, count: int) -> bool:
    """More rows than were sealed: which ones have to go for the root to fit."""
    extra = sheet.rows - count
    for rows in _suspected_extra(sheet, extra):
        kept = [leaf for row, leaf in enumerate(sheet.hashes) if row not in rows]
        stored = [leaf for row, leaf in enumerate(sheet.stored) if row not in rows]
        if case.fits(kept) or case.fits(stored):
            ids = [sheet.id(row) for row in sorted(rows)]
            case.found(Kind.INSERTED, f"{named(ids)} was never sealed", None, ids)
            return True
    case.outcome.unproven = sheet.rows
    case.found(
        Kind.INSERTED,
        f"holds {sheet.rows:,} records where {count:,} were sealed; which were added cannot be told",
    )
    return True


def _suspected_extra(sheet: Sheet, extra: int) -> Iterator[set[int]]:
    """Sets of rows that may be the added ones: those that repeat or do not match themselves, then any one."""
    seen: dict[Any, int] = {}
    twice: list[int] = []
    for row in range(sheet.rows):
        key = (sheet.columns["kind"][row], sheet.columns["seq"][row], sheet.columns["record_id"][row])
        if key in seen:
            twice.append(row)
        seen.setdefault(key, row)
    unlike = [row for row in range(sheet.rows) if sheet.hashes[row] != sheet.stored[row]]
    for rows in (twice, unlike, sorted({*twice, *unlike})):
        if len(rows) == extra:
            yield set(rows)
    for step in range(sheet.rows - extra, -1, -1) if sheet.rows <= SEARCHED_ROWS else ():
        yield set(range(step, step + extra))


def _missing_rows(case: _Case, sheet: Sheet, count: int) -> None:
    case.outcome.unproven = sheet.rows
    missing = count - sheet.rows
    which = _numbers_text(case, sheet)
    case.found(
        Kind.REMOVED,
        f"{missing:,} of {count:,} sealed records {'is' if missing == 1 else 'are'} gone"
        + (f": {which[0]}" if which else "; which cannot be told"),
        None,
        which[1] if which else None,
    )
    rows = [row for row in range(sheet.rows) if sheet.hashes[row] != sheet.stored[row]]
    _altered_rows(case, sheet, rows)


def _absent_rows(case: _Case, sheet: Sheet) -> None:
    """Without a tree to hold against: the indices alone may show that rows are gone."""
    count = case.end - case.first
    if sheet.rows < count:
        _missing_rows(case, sheet, count)


def _numbers_text(case: _Case, sheet: Sheet) -> tuple[str, list[str]] | None:
    """Records whose sequence numbers are missing within the batch, and ids of them."""
    log = case.facts.log_value("log")
    ids = [f"{log}.{number}" for number in _number_holes(sheet)[:NAMED]]
    if ids:
        return named(ids), ids
    indices = [each for each in sheet.columns["leaf_index"] if each is not None]
    holes = sorted(set(range(case.first, case.end)) - set(indices)) if len(set(indices)) == sheet.rows else []
    if holes and len(holes) == case.end - case.first - sheet.rows:
        return "leaf " + ", ".join(f"{each:,}" for each in holes[:NAMED]), []
    return None


def _number_holes(sheet: Sheet) -> list[int]:
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


def _swapped(case: _Case, sheet: Sheet) -> bool:
    """The same rows in another order: as their indices, numbers or times would have it, or two neighbours."""
    count = sheet.rows
    for order in _orders(sheet):
        if case.fits([sheet.hashes[row] for row in order]):
            rows = [row for place, row in enumerate(order) if place != row]
            ids = [sheet.id(row) for row in sorted(rows)]
            case.found(
                Kind.SWAPPED,
                f"{named(ids) if len(ids) != 2 else ' and '.join(ids)} stand in another order than they were sealed in",
                None,
                ids,
            )
            return True
    return count == 0


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


def _relabelled(case: _Case, sheet: Sheet) -> bool:
    found = relabelling(sheet, range(sheet.rows), case.facts, case.bench.batches, case.fits)
    if found is None:
        return False
    case.found(Kind.RELABELLED, f"{found.column} {found.text}", found.column)
    return True


def _one_row(case: _Case, sheet: Sheet) -> bool:
    """One row changed, its leaf hash made to fit: which one, tried against the root."""
    assert case.before is not None
    view = View(case.before, sheet.hashes)
    accepts, sealed_leaves = _root_accepts(case, view, sheet)
    suspects = [
        row
        for row in range(sheet.rows)
        if contradiction({name: values[row] for name, values in sheet.columns.items()})
    ]
    rows = suspects[:EXPLAINED]
    if sheet.rows <= SEARCHED_ROWS:
        rows += [row for row in range(sheet.rows) if row not in rows]
    for quick in (True, False):
        for row in rows if quick or sheet.rows <= EXPLAINED else rows[:EXPLAINED]:
            change = find_change(sheet, row, accepts, thorough=False, quick=quick)
            if change is not None and change.proven:
                case.fits([*sheet.hashes[:row], sealed_leaves[row], *sheet.hashes[row + 1 :]])
                case.found(Kind.ALTERED, f"{sheet.id(row)}: {change.text}", change.field, [sheet.id(row)])
                return True
    return False


def _root_accepts(case: _Case, view: View, sheet: Sheet) -> tuple[Accepts, dict[int, bytes]]:
    """Accepts a leaf that makes the root fit when it stands in place of a row's own."""
    paths: dict[int, list[bytes]] = {}
    taken: dict[int, bytes] = {}

    def accepts(row: int, leaf: bytes) -> bool:
        path = paths.get(row)
        if path is None:
            paths.clear()
            path = paths[row] = view.path(case.first + row)
        fits = root_of(leaf, case.first + row, view.size, path) == case.signed.root
        if fits:
            taken[row] = leaf
        return fits

    return accepts, taken


def _not_told(case: _Case, sheet: Sheet) -> None:
    """The root does not fit and no single deed explains it: say what the rows themselves contradict."""
    suspects = []
    for row in range(sheet.rows):
        change = contradiction({name: values[row] for name, values in sheet.columns.items()})
        if change is not None:
            suspects.append((row, change))
    if suspects:
        ids = [sheet.id(row) for row, _ in suspects]
        change = suspects[0][1]
        case.found(Kind.ALTERED, f"{named(ids)}: seemingly {change.text}", change.field, ids)
        return
    case.found(
        Kind.ALTERED,
        f"some of its {sheet.rows:,} records are not what was sealed; their leaf hashes were made to fit, "
        "so which cannot be told",
    )
