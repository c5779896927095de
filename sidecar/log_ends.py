"""Glue: how far each log of a store has come, as far as the store shows.

A log seals records in the order in which they were committed. So when its
newest batch has a record of some time, everything that it committed before
that time is in the store too. Rows that sealing itself adds prove nothing of
the kind, since they carry the time of sealing and a journal may be behind;
only heartbeats, which a log gives when it has nothing else to seal, do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sidecar.audit.naming import BatchName
from sidecar.audit.parquet import BatchFile
from sidecar.errors import LedgerError, ObjectMissing, StoreError
from sidecar.ledger.origin import parse
from sidecar.objects import Store

READ_AT_ONCE: Final = 16
_TELLING: Final = frozenset({"exchange", "gap", "delivery", "event", "heartbeat"})


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The newest batch of one log."""

    origin: str
    newest_us: int | None
    """Time of the newest row that shows how far the log has come; None when none there does."""
    closed: bool
    """Whether its last leaf says that it ended with nothing left to seal."""


def log_ends(store: Store, logs: Mapping[str, Sequence[BatchName]]) -> list[LogEnd]:
    """The end of each log, by origin. One that cannot be read has come nowhere."""
    newest = {origin: max(named, key=lambda each: each.last_leaf) for origin, named in logs.items()}
    return [_end(named, data) for named, data in _read(store, [newest[origin] for origin in sorted(newest)])]


def _read(store: Store, wanted: Iterable[BatchName]) -> Iterator[tuple[BatchName, bytes | None]]:
    def read(named: BatchName) -> tuple[BatchName, bytes | None]:
        try:
            return named, store.get(named.name)
        except ObjectMissing:
            return named, None

    left = iter(wanted)
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="log-ends") as pool:
        while part := list(islice(left, READ_AT_ONCE)):
            yield from pool.map(read, part)


def _end(named: BatchName, data: bytes | None) -> LogEnd:
    newest_us, last = None, None
    try:
        slices = BatchFile(named.name, data).slices(("kind", "t_request_us")) if data is not None else ()
        for _, columns in slices:
            for last, t_us in zip(columns["kind"], columns["t_request_us"], strict=True):
                if last in _TELLING and t_us is not None:
                    newest_us = max(newest_us or 0, t_us)
    except StoreError:
        # `verify` says what is wrong with it; here it only means that nothing is known.
        return LogEnd(named.origin, None, False)
    return LogEnd(named.origin, newest_us, last == "close")


def behind(ends: Iterable[LogEnd], t_us: int, retired: Collection[str] = ()) -> list[LogEnd]:
    """Logs that may still seal records of before `t_us`.

    Not those that have sealed something newer or were closed, nor those of
    retired pods (by origin prefix), nor a boot's whose pod has had a later one
    of which the same holds: it reads the journal from where the earlier stopped.
    """
    ends = list(ends)
    latest: dict[tuple[str, str], str] = {}
    for each in ends:
        place = _place(each.origin)
        if place is not None and not place[3] and _is_past(each, t_us):
            key = place[:2]
            latest[key] = max(latest.get(key, ""), place[2])
    found = []
    for each in ends:
        place = _place(each.origin)
        if _is_past(each, t_us) or (place is not None and place[0] in retired):
            continue
        if place is not None:
            prefix, route, boot, continues = place
            newest = latest.get((prefix, route), "")
            # What a boot seals of a dead one comes before everything of its own.
            if newest > boot or (continues and newest == boot):
                continue
        found.append(each)
    return found


def prefix_of(origin: str) -> str | None:
    """What an enrolment calls the pod; None for what is no origin."""
    place = _place(origin)
    return place and place[0]


def _is_past(end: LogEnd, t_us: int) -> bool:
    return end.closed or (end.newest_us is not None and end.newest_us > t_us)


def _place(origin: str) -> tuple[str, str, str, bool] | None:
    """Prefix, route and boot of who seals it, and whether it goes on with a dead boot's."""
    try:
        parsed = parse(origin)
    except LedgerError:
        return None
    return parsed.prefix, parsed.route, parsed.boot, parsed.dead_boot is not None
