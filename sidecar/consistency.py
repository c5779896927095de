"""Glue: whether a log still is, and only is, a continuation of what a witness saw of it.

Leaf hashes as stored are joined to the tree seen before; the root that comes
out must be the one that the log signed. That is a consistency proof, made from
the batches themselves. What each record's leaf should be is `verify`'s to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from sidecar.audit import sealed
from sidecar.audit.batch import BatchFacts, check
from sidecar.audit.naming import BatchName, parse
from sidecar.audit.parquet import BatchFile
from sidecar.audit.ranges import Range, frontier, subtrees
from sidecar.audit.sealed import Signed
from sidecar.errors import LedgerError, StoreError
from sidecar.ledger import base64text
from sidecar.removed_ranges import proven, resumed
from sidecar.site.bodies import Problem, RemovedRange, Seen

Fetch = Callable[[str], bytes]
"""An object's bytes by its name."""


@dataclass(slots=True)
class Course:
    """How far a log could be followed, and what was wrong."""

    origin: str
    tree: Range = field(default_factory=Range)
    key: str = ""
    checkpoint: str = ""
    """The newest checkpoint that holds, as a note; empty before the first."""
    batch: str = ""
    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    names: str = ""

    @property
    def size(self) -> int:
        return self.tree.size


@dataclass(frozen=True, slots=True)
class _Read:
    """One batch and what its checkpoint comes to behind the tree so far."""

    facts: BatchFacts
    signed: Signed
    after: Range | None
    problem: tuple[str, str] | None


def follow(
    origin: str,
    batches: Sequence[BatchName],
    seen: Seen | None,
    removed: Sequence[RemovedRange],
    fetch: Fetch,
    since: str | None = None,
) -> Course:
    """Follow a log from where it was last seen to its end.

    `batches` are all of the log's in the store, `removed` what the site log says
    was removed of it when its retention ended. Batches that were there before
    are read again only when others are missing or have joined them. With
    `since`, `batches` are those of that day (ISO) and later, and older ones are
    taken to be as they were.
    """
    there = {each.name for each in batches}
    gone = [each for each in removed if not there.issuperset(batch.name for batch in each.objects)]
    if seen is None:
        course = Course(origin)
        _walk(course, batches, gone, fetch)
        return _counted(course, batches, removed)
    started = _seen_before(seen)
    if since is not None:
        return _from_there(started, seen, batches, removed, gone, fetch, since)
    if _names(batches, removed, seen.size) == (seen.files, seen.names):
        _walk(started, [each for each in batches if each.first_leaf >= seen.size], gone, fetch)
        return _counted(started, batches, removed)
    again = Course(origin, key=seen.key)
    watch = _Watch(seen.size)
    _walk(again, batches, gone, fetch, watch)
    if again.size < seen.size and not again.problems:
        again.problems.append(
            _problem(
                origin,
                "truncated",
                f"the store holds {again.size} leaves, and {seen.size} were seen: the end was removed",
            )
        )
    elif watch.root is not None and watch.root != base64text.decode(seen.root):
        again.problems.insert(
            0,
            _problem(
                origin,
                "forked",
                f"the first {seen.size} leaves have another root than the log had signed when it was seen",
            ),
        )
    elif not again.problems and _names(batches, removed, seen.size)[1] != seen.names:
        again.problems.append(_problem(origin, "replaced", _replaced(seen, there)))
    return _counted(again, batches, removed)


def _replaced(seen: Seen, there: set[str]) -> str:
    """What to say of the same leaves in other files than those seen, which seals nothing but their rows."""
    text = f"the first {seen.size} leaves are in other files than those that were seen"
    return f"{text}: {seen.batch} is gone" if seen.batch not in there else text


def _from_there(
    course: Course,
    seen: Seen,
    batches: Sequence[BatchName],
    removed: Sequence[RemovedRange],
    gone: Sequence[RemovedRange],
    fetch: Fetch,
    since: str,
) -> Course:
    """Follow what is new, knowing only the batches of the last days."""
    last = parse(seen.batch)
    explained = {each.name for each in batches} | {batch.name for each in gone for batch in each.objects}
    if last is not None and last.date >= since and last.name not in explained:
        course.problems.append(_problem(course.origin, "removed", f"{last.name} was seen last and is gone"))
        return course
    fresh = [each for each in batches if each.first_leaf >= seen.size]
    _walk(course, fresh, gone, fetch)
    course.files, course.names = _names(fresh, removed, course.size, seen)
    return course


def _seen_before(seen: Seen) -> Course:
    tree = frontier(seen.size, [base64text.decode(each) for each in seen.frontier])
    if tree is None or tree.root() != base64text.decode(seen.root):
        raise LedgerError(f"witness entry of {seen.origin}: its frontier is not of the root it names")
    return Course(seen.origin, tree, seen.key, seen.checkpoint, seen.batch)


@dataclass(slots=True)
class _Watch:
    """Waits for the root at one size while a log is walked."""

    size: int
    root: bytes | None = None

    def passed(self, before: Range, leaves: Callable[[], list[bytes]], after: Range) -> None:
        if after.size == self.size:
            self.root = after.root()
        elif before.size < self.size < after.size:
            tree = before.copy()
            tree.push(subtrees(before.size, leaves()[: self.size - before.size]))
            self.root = tree.root()


def _walk(
    course: Course,
    batches: Sequence[BatchName],
    removed: Sequence[RemovedRange],
    fetch: Fetch,
    watch: _Watch | None = None,
) -> None:
    """Go on as far as checkpoints hold; `batches` in leaf order."""
    left: dict[int, list[BatchName]] = {}
    for named in batches:
        left.setdefault(named.first_leaf, []).append(named)
    while True:
        gone = next((each for each in removed if each.first_leaf <= course.size <= each.last_leaf), None)
        if gone is not None:
            step = _over(course, gone, watch)
            # Some of its objects may still be there, when whoever removes them was interrupted.
            for first in [first for first in left if gone.first_leaf <= first <= gone.last_leaf]:
                del left[first]
        elif course.size in left:
            step = _step(course, left.pop(course.size), fetch, watch)
        else:
            break
        if not step:
            return
    for first in sorted(left):
        if first > course.size:
            course.problems.append(
                _problem(
                    course.origin,
                    "removed",
                    f"leaves {course.size} to {first - 1} are not in the store, but later ones are",
                )
            )
            return
        for named in left[first]:
            read = _read(course, named, course.tree.copy(), fetch, joined=False)
            kind = "inserted" if read.problem is not None else "forked"
            course.problems.append(
                _problem(course.origin, kind, f"{named.name} is not where a batch of this log begins")
            )


def _step(course: Course, here: Sequence[BatchName], fetch: Fetch, watch: _Watch | None) -> bool:
    """Take the batches that begin at the end of the tree; False when none of them holds."""
    reads = [_read(course, named, course.tree, fetch) for named in here]
    good = [read for read in reads if read.after is not None]
    for read in reads:
        if read.problem is not None:
            course.problems.append(_problem(course.origin, *read.problem))
    if not good:
        return False
    roots = {(read.signed.size, read.signed.root) for read in good}
    if len(good) > 1:
        names = " and ".join(read.facts.named.name for read in good)
        if len(roots) > 1:
            course.problems.append(
                _problem(course.origin, "forked", f"two histories, both signed by the log's key: {names}")
            )
            return False
        course.problems.append(_problem(course.origin, "duplicated", f"the same leaves stand twice: {names}"))
    best = good[0]
    assert best.after is not None
    if watch is not None:
        name = best.facts.named.name
        watch.passed(course.tree, lambda: _leaves(name, fetch(name)), best.after)
    course.tree, course.checkpoint, course.batch = best.after, best.signed.text, best.facts.named.name
    course.key = course.key or str(best.signed.signer)
    return True


def _read(course: Course, named: BatchName, tree: Range, fetch: Fetch, joined: bool = True) -> _Read:
    """One batch, checked against the tree before it; `joined` False asks for its signature alone."""
    data = fetch(named.name)
    facts = _skimmed(named, data)
    signed = sealed.read(facts)
    problem: tuple[str, str] | None = None
    name = named.name
    if facts.unreadable is not None:
        problem = ("unreadable", f"{name}: {facts.unreadable}")
    elif signed.signer is None:
        problem = ("altered", f"{name}: its checkpoint: {signed.problem}")
    elif signed.origin != course.origin or signed.signer.name != course.origin:
        problem = ("altered", f"{name}: its checkpoint is of the log {signed.origin}")
    elif course.key and str(signed.signer) != course.key:
        problem = ("re-signed", f"{name}: signed by the key {signed.signer}, and the log's is {course.key}")
    elif signed.size != named.last_leaf + 1 or facts.rows != named.leaves:
        problem = (
            "altered",
            f"{name}: {facts.rows} rows and a checkpoint of {signed.size} leaves, not as its name says",
        )
    elif joined:
        after = tree.copy()
        after.push(facts.claimed)
        if after.root() == signed.root:
            return _Read(facts, signed, after, None)
        problem = _why_not(named, data, tree, signed)
    return _Read(facts, signed, None, problem)


def _skimmed(named: BatchName, data: bytes) -> BatchFacts:
    """What the footer and the stored leaf hashes say, without a look at the rows."""
    facts = BatchFacts(named, len(data), recomputed=False)
    claimed = Range(named.first_leaf)
    try:
        file = BatchFile(named.name, data)
        facts.metadata = file.metadata
        for count, columns in file.slices(("leaf_hash",)):
            claimed.push(
                subtrees(named.first_leaf + facts.rows, [each or b"" for each in columns["leaf_hash"]])
            )
            facts.rows += count
    except (StoreError, TypeError) as error:
        facts.unreadable = str(error).removeprefix(f"{named.name}: ")
    facts.claimed = claimed.nodes
    return facts


def _why_not(named: BatchName, data: bytes, tree: Range, signed: Signed) -> tuple[str, str]:
    facts = check(named, data)
    after = tree.copy()
    after.push(facts.computed)
    if after.root() == signed.root:
        return "altered", f"{named.name}: its stored leaf hashes are not those of its rows"
    if facts.mismatched:
        return "altered", f"{named.name}: {facts.mismatched} of its rows are not what was sealed"
    return (
        "inconsistent",
        f"{named.name}: its signed root is not that of the {tree.size} leaves before and its own: "
        "another history, or changed records; `sidecar verify` tells which",
    )


def _over(course: Course, gone: RemovedRange, watch: _Watch | None) -> bool:
    """Go over a range that was removed at the end of its retention; its entry proves what stood there.

    A log seen last inside the range is taken up behind it, on the word of the same key.
    """
    try:
        after, key = proven(gone, course.tree) if gone.first_leaf == course.size else resumed(gone)
        if course.key and str(key) != course.key:
            raise LedgerError(f"it is signed by the key {key}, and the log's is {course.key}")
    except LedgerError as error:
        course.problems.append(
            _problem(
                course.origin,
                "removed",
                f"leaves {gone.first_leaf} to {gone.last_leaf} were removed, and what the site log says of "
                f"them does not hold: {error}",
            )
        )
        return False
    if watch is not None and after.size == watch.size:
        watch.root = after.root()
    course.tree, course.checkpoint, course.key = after, gone.checkpoint, str(key)
    course.batch = gone.objects[-1].name if gone.objects else course.batch
    return True


def _leaves(name: str, data: bytes) -> list[bytes]:
    """The leaf hashes as stored."""
    return [
        each or b""
        for _, columns in BatchFile(name, data).slices(("leaf_hash",))
        for each in columns["leaf_hash"]
    ]


def _counted(course: Course, batches: Sequence[BatchName], removed: Sequence[RemovedRange]) -> Course:
    course.files, course.names = _names(batches, removed, course.size)
    return course


def _names(
    batches: Sequence[BatchName], removed: Sequence[RemovedRange], size: int, seen: Seen | None = None
) -> tuple[int, str]:
    """How many batches stand below a size, removed ones included, and the chained hash of their names.

    With `seen`, what it counted is continued with those that begin behind it.
    """
    first = 0 if seen is None else seen.size
    files, names = (0, "") if seen is None else (seen.files, seen.names)
    found = {(each.first_leaf, each.last_leaf, each.name) for each in batches}
    found |= {(each.first_leaf, each.last_leaf, each.name) for gone in removed for each in gone.objects}
    for first_leaf, _, name in sorted(found):
        if first <= first_leaf < size:
            files, names = files + 1, sha256(f"{names}\n{name}".encode()).hexdigest()
    return files, names


def _problem(origin: str, kind: str, text: str) -> Problem:
    return Problem(origin=origin, kind=kind, text=text[:500])


def unreadable(origin: str, error: StoreError) -> Problem:
    """A log that could not be followed because the store failed."""
    return _problem(origin, "unreadable", str(error))
