"""Glue: which batches may go when their retention is over, and what must be said of them.

A batch goes when every row of it is older than the retention and no hold
covers it. Its log is followed up to it first: what is not intact is not
removed, since afterwards nobody could find out any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sidecar.audit import sealed
from sidecar.audit.batch import BatchFacts, check
from sidecar.audit.naming import BatchName
from sidecar.audit.ranges import Range
from sidecar.errors import LedgerError, StoreError
from sidecar.held import Held, HoldsOnBatches
from sidecar.ledger import base64text
from sidecar.removed_ranges import proven, resumed
from sidecar.site.bodies import RemovedObject, RemovedRange

OBJECTS_PER_RANGE = 1_000

Fetch = Callable[[str], bytes]
Subjects = Callable[[str], tuple[str | None, frozenset[str]]]
"""Master key id and subject tags of a key object, by its name."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A batch that is old enough and stays."""

    named: BatchName
    why: str


@dataclass(slots=True)
class Part:
    """A range that may go, and its batches as holds see them."""

    range: RemovedRange
    held: list[Held]


@dataclass(slots=True)
class Plan:
    """What is to be removed of one model."""

    model: str
    older_than_us: int
    cutoff_us: int
    parts: list[Part] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Logs that are not as they were sealed, and where."""
    copies: list[str] = field(default_factory=list)
    """Compacted files that repeat some of it."""
    blocked: str | None = None
    """The hold on the whole model."""

    @property
    def objects(self) -> list[RemovedObject]:
        return [each for part in self.parts for each in part.range.objects]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a log is looked for."""

    model: str
    folder: str
    """`records/model=…/` of that model."""
    cutoff_us: int

    def may_go(self, named: BatchName) -> bool:
        """By its name, without looking into it."""
        return named.name.startswith(self.folder) and self.is_over(named.date)

    def is_over(self, date: str) -> bool:
        """Whether the whole day is old enough."""
        return _day_end_us(date) <= self.cutoff_us


@dataclass(slots=True)
class _Growing:
    """Batches that follow one another and go together."""

    first: int
    nodes: Range
    """Of their leaves alone."""
    tree: Range
    """Of everything up to the last of them."""
    facts: list[BatchFacts] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)


def plan_log(
    plan: Plan,
    wanted: Wanted,
    batches: Sequence[BatchName],
    removed: Sequence[RemovedRange],
    holds: HoldsOnBatches,
    fetch: Fetch,
    subjects: Subjects,
) -> None:
    """Add to the plan what may go of one log; `batches` are all of its, in leaf order."""
    last = max((each.last_leaf for each in batches if wanted.may_go(each)), default=-1)
    walk = _Walk(plan, wanted, removed, holds, fetch, subjects)
    by_first: dict[int, list[BatchName]] = {}
    for each in batches:
        by_first.setdefault(each.first_leaf, []).append(each)
    try:
        while walk.tree.size <= last:
            walk.step(by_first)
    except (LedgerError, StoreError) as error:
        plan.refused.append((batches[0].origin, str(error)))
    walk.close()


class _Walk:
    """One log, followed from its first leaf."""

    def __init__(
        self,
        plan: Plan,
        wanted: Wanted,
        removed: Sequence[RemovedRange],
        holds: HoldsOnBatches,
        fetch: Fetch,
        subjects: Subjects,
    ) -> None:
        self.tree = Range()
        self._plan = plan
        self._wanted = wanted
        self._removed = removed
        self._holds = holds
        self._fetch = fetch
        self._subjects = subjects
        self._key: str | None = None
        self._growing: _Growing | None = None

    def step(self, by_first: dict[int, list[BatchName]]) -> None:
        """One batch, or one removed range, further. Raises LedgerError where the log does not hold."""
        at = self.tree.size
        gone = next((each for each in self._removed if each.first_leaf <= at <= each.last_leaf), None)
        if gone is not None:
            self.close()
            self.tree, key = proven(gone, self.tree) if gone.first_leaf == at else resumed(gone)
            self._one_key(str(key))
            return
        here = by_first.get(at, [])
        if len(here) != 1:
            what = "no batch begins" if not here else f"{len(here)} batches begin"
            raise LedgerError(f"{what} at leaf {at}: run `sidecar verify` first")
        named = here[0]
        goes = self._wanted.may_go(named)
        facts = check(named, self._fetch(named.name), recompute=goes)
        after = self._joined(facts)
        held = self._held(facts) if goes and self._is_old(facts) else None
        if held is not None and not self._is_kept(held):
            self._take(facts, held, after)
        else:
            self.close()
        self.tree = after
        if self._growing is not None and len(self._growing.facts) >= OBJECTS_PER_RANGE:
            self.close()

    def close(self) -> None:
        """What has grown becomes a range of the plan."""
        growing, self._growing = self._growing, None
        if growing is not None:
            self._plan.parts.append(Part(self._range(growing), growing.held))

    def _joined(self, facts: BatchFacts) -> Range:
        signed = sealed.read(facts)
        name = facts.named.file
        if facts.unreadable is not None:
            raise LedgerError(f"{name}: {facts.unreadable}")
        if signed.signer is None or signed.origin != facts.named.origin:
            raise LedgerError(f"{name}: its checkpoint: {signed.problem or 'is of another log'}")
        self._one_key(str(signed.signer))
        after = self.tree.copy()
        after.push(facts.computed)
        if (after.size, after.root()) != (signed.size, signed.root):
            raise LedgerError(f"{name}: is not what its checkpoint says: run `sidecar verify` first")
        if facts.recomputed and (facts.mismatched or not facts.sha256.startswith(facts.named.hash)):
            raise LedgerError(f"{name}: is not what was sealed: run `sidecar verify` first")
        return after

    def _one_key(self, key: str) -> None:
        if self._key is not None and key != self._key:
            raise LedgerError(f"signed by {key} and before by {self._key}: run `sidecar verify` first")
        self._key = key

    def _is_old(self, facts: BatchFacts) -> bool:
        if facts.t_last_us is None or facts.t_last_us >= self._wanted.cutoff_us:
            return False
        if {facts.metadata.get("model"), facts.log_value("model")} != {self._wanted.model}:
            raise LedgerError(f"{facts.named.file}: is filed under another model: run `sidecar verify` first")
        return True

    def _is_kept(self, held: Held) -> bool:
        found = self._holds.on(held)
        if found is not None:
            self._plan.kept.append(Kept(held.named, f"{found[0]}{found[1]}"))
        return found is not None

    def _held(self, facts: BatchFacts) -> Held:
        keys = facts.metadata.get("keys")
        master: str | None = None
        tags: frozenset[str] = frozenset()
        if isinstance(keys, str) and self._holds.on_subjects():
            master, tags = self._subjects(keys)
        return Held(facts.named, self._wanted.model, str(facts.metadata.get("log")), master, tags)

    def _take(self, facts: BatchFacts, held: Held, after: Range) -> None:
        growing = self._growing
        if growing is None:
            first = facts.named.first_leaf
            growing = self._growing = _Growing(first, Range(first), after)
        growing.facts.append(facts)
        growing.held.append(held)
        growing.nodes.push(facts.computed)
        growing.tree = after

    def _range(self, growing: _Growing) -> RemovedRange:
        facts, last = growing.facts, growing.facts[-1]
        signed = sealed.read(last)
        seqs = [each.named.first_seq for each in facts if each.named.first_seq]
        enrolment = last.metadata.get("enrolment")
        return RemovedRange(
            origin=last.named.origin,
            first_leaf=growing.first,
            last_leaf=last.named.last_leaf,
            rows=sum(each.rows for each in facts),
            exchanges=sum(each.kinds.get("exchange", 0) for each in facts),
            first_seq=min(seqs, default=0),
            last_seq=max(each.named.last_seq for each in facts),
            t_min_us=min(each.t_first_us for each in facts if each.t_first_us is not None),
            t_max_us=max(each.t_last_us for each in facts if each.t_last_us is not None),
            size=signed.size,
            root=base64text.encode(signed.root),
            checkpoint=signed.text,
            public_key=str(signed.signer),
            enrolment=enrolment if isinstance(enrolment, str) else None,
            subtrees=[(level, base64text.encode(node)) for level, node in growing.nodes.nodes],
            frontier=[base64text.encode(node) for _, node in growing.tree.nodes],
            objects=[_object(each) for each in facts],
        )


def _object(facts: BatchFacts) -> RemovedObject:
    keys = facts.metadata.get("keys")
    return RemovedObject(
        name=facts.named.name,
        sha256=facts.sha256,
        bytes=facts.size_bytes,
        first_leaf=facts.named.first_leaf,
        last_leaf=facts.named.last_leaf,
        keys=keys if isinstance(keys, str) else None,
    )


def _day_end_us(date: str) -> int:
    try:
        start = datetime.fromisoformat(date).replace(tzinfo=UTC)
    except ValueError:
        return 1 << 62
    return int(start.timestamp() + 86_400) * 1_000_000
