"""`sidecar retain`: remove batches whose retention is over, on the record and without breaking a log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from sidecar.archive.when import readable
from sidecar.audit.naming import RECORDS, BatchName
from sidecar.batches import by_log, copies, metadata, named_batches
from sidecar.errors import LedgerError, ObjectMissing, SidecarError, UsageError
from sidecar.held import Held, HoldsOnBatches
from sidecar.keyring import JSON, KEY, STORE, TRUST
from sidecar.objects import Store, for_command
from sidecar.privacy.key_object import KeyObject
from sidecar.retention_plan import Part, Plan, Wanted, plan_log
from sidecar.retention_policy import DAY_US, OVERRIDE, SIX_MONTHS_US, Policy, parse_length, read_policy
from sidecar.shipping.parquet import path_safe
from sidecar.site.bodies import Retention, to_json
from sidecar.site.entry import Entry
from sidecar.site.log import Reader
from sidecar.site.removed import Removal, removals
from sidecar.site_log import KeyAuthor, author, open_site_log, public_keys


@click.command()
@STORE
@KEY
@click.option("--model", "models", multiple=True, metavar="NAME", help="Of this model; with --older-than.")
@click.option("--older-than", metavar="AGE", help="How long its records are kept, such as 400d.")
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML instead: `models` with a length of time each, `default` for all others.",
)
@click.option(OVERRIDE, "shorter", is_flag=True, help="Lets a retention be shorter than 184 days.")
@click.option("--keys-store", metavar="URL", help="Where the key objects are, if not in the store.")
@click.option("--yes", is_flag=True, help="Remove; without it, only what would be removed is shown.")
@TRUST
@JSON
def retain(
    store: str,
    key_file: Path,
    models: tuple[str, ...],
    older_than: str | None,
    policy_file: Path | None,
    shorter: bool,
    keys_store: str | None,
    yes: bool,
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """Remove the batches of a model that are older than its retention.

    Shows what it would remove and, with --yes, first writes into the site log
    what goes and what proves the rest, then removes it. A batch goes whole, when
    its newest row is old enough and no legal hold covers it. A run that was
    interrupted is finished by the next. With --trust, holds may also be released
    and earlier runs also be finished that these keys signed.
    """
    policy = _policy(models, older_than, policy_file)
    policy.require_long_enough(shorter)
    writer = author(key_file)
    opened = for_command(store)
    keys = for_command(keys_store) if keys_store else opened
    authors = {writer.key, *(str(key) for key in public_keys(trust))}
    run = Run(opened, keys, writer, authors)
    plans = run.plan(policy, int(time.time()) * 1_000_000)
    if not as_json:
        _show(run, plans, yes)
    if yes:
        run.finish()
        run.carry_out(plans)
    if as_json:
        click.echo(json.dumps(_to_json(run, plans, yes)))
    elif yes:
        click.echo(f"removed {run.removed} files" + "".join(f", entry {index}" for index in run.entries))
    _complain(plans)


def _policy(models: Sequence[str], older_than: str | None, policy_file: Path | None) -> Policy:
    if policy_file is not None:
        if models or older_than:
            raise UsageError("retain: give --policy, or --model and --older-than, not both")
        return read_policy(policy_file)
    if not models or older_than is None:
        raise UsageError("retain: give --model NAME and --older-than AGE, or --policy FILE")
    try:
        length_us = parse_length(older_than)
    except ValueError as error:
        raise UsageError(f"--older-than {older_than!r} {error}") from error
    return Policy(dict.fromkeys(models, length_us))


@dataclass(slots=True)
class _Pending:
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
    pending: list[_Pending] = field(default_factory=list)
    _holds: HoldsOnBatches = field(init=False)
    _reader: Reader = field(init=False)
    _removals: dict[str, list[Removal]] = field(init=False)

    def __post_init__(self) -> None:
        self._reader = open_site_log(self.store).reader()
        self._holds = HoldsOnBatches(self.authors)
        self._removals = removals(self._followed(), self.authors)

    def _followed(self) -> Any:
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
            if first is not None and f"{folder}/" not in folders:
                known[str(metadata(self.store, first.name).get("model"))] = f"{folder}/"
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

    def _left(self, batches: Sequence[BatchName]) -> list[_Pending]:
        names = {each.name: each for each in batches}
        found = []
        for removal in self._removals.get(batches[0].origin, []):
            for each in removal.range.objects:
                if each.name in names:
                    hold = self._holds.on(self._held(names[each.name], removal.model, each.keys))
                    kept = f"{hold[0]}{hold[1]}" if hold is not None else None
                    found.append(_Pending(removal, each.name, each.keys, kept))
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


def _show(run: Run, plans: Sequence[Plan], yes: bool) -> None:
    for each in run.pending:
        why = f"kept: {each.kept}" if each.kept else "to be finished"
        click.echo(f"entry {each.removal.index} ordered the removal of {each.name}: {why}")
    for plan in plans:
        click.echo(_summary(plan))
        for part in plan.parts:
            found = part.range
            click.echo(
                f"  {found.origin}: leaves {found.first_leaf} to {found.last_leaf}, "
                f"{len(found.objects)} files, {readable(found.t_min_us)} to {readable(found.t_max_us)}"
            )
        if plan.copies:
            click.echo(f"  with {len(plan.copies)} compacted files that repeat some of it")
        for kept in plan.kept:
            click.echo(f"  kept: {kept.named.name}: {kept.why}")
        for origin, reason in plan.refused:
            click.echo(f"  not touched: {origin}: {reason}")
    if not yes and any(plan.parts for plan in plans):
        click.echo("nothing was removed: --yes removes it")


def _summary(plan: Plan) -> str:
    days = f"{plan.older_than_us / DAY_US:g} days"
    if plan.blocked is not None:
        return f"model {plan.model}: nothing may be removed: {plan.blocked}"
    ranges = [part.range for part in plan.parts]
    if not ranges:
        return f"model {plan.model}: nothing is older than {days} and may go"
    records, size = sum(each.exchanges for each in ranges), sum(each.bytes for each in plan.objects)
    first, last = min(each.t_min_us for each in ranges), max(each.t_max_us for each in ranges)
    return (
        f"model {plan.model}, older than {days} (before {readable(plan.cutoff_us)}): "
        f"{len(plan.objects)} files, {records} records, {size} bytes, {readable(first)} to {readable(last)}"
    )


def _to_json(run: Run, plans: Sequence[Plan], yes: bool) -> dict[str, Any]:
    return {
        "removed": run.removed,
        "carried_out": yes,
        "entries": run.entries,
        "pending": [
            {"entry": each.removal.index, "name": each.name, "kept": each.kept} for each in run.pending
        ],
        "models": [
            {
                "model": plan.model,
                "older_than_us": plan.older_than_us,
                "cutoff_us": plan.cutoff_us,
                "blocked": plan.blocked,
                "files": len(plan.objects),
                "rows": sum(part.range.rows for part in plan.parts),
                "records": sum(part.range.exchanges for part in plan.parts),
                "bytes": sum(each.bytes for each in plan.objects),
                "t_min_us": min((part.range.t_min_us for part in plan.parts), default=None),
                "t_max_us": max((part.range.t_max_us for part in plan.parts), default=None),
                "ranges": [
                    {
                        "origin": part.range.origin,
                        "first_leaf": part.range.first_leaf,
                        "last_leaf": part.range.last_leaf,
                        "objects": [each.name for each in part.range.objects],
                    }
                    for part in plan.parts
                ],
                "copies": plan.copies,
                "kept": [{"name": kept.named.name, "why": kept.why} for kept in plan.kept],
                "refused": [{"origin": origin, "why": why} for origin, why in plan.refused],
            }
            for plan in plans
        ],
    }


def _complain(plans: Sequence[Plan]) -> None:
    blocked = [f"model {plan.model}: {plan.blocked}" for plan in plans if plan.blocked is not None]
    if blocked:
        raise SidecarError("; ".join(blocked))
    refused = sum(len(plan.refused) for plan in plans)
    if refused:
        raise LedgerError(f"{refused} logs are not as they were sealed, named above: they were not touched")
