"""`sidecar retain`: remove batches whose retention is over, on the record and without breaking a log."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sidecar.archive.when import readable
from sidecar.errors import LedgerError, SidecarError, UsageError
from sidecar.keyring import JSON, KEY, OPERATOR, STORE
from sidecar.objects import for_command
from sidecar.retention_plan import Plan
from sidecar.retention_policy import DAY_US, OVERRIDE, Policy, parse_length, read_policy
from sidecar.retention_run import Run
from sidecar.site_log import author, public_keys


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
@OPERATOR
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
    operators: tuple[str, ...],
    as_json: bool,
) -> None:
    """Remove the batches of a model that are older than its retention.

    Shows what it would remove and, with --yes, first writes into the site log
    what goes and what proves the rest, then removes it. A batch goes whole, when
    its newest row is old enough and no legal hold covers it. A run that was
    interrupted is finished by the next. With --operator, holds may also be released
    and earlier runs also be finished that these keys signed.
    """
    policy = _policy(models, older_than, policy_file)
    policy.require_long_enough(shorter)
    writer = author(key_file)
    opened = for_command(store)
    keys = for_command(keys_store) if keys_store else opened
    authors = {writer.key, *(str(key) for key in public_keys(operators))}
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
