"""Glue: one retention run: plan, say it in the site log, remove; finish what an earlier run left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.audit.naming import RECORDS, BatchName
from sidecar.batches import by_log, copies, metadata, named_batches
from sidecar.errors import LedgerError, ObjectMissing
from sidecar.held import Held, HoldsOnBatches
from sidecar.objects import Store
from sidecar.privacy.key_object import KeyObject
from sidecar.retention_plan import Part, Plan, Wanted, plan_log
from sidecar.retention_policy import SIX_MONTHS_US, Policy
from sidecar.shipping.parquet import path_safe
from sidecar.site.bodies import Retention, to_json
from sidecar.site.entry import Entry
from sidecar.site.log import Reader
from sidecar.site.removed import Removal, removals
from sidecar.site_log import KeyAuthor, open_site_log


@dataclass(slots=True)
class Pending:
    """A batch that an earlier run ordered to be removed, and that is still there."""

    removal: Removal
    name: str
    keys: str | None
    kept: str | None = None
    """The hold that came in between."""


@dataclass(slots=True)
class Run:
    """One run over one store."""

    store: Store
    keys: Store
    writer: KeyAuthor
    authors: set[str]
    """Whose retention runs and releases count."""
    removed: int = 0
    entries: list[int] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    _holds: HoldsOnBatches = field(init=False)
    _reader: Reader = field(init=False)
    _removals: dict[str, list[Removal]] = field(init=False)

    def __post_init__(self) -> None:
        self._reader = open_site_log(self.store).reader()
        self._holds = HoldsOnBatches(self.authors)
        self._removals = removals(self._followed(), self.authors)

    def _followed(self) -> Iterator[Entry]:
        """Entries, each also shown to the holds: the site log is read once."""
        for entry in self._reader:
            self._holds.follow((entry,))
            yield entry

    def plan(self, policy: Policy, now_us: int) -> list[Plan]:
        """What may go of every model that the policy speaks of, and what an earlier run left."""
        logs = by_log(self.store)
        self.pending = [each for batches in logs.values() for each in self._left(batches)]
        plans = []
        for model, folder in self._models(policy).items():
            length_us = policy.of(model)
            if length_us is None:
                continue
            plan = Plan(model, length_us, now_us - length_us)
            hold = self._holds.on_model(model)
            if hold is not None:
                plan.blocked = str(hold)
            else:
                wanted = Wanted(model, folder, plan.cutoff_us)
                for origin, batches in sorted(logs.items()):
                    gone = [each.range for each in self._removals.get(origin, [])]
                    plan_log(plan, wanted, batches, gone, self._holds, self.store.get, self._subjects)
                plan.copies = self._copies(plan, wanted)
            plans.append(plan)
        return plans

    def _models(self, policy: Policy) -> dict[str, str]:
        """Models with their folders; with a default, every model of the store."""
        known = {model: f"{RECORDS}model={path_safe(model)}/" for model in policy.models_us}
        if policy.default_us is None:
            return known
        folders = set(known.values())
        for folder in self.store.folders(RECORDS):
            first = next(iter(named_batches(self.store.list(folder))), None)
            if first is None or f"{folder}/" in folders:
                continue
            model = str(metadata(self.store, first.name).get("model"))
            if folder == f"{RECORDS}model={path_safe(model)}":
                known[model] = f"{folder}/"
        return known

    def _copies(self, plan: Plan, wanted: Wanted) -> list[str]:
        """Compacted files that repeat what goes or has gone: what is removed must not live on beside it."""
        going = {each.name for each in plan.objects}
        for found in self._removals.values():
            going |= {each.name for removal in found for each in removal.range.objects}
        folder = wanted.folder.removeprefix(RECORDS)
        return [
            name
            for name, sources in copies(self.store, folder, wanted.is_over)
            if not going.isdisjoint(sources)
        ]

    def _left(self, batches: Sequence[BatchName]) -> list[Pending]:
        names = {each.name: each for each in batches}
        found = []
        for removal in self._removals.get(batches[0].origin, []):
            for each in removal.range.objects:
                if each.name in names:
                    hold = self._holds.on(self._held(names[each.name], removal.model, each.keys))
                    kept = f"{hold[0]}{hold[1]}" if hold is not None else None
                    found.append(Pending(removal, each.name, each.keys, kept))
        return found

    def _held(self, named: BatchName, model: str, keys: str | None) -> Held:
        log = str(metadata(self.store, named.name).get("log"))
        if keys is None or not self._holds.on_subjects():
            return Held(named, model, log)
        return Held(named, model, log, *self._subjects(keys))

    def _subjects(self, name: str) -> tuple[str | None, frozenset[str]]:
        """Master key and subject tags of a key object; one that is gone opens nobody's data any more."""
        try:
            found = KeyObject.parse(self.keys.get(name))
        except ObjectMissing:
            return None, frozenset()
        return found.master, frozenset(each.tag.hex() for each in found.entries if each.tag is not None)

    def finish(self) -> None:
        """Remove what an earlier run ordered."""
        for each in self.pending:
            if each.kept is None:
                self._remove(each.name, each.keys)

    def carry_out(self, plans: Sequence[Plan]) -> None:
        """Say it in the site log, then do it, range by range: whatever is interrupted can be finished."""
        for plan in plans:
            for name in plan.copies:
                self.store.delete(name)
            for part in plan.parts:
                body = to_json(
                    Retention(
                        model=plan.model,
                        older_than_us=plan.older_than_us,
                        cutoff_us=plan.cutoff_us,
                        shorter_than_six_months=plan.older_than_us < SIX_MONTHS_US,
                        ranges=[part.range],
                    )
                )
                log = open_site_log(self.store)
                entry = log.append(self.writer, "retention", self._guarded(part, body), self._reader)
                self.entries.append(entry.index)
                for each in part.range.objects:
                    self._remove(each.name, each.keys)

    def _guarded(self, part: Part, body: dict[str, Any]) -> Callable[[Sequence[Entry]], dict[str, Any]]:
        """The body, unless a hold was placed while this ran."""

        def made(new: Sequence[Entry]) -> dict[str, Any]:
            self._holds.follow(new)
            for held in part.held:
                found = self._holds.on(held)
                if found is not None:
                    raise LedgerError(f"{held.named.file}: {found[0]} was placed meanwhile: run again")
            return body

        return made

    def _remove(self, name: str, keys: str | None) -> None:
        # Its keys first: while the batch is there, a next run finds what is left to do.
        if keys is not None:
            self.keys.delete(keys)
        self.store.delete(name)
        self.removed += 1
