"""One batch object on its own: what it says it is, and what its rows hash to.

Runs in worker processes, one object at a time; what comes back is small,
whatever the object holds. Nothing here decides what happened: that takes the
other objects of the log (log.py).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sidecar.audit.leaves import NEEDED, leaf_hashes, log_values, same_log
from sidecar.audit.naming import BatchName
from sidecar.audit.parquet import BatchFile, Columns
from sidecar.audit.ranges import Node, Range, subtrees
from sidecar.errors import StoreError
from sidecar.key_filter import key_filter
from sidecar.schema import CANONICAL_VERSION, COLUMN_TYPES, LOG_COLUMNS

MISMATCHES_KEPT = 1_000
DAY_US = 86_400_000_000
SEALING_KINDS = frozenset({"genesis", "config", "identity", "batch", "close"})
_FACTS = (
    *LOG_COLUMNS,
    *("record_id", "kind", "seq", "count", "t_request_us", "t_end_us", "reason", "subject_key_id", "details"),
    *("leaf_index", "leaf_hash"),
)
"""Columns that are enough when leaves are not recomputed."""
NUMBERED_KINDS = frozenset({"exchange", "gap"})


@dataclass(slots=True)
class SealingLeaf:
    """A leaf that sealing itself added."""

    index: int
    kind: str
    t_us: int | None
    details: dict[str, Any]


@dataclass(slots=True)
class BatchFacts:
    """What one object says and what its rows come to."""

    named: BatchName
    size_bytes: int
    sha256: str = ""
    unreadable: str | None = None
    """Why nothing is known of its rows."""
    known: bool = True
    """False when the store did not give it out, or only a newer Sidecar can read it."""
    metadata: dict[str, Any] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()
    log_values: tuple[Any, ...] | None = None
    """Of LOG_COLUMNS; None when rows differ."""
    rows: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    recomputed: bool = True
    """False when only the stored leaf hashes were read."""
    computed: list[Node] = field(default_factory=list)
    """Subtrees of the leaves as hashed from the rows; the first row stands at the name's first leaf."""
    claimed: list[Node] = field(default_factory=list)
    """Subtrees of the stored leaf hashes."""
    content: str = ""
    """One hash over the leaf hashes in row order, so that the same rows are known under any name."""
    mismatches: list[tuple[int, str]] = field(default_factory=list)
    """Row number and record id where the stored leaf hash is not the row's; at most MISMATCHES_KEPT."""
    mismatched: int = 0
    misplaced: list[int] = field(default_factory=list)
    """Rows whose leaf_index is not their place, at most MISMATCHES_KEPT."""
    sealing: list[SealingLeaf] = field(default_factory=list)
    numbers: list[tuple[int, int]] = field(default_factory=list)
    """Runs of sequence numbers that exchanges and gaps account for, in row order."""
    gaps: dict[str, int] = field(default_factory=dict)
    """Lost exchanges that the recorder counted, by reason."""
    t_first_us: int | None = None
    t_last_us: int | None = None
    days: list[int] = field(default_factory=list)
    """Days since 1970 on which its rows begin, sorted."""
    first_seq: int = 0
    """Lowest number that a row speaks of; 0 when none does."""
    last_seq: int = 0
    key_filter: object = None
    """Digest of the filter over the rows' business keys, as the one in `metadata` is here: a filter can be
    the largest part of a file's metadata. None also when leaves were not recomputed."""
    subjects: dict[str, int] = field(default_factory=dict)
    """Records under each subject key id (hex)."""

    @property
    def ends_closed(self) -> bool:
        """Whether the last row is the log's close."""
        last = self.sealing[-1] if self.sealing else None
        return (
            last is not None and last.kind == "close" and last.index == self.named.first_leaf + self.rows - 1
        )

    def log_value(self, name: str) -> Any:
        return None if self.log_values is None else self.log_values[list(LOG_COLUMNS).index(name)]


def check(named: BatchName, data: bytes, recompute: bool = True) -> BatchFacts:
    """Facts of one object; never raises for what it holds."""
    facts = BatchFacts(named, len(data), hashlib.sha256(data).hexdigest(), recomputed=recompute)
    try:
        file = BatchFile(named.name, data)
        facts.metadata = file.metadata
        version = file.metadata.get("canonical", CANONICAL_VERSION)
        if version != CANONICAL_VERSION:
            facts.unreadable = (
                f"sealed by version {version} of the rules, this build knows {CANONICAL_VERSION}"
            )
            facts.known = False
            return facts
        facts.unknown_columns = tuple(sorted(set(file.columns) - set(COLUMN_TYPES)))
        _read(file, facts)
    except StoreError as error:
        facts.unreadable = str(error).removeprefix(f"{named.name}: ")
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        # Columns of types that no Sidecar wrote end here.
        facts.unreadable = f"holds values of a wrong type: {error}"
    return facts


def _read(file: BatchFile, facts: BatchFacts) -> None:
    first = facts.named.first_leaf
    computed, claimed = Range(first), Range(first)
    kinds: Counter[str] = Counter()
    subjects: Counter[str] = Counter()
    values: set[tuple[Any, ...]] = set()
    content = hashlib.sha256()
    days: set[int] = set()
    pairs: set[tuple[str, str]] = set()
    for count, columns in file.slices(NEEDED if facts.recomputed else _FACTS):
        start = first + facts.rows
        stored = [each or b"" for each in columns["leaf_hash"]]
        hashes = leaf_hashes(count, columns) if facts.recomputed else stored
        _places(start, columns["leaf_index"], facts)
        if hashes != stored:
            _compare(facts, hashes, stored, columns["record_id"])
        content.update(b"".join(hashes))
        own = subtrees(start, hashes)
        computed.push(own)
        claimed.push(own if hashes == stored else subtrees(start, stored))
        kinds.update(columns["kind"])
        _log_values(columns, count, values)
        _numbers(columns, facts)
        _spoken_of(columns, facts)
        _times(columns["t_request_us"], facts, days)
        if facts.recomputed:
            pairs.update(pair for keys in columns["keys"] if keys for pair in dict(keys).items())
        if any(columns["subject_key_id"]):
            subjects.update(each.hex() for each in columns["subject_key_id"] if each)
        _sealing(start, columns, facts)
        facts.rows += count
    facts.computed, facts.claimed = computed.nodes, claimed.nodes
    facts.content = content.hexdigest()
    facts.days, facts.key_filter = sorted(days), _digest(key_filter(pairs))
    if "key_filter" in facts.metadata:
        facts.metadata = {**facts.metadata, "key_filter": _digest(facts.metadata["key_filter"])}
    facts.kinds, facts.subjects = {str(kind): number for kind, number in kinds.items()}, dict(subjects)
    facts.log_values = values.pop() if len(values) == 1 else None


def _digest(key_filter: object) -> object:
    """The filter's SHA-256; what is no text stays what it is."""
    if not isinstance(key_filter, str):
        return key_filter
    return "SHA-256 " + hashlib.sha256(key_filter.encode()).hexdigest()


def _log_values(columns: Columns, count: int, values: set[tuple[Any, ...]]) -> None:
    shared = same_log(count, columns)
    if shared is not None:
        values.add(shared)
    elif len(values) < 2:
        values.update(zip(*log_values(columns), strict=True))


def _places(start: int, indices: list[int | None], facts: BatchFacts) -> None:
    if indices == list(range(start, start + len(indices))):
        return
    for number, index in enumerate(indices):
        if index != start + number and len(facts.misplaced) < MISMATCHES_KEPT:
            facts.misplaced.append(facts.rows + number)


def _compare(facts: BatchFacts, hashes: list[bytes], stored: list[bytes], ids: list[str | None]) -> None:
    for number, (own, claimed) in enumerate(zip(hashes, stored, strict=True)):
        if own != claimed:
            facts.mismatched += 1
            if len(facts.mismatches) < MISMATCHES_KEPT:
                facts.mismatches.append((facts.rows + number, str(ids[number])))


def _numbers(columns: Columns, facts: BatchFacts) -> None:
    """Add the slice's runs; consecutive exchanges make one."""
    kinds, seqs, counts = columns["kind"], columns["seq"], columns["count"]
    runs = facts.numbers
    for number, kind in enumerate(kinds):
        if kind not in NUMBERED_KINDS:
            continue
        seq = seqs[number]
        if seq is None:
            continue
        last = seq
        if kind == "gap":
            last = seq + max(int(counts[number] or 1), 1) - 1
            reason = str(columns["reason"][number] or "unknown")
            facts.gaps[reason] = facts.gaps.get(reason, 0) + last - seq + 1
        if runs and runs[-1][1] + 1 == seq:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((seq, last))


def _spoken_of(columns: Columns, facts: BatchFacts) -> None:
    """Widen the range of sequence numbers by every row that has one, and by those that events come after."""
    ids, seqs, counts = columns["record_id"], columns["seq"], columns["count"]
    for number, kind in enumerate(columns["kind"]):
        seq = _after(ids[number]) if kind == "event" else seqs[number]
        if not seq:
            continue
        last = seq + max(counts[number] or 1, 1) - 1 if kind == "gap" else seq
        facts.first_seq = min(facts.first_seq or seq, seq)
        facts.last_seq = max(facts.last_seq, last)


def _after(event_id: str | None) -> int:
    number = str(event_id).rpartition("-event-")[0].rpartition(".")[2]
    return int(number) if number.isdecimal() and len(number) < 19 else 0


def _times(requests: list[int | None], facts: BatchFacts, days: set[int]) -> None:
    known = [each for each in requests if each is not None]
    if not known:
        return
    low, high = min(known), max(known)
    if low // DAY_US == high // DAY_US:
        days.add(low // DAY_US)
    else:
        days.update(each // DAY_US for each in known)
    facts.t_first_us = low if facts.t_first_us is None else min(low, facts.t_first_us)
    facts.t_last_us = high if facts.t_last_us is None else max(high, facts.t_last_us)


def _sealing(start: int, columns: Columns, facts: BatchFacts) -> None:
    kinds = columns["kind"]
    if not SEALING_KINDS.intersection(kinds):
        return
    for number, kind in enumerate(kinds):
        if kind in SEALING_KINDS:
            facts.sealing.append(
                SealingLeaf(
                    start + number, kind, columns["t_request_us"][number], _json(columns["details"][number])
                )
            )


def _json(text: str | None) -> dict[str, Any]:
    """An empty object for what is none; the leaf's hash says whether it was sealed so."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
