"""What happened to one batch whose rows do not lead to its signed checkpoint.

The signed root accepts exactly one sequence of leaves. Whatever is suspected
(a row too many, two rows swapped, a field changed, another digest written
over all rows) is undone on the leaf hashes and tried against it; what fits is
proven, and the walk goes on from the repaired tree.
"""

from __future__ import annotations

from sidecar.audit.batch import BatchFacts
from sidecar.audit.case import Bench, Case, Outcome
from sidecar.audit.findings import Finding, Kind, named
from sidecar.audit.order import SEARCHED_ROWS, inserted, missing_rows, number_holes, swapped
from sidecar.audit.ranges import Range
from sidecar.audit.relabelled import relabelling
from sidecar.audit.repair import Accepts, Change, contradiction, find_change, suspects
from sidecar.audit.sealed import Signed
from sidecar.audit.view import View
from sidecar.ledger.proof import inclusion_root

EXPLAINED = 20
"""Rows of one batch whose change is searched for."""
SEARCHED_DEEPLY = 100
"""Rows that every guess is tried on when only the root can accept it."""
SLACK_US = 60_000_000


def diagnose(
    bench: Bench, facts: BatchFacts, signed: Signed, first: int, end: int, before: Range | None
) -> Outcome:
    """Say what happened to the batch; `before` is the tree of the leaves before it, if known."""
    if facts.unreadable is not None:
        kind, why = (Kind.ALTERED, "it is damaged") if facts.known else (Kind.UNREADABLE, "it is not known")
        text = f"{why}, its {end - first:,} records cannot be read: {facts.unreadable}"
        finding = Finding(kind, text, facts.named.name, first, end - 1, field="file")
        return Outcome([finding], None, end - first)
    case = Case(bench, facts, signed, first, end, before, bench.sheet(facts), Outcome())
    try:
        _diagnose(case)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        # Values that no Sidecar wrote stop a search; that they are there is the finding.
        case.outcome.unproven = case.sheet.rows
        case.found(Kind.ALTERED, f"its records are not what was sealed, and hold what none can: {error}")
    return case.outcome


def _diagnose(case: Case) -> None:
    signed = case.signed
    if not signed.valid:
        case.found(Kind.ALTERED, f"its checkpoint cannot be relied on: {signed.problem}", "checkpoint")
        _without_checkpoint(case)
    elif _other_checkpoint(case) or case.before is None:
        _without_checkpoint(case)
    else:
        _against_root(case)


def _without_checkpoint(case: Case) -> None:
    """Only the stored leaf hashes to compare with: they say which rows do not match themselves."""
    sheet, count = case.sheet, case.end - case.first
    case.outcome.unproven = sheet.rows
    if sheet.rows < count:
        missing_rows(case, count)
    _altered_rows(case, sheet.unlike())
    case.assume(sheet.stored)


def _other_checkpoint(case: Case) -> bool:
    """A checkpoint that belongs to another size of this log than this batch ends at."""
    sheet = case.sheet
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
    if size > end and case.end == end and not number_holes(sheet):
        case.found(
            Kind.FUTURE,
            f"carries a checkpoint of {size:,} leaves, where it ends at {end:,}: it was made later, "
            "or what came between was removed",
            "checkpoint",
        )
        return True
    return False


def _against_root(case: Case) -> None:
    sheet, count = case.sheet, case.signed.size - case.first
    if sheet.rows > count:
        inserted(case, count)
    elif sheet.rows < count:
        missing_rows(case, count)
        _altered_rows(case, sheet.unlike())
    elif case.fits(sheet.stored):
        _altered_rows(case, sheet.unlike())
        _beside_the_leaves(case)
    elif case.fits(sheet.hashes):
        ids = sheet.ids(sheet.unlike())
        case.found(Kind.ALTERED, f"the stored leaf hash of {named(ids)} is not its own", "leaf_hash", ids)
        _beside_the_leaves(case)
    elif not (swapped(case) or _relabelled(case) or _one_row(case)):
        case.outcome.unproven = sheet.rows
        _not_told(case)


def _beside_the_leaves(case: Case) -> None:
    """Leaves all in order, and yet what stands beside them is not."""
    if case.outcome.findings:
        return
    ids = case.sheet.ids(case.facts.misplaced)
    if ids:
        case.found(Kind.ALTERED, f"leaf_index of {named(ids)} is not its place", "leaf_index", ids)
    elif case.facts.rows != case.facts.named.leaves or case.first != case.facts.named.first_leaf:
        case.found(Kind.ALTERED, "its name gives it other leaves than it holds", "name")


def _altered_rows(case: Case, rows: list[int]) -> None:
    """Rows whose leaf hash stands there as sealed: each is explained against its own."""
    if not rows:
        return
    sheet, stored = case.sheet, case.sheet.stored

    def accepts(row: int, leaf: bytes) -> bool:
        case.bench.guesses_left -= 1
        return leaf == stored[row]

    def all_fit(hashes: list[bytes]) -> bool:
        return all(hashes[row] == stored[row] for row in rows)

    relabelled = relabelling(sheet, rows, case.facts, case.bench.batches, all_fit)
    if relabelled is not None:
        whose = "" if len(rows) == sheet.rows else f" of {named(sheet.ids(rows))}"
        text = f"{relabelled.column}{whose} {relabelled.text}"
        case.found(Kind.RELABELLED, text, relabelled.column, sheet.ids(rows))
        return
    explained: dict[str, list[tuple[int, Change]]] = {}
    untold: list[int] = []
    for row in rows[:EXPLAINED]:
        if case.bench.guesses_left > 0:
            change = find_change(sheet, row, accepts, thorough=len(rows) <= 3)
        else:
            change = contradiction(sheet.values(row))
        if change is None:
            untold.append(row)
        else:
            explained.setdefault(change.field, []).append((row, change))
    # Rows past the limit were most likely changed in the same way: they go with the largest group.
    rest = rows[EXPLAINED:]
    for column, changes in sorted(explained.items(), key=lambda each: -len(each[1])):
        ids = sheet.ids([*(row for row, _ in changes), *rest])
        rest = []
        change = changes[0][1]
        how = change.text if change.proven else f"seemingly {change.text}"
        text = f"{named(ids)}: {how}" + (", and the like" if len(ids) > 1 else "")
        case.found(Kind.ALTERED, text, column, ids)
    if untold or rest:
        ids = sheet.ids([*untold, *rest])
        case.found(Kind.ALTERED, f"some field of {named(ids)} is not what was sealed", None, ids)


def _relabelled(case: Case) -> bool:
    found = relabelling(case.sheet, range(case.sheet.rows), case.facts, case.bench.batches, case.fits)
    if found is None:
        return False
    case.found(Kind.RELABELLED, f"{found.column} {found.text}", found.column)
    return True


def _one_row(case: Case) -> bool:
    """One row changed and its leaf hash made to fit: which one, tried against the root."""
    sheet = case.sheet
    accepts, sealed_leaves = _root_accepts(case)
    suspected = list(suspects(sheet))[:EXPLAINED]
    every = [row for row in range(sheet.rows) if row not in suspected] if sheet.rows <= SEARCHED_ROWS else []
    tries = [
        *((row, False, True) for row in (*suspected, *every)),
        *((row, len(suspected) <= 3, False) for row in suspected),
        *((row, False, False) for row in every[:SEARCHED_DEEPLY]),
    ]
    for row, thorough, quick in tries:
        if case.bench.guesses_left <= 0:
            return False
        change = find_change(sheet, row, accepts, thorough, quick)
        if change is not None and change.proven:
            case.fits([*sheet.hashes[:row], sealed_leaves[row], *sheet.hashes[row + 1 :]])
            case.found(Kind.ALTERED, f"{sheet.id(row)}: {change.text}", change.field, [sheet.id(row)])
            return True
    return False


def _root_accepts(case: Case) -> tuple[Accepts, dict[int, bytes]]:
    """Accepts a leaf that makes the root fit when it stands in place of a row's own; keeps what it took."""
    assert case.before is not None
    view = View(case.before, case.sheet.hashes)
    paths: dict[int, list[bytes]] = {}
    taken: dict[int, bytes] = {}

    def accepts(row: int, leaf: bytes) -> bool:
        case.bench.guesses_left -= 1
        path = paths.get(row)
        if path is None:
            paths.clear()
            path = paths[row] = view.path(case.first + row)
        fits = inclusion_root(leaf, case.first + row, view.size, path) == case.signed.root
        if fits:
            taken[row] = leaf
        return fits

    return accepts, taken


def _not_told(case: Case) -> None:
    """The root does not fit and no single deed explains it: say what the rows themselves contradict."""
    sheet = case.sheet
    suspected = suspects(sheet)
    if suspected:
        ids, change = sheet.ids(suspected), next(iter(suspected.values()))
        case.found(Kind.ALTERED, f"{named(ids)}: seemingly {change.text}", change.field, ids)
    elif _out_of_step(case):
        case.found(
            Kind.ALTERED,
            f"seemingly the times of its {sheet.rows:,} records: they do not lie between those of the "
            "batches before and after",
            "t_request_us",
        )
    else:
        case.found(
            Kind.ALTERED,
            f"some of its {sheet.rows:,} records are not what was sealed; "
            "their leaf hashes were made to fit, so which cannot be told",
        )


def _out_of_step(case: Case) -> bool:
    """Whether the batch's times overlap those of its neighbours by more than they span themselves."""
    facts = case.facts
    first, last = facts.t_first_us, facts.t_last_us
    if first is None or last is None:
        return False
    slack = (last - first) // 2 + SLACK_US
    for other in case.bench.batches:
        if other is facts or other.t_first_us is None or other.t_last_us is None:
            continue
        if other.named.first_leaf < facts.named.first_leaf and first < other.t_last_us - slack:
            return True
        if other.named.first_leaf > facts.named.first_leaf and last > other.t_first_us + slack:
            return True
    return False
