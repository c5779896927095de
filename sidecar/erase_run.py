"""Glue: one erasure: find the subject's keys, see that no hold covers them, order it, destroy them.

The order stands in the site log before the first key object is written anew.
What is interrupted in between is finished by the same command given again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sidecar.audit.naming import BatchName
from sidecar.audit.parquet import BatchFile
from sidecar.batches import by_log, metadata
from sidecar.errors import LedgerError, ObjectMissing, StoreError
from sidecar.held import Held, HoldsOnBatches, holds_record, may_hold_record
from sidecar.log_ends import LogEnd, behind, log_ends, prefix_of
from sidecar.objects import Store
from sidecar.shipping.parquet import path_safe
from sidecar.site.bodies import Enrolment, Erase, ErasedKeys, read, to_json
from sidecar.site.entry import Entry
from sidecar.site.erasures import Erasure, Erasures
from sidecar.site.holds import Standing
from sidecar.site.log import Reader
from sidecar.site_log import KeyAuthor, open_site_log
from sidecar.subject_keys import Found, Search, destroy, search, still_there

OBJECTS_PER_ENTRY: Final = 5_000
ROUNDS: Final = 8


class Blocked(LedgerError):
    """A legal hold forbids the erasure."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(f"not erased: {standing}")
        self.standing = standing


@dataclass(slots=True)
class EraseRun:
    """One run for one subject, which is known here by its tags alone."""

    store: Store
    keys: Store
    writer: KeyAuthor
    authors: set[str]
    """Whose orders and releases count."""
    tags: Mapping[str, str]
    search: Search = field(init=False)
    entries: list[int] = field(default_factory=list)
    rewritten: int = 0
    without_keys: int = 0
    """Batches with exchanges that have no key object: nothing in them says whom they are about."""
    ends: list[LogEnd] = field(init=False)
    """How far each log had come before the search, so that the search saw all that is before."""
    _holds: HoldsOnBatches = field(init=False)
    _orders: Erasures = field(init=False)
    _reader: Reader = field(init=False)
    _logs: dict[str, list[BatchName]] = field(init=False)
    _retired: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._holds = HoldsOnBatches(self.authors)
        self._orders = Erasures(self.authors)
        self._reader = open_site_log(self.store).reader()
        for entry in self._reader:
            self._follow((entry,))
        logs = by_log(self.store)
        self.ends = log_ends(self.store, logs)
        self.search = search(self.keys, self.tags)
        self._logs = logs
        if not all(self._batches(found) for found in self.found):
            # Shipped since the listing, and a hold on its model or records counts for it too.
            self._logs = by_log(self.store)
        self.without_keys = sum(self._without_keys(named) for named in logs.values())

    def _without_keys(self, batches: Sequence[BatchName]) -> int:
        lacking = [each for each in batches if _key_object_name(each) not in self.search.names]
        # In names, a sequence number means exchanges, or only gaps, which have nothing to open.
        likely = [each for each in lacking if each.last_seq]
        if len(lacking) == len(batches):
            return len(likely)
        return sum(_has_exchanges(self.store, each) for each in likely)

    def _follow(self, entries: Iterable[Entry]) -> None:
        self._holds.follow(entries)
        self._orders.follow(entries)
        for entry in entries:
            enrolment = read(entry, Enrolment)
            if enrolment is not None and entry.key in self.authors:
                self._retired[enrolment.prefix] = enrolment.retired_us is not None

    @property
    def found(self) -> list[Found]:
        return self.search.found

    def orders(self) -> list[Erasure]:
        """Earlier orders for this subject, oldest first."""
        return [
            each
            for each in self._orders.orders
            if any(each.erase.tags.get(master) == tag for master, tag in self.tags.items())
        ]

    def behind(self, t_us: int) -> list[LogEnd]:
        """Logs that may still bring what was recorded before this time; by its prefix, a pod without any."""
        retired = {prefix for prefix, gone in self._retired.items() if gone}
        begun = {prefix_of(each.origin) for each in self.ends}
        unseen = sorted(self._retired.keys() - retired - begun)
        return behind(self.ends, t_us, retired) + [LogEnd(prefix, None, False) for prefix in unseen]

    def require_free(self) -> None:
        """Raises Blocked when a legal hold covers any of it."""
        standing = self._holds.on_subject(self.tags)
        for found in self.found:
            standing = standing or self._on_company(found)
        standing = standing or self._on_models_and_records()
        if standing is not None:
            raise Blocked(standing)

    def carry_out(self, reason: str | None, journal_until_us: int) -> None:
        """Order what was not ordered yet, then destroy every key of the subject that was found.

        A request is ordered also when nothing was found, once: what arrives later is known by its tags.
        """
        wanted = [each for each in (self._unordered(found) for found in self.found) if each is not None]
        parts = range(0, len(wanted), OBJECTS_PER_ENTRY)
        if not wanted and self.first_order(reason) is None:
            parts = range(1)
        for at in parts:
            body = Erase(
                tags=dict(self.tags),
                reason=reason,
                objects=wanted[at : at + OBJECTS_PER_ENTRY],
                journal_until_us=journal_until_us,
            )
            made = partial(self._guarded, body)
            entry = open_site_log(self.store).append(self.writer, "erase", made, self._reader)
            self.entries.append(entry.index)
        self._destroy()

    def first_order(self, reason: str | None) -> Erasure | None:
        """The oldest order for this request: under every master key given and, if given, for this reason."""
        for each in self.orders():
            known = each.erase.tags.items() >= self.tags.items()
            if known and reason in (None, each.erase.reason):
                return each
        return None

    def _guarded(self, body: Erase, new: Sequence[Entry]) -> dict[str, Any]:
        """The order, unless a hold was placed while this ran."""
        self._follow(new)
        if new:
            self.require_free()
        return to_json(body)

    def _unordered(self, found: Found) -> ErasedKeys | None:
        ordered = self._orders.key_ids.get(found.name, {})
        ids = sorted(each.hex() for each in found.ids if each.hex() not in ordered)
        return ErasedKeys(name=found.name, batch=found.batch, subject_key_ids=ids) if ids else None

    def _destroy(self) -> None:
        """Destroy, and go on until no key that was ordered to be destroyed is in these objects.

        Another erasure may have read an object before this one wrote it, and
        write it back afterwards with the keys that this one destroyed: it then
        sees this one's order in the site log and does the same.
        """
        names = [found.name for found in self.found]
        own = {found.name: found.ids for found in self.found}
        for entry in self._reader:
            self._follow((entry,))
        for _ in range(ROUNDS):
            ids = {name: own[name] | self._ordered(name) for name in names}
            self.rewritten += destroy(self.keys, ids)
            # Only an order that stood before the last write can have been undone by it.
            for entry in self._reader:
                self._follow((entry,))
            ids = {name: own[name] | self._ordered(name) for name in names}
            if not still_there(self.keys, ids):
                return
        raise StoreError("key objects: other erasures write them at the same time: run again")

    def _ordered(self, name: str) -> frozenset[bytes]:
        return frozenset(bytes.fromhex(each) for each in self._orders.key_ids.get(name, {}))

    def _on_company(self, found: Found) -> Standing | None:
        """A hold on somebody else whose data the same keys open."""
        for each in self._holds.standing():
            if each.hold.scope == "subject" and (each.hold.tags or {}).get(found.master) in found.tags:
                return each
        return None

    def _on_models_and_records(self) -> Standing | None:
        for each in self._holds.standing():
            if each.hold.scope == "subject":
                continue
            for found in self.found:
                if any(self._covers(each, found, named) for named in self._batches(found)):
                    return each
        return None

    def _covers(self, standing: Standing, found: Found, named: BatchName) -> bool:
        hold = standing.hold
        if hold.scope == "model":
            return named.model == path_safe(hold.model or "")
        record = hold.record or ""
        if not may_hold_record(named, record):
            return False
        log = str(metadata(self.store, named.name).get("log"))
        return holds_record(Held(named, "", log), record) and self._is_theirs(record, found, named)

    def _is_theirs(self, record: str, found: Found, named: BatchName) -> bool:
        """Whether the record's body is under one of the keys."""
        file = BatchFile(named.name, self.store.get(named.name))
        # Delivery records and events follow an exchange, whose id theirs begin with.
        exchange = (
            record.rpartition("-")[0] if record.endswith("-delivery") else record.partition("-event-")[0]
        )
        for _, columns in file.slices(("record_id", "subject_key_id")):
            for name, key_id in zip(columns["record_id"], columns["subject_key_id"], strict=True):
                if name in (record, exchange) and key_id in found.ids:
                    return True
        return False

    def _batches(self, found: Found) -> list[BatchName]:
        """The batch of a key object, under every model and digest that it may be filed under."""
        origin = found.name.rsplit("/", 1)[-1].rpartition("-L")[0]
        return [each for each in self._logs.get(origin, []) if _key_object_name(each) == found.name]


def _has_exchanges(store: Store, named: BatchName) -> bool:
    try:
        slices = BatchFile(named.name, store.get(named.name)).slices(("kind",))
        return any("exchange" in columns["kind"] for _, columns in slices)
    except ObjectMissing:
        return False


def _key_object_name(named: BatchName) -> str:
    return f"subjects/{named.origin}-L{named.first_leaf:012d}-{named.last_leaf:012d}.json"
