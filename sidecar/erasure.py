"""`sidecar erase` destroys what opens a subject's data, on the record."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from sidecar.archive.when import readable
from sidecar.erase_run import EraseRun
from sidecar.errors import PrivacyError, UsageError
from sidecar.keyring import JSON, KEY, OPERATOR, STORE
from sidecar.log_ends import LogEnd
from sidecar.objects import for_command
from sidecar.parameters import Parsed
from sidecar.privacy.master import LocalMasterKey, read_master_key
from sidecar.settings_table import default
from sidecar.settings_values import parse_duration
from sidecar.site_log import author, public_keys
from sidecar.subject_keys import tags_of

Command = TypeVar("Command", bound=Callable[..., Any])

MARGIN_S = 60.0
"""How far clocks may be apart, and a record be behind the moment in which it was made."""
NAMED = 5
"""Logs named in the text."""

MASTER = click.option(
    "--master-key",
    "master_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The master key by which subjects are found; several after a change of keys.",
)


def _setting(name: str) -> Callable[[Command], Command]:
    """An option that says what the sidecars have for one of their settings."""
    help_text = "The sidecars' setting, if they have another than the default."
    return click.option(name, type=Parsed("DURATION", parse_duration), help=help_text)


@click.command()
@STORE
@KEY
@click.option("--subject", required=True, metavar="TEXT", help="Whom; `-` reads it from standard input.")
@MASTER
@click.option("--reason", metavar="TEXT", help="Stands in the site log for ever: name nobody in it.")
@click.option("--keys-store", metavar="URL", help="Where the key objects are, if not in the store.")
@_setting("--volume-age")
@_setting("--batch-age")
@click.option("--dry-run", is_flag=True, help="Only say what would be destroyed.")
@OPERATOR
@JSON
def erase(
    store: str,
    key_file: Path,
    subject: str,
    master_files: tuple[Path, ...],
    reason: str | None,
    keys_store: str | None,
    volume_age: float | None,
    batch_age: float | None,
    dry_run: bool,
    operators: tuple[str, ...],
    as_json: bool,
) -> None:
    """Destroy the keys that open a subject's data, on the record.

    A signed order goes into the site log first, then the keys are taken out of
    every key object that has them; given again, the command finishes what was
    interrupted, and finds what was still on its way the first time. It says
    which logs have not come past the order. A legal hold forbids it. The
    subject's own name is written nowhere.
    """
    masters = masters_in(master_files)
    writer = author(key_file)
    opened = for_command(store)
    whom = subject_in(subject, reason)
    run = EraseRun(
        opened,
        for_command(keys_store) if keys_store else opened,
        writer,
        {writer.key, *(str(key) for key in public_keys(operators))},
        tags_of(whom, masters),
    )
    run.require_free()
    now_us = time.time_ns() // 1000
    batch_s = default("batch_age") if batch_age is None else batch_age
    until_us = now_us + _journal_us(volume_age, batch_s)
    if not dry_run:
        run.carry_out(reason, until_us)
    reach = _reach(run, reason, now_us, int((MARGIN_S + batch_s) * 1_000_000))
    if as_json:
        click.echo(json.dumps(_to_json(run, dry_run, until_us, reach)))
    else:
        _show(run, dry_run, until_us, reach)
    _complain(run)


def masters_in(files: tuple[Path, ...]) -> list[LocalMasterKey]:
    if not files:
        raise UsageError("give the master key's file: --master-key FILE")
    try:
        return [read_master_key(file) for file in files]
    except PrivacyError as error:
        raise UsageError(str(error)) from error


def subject_in(given: str, reason: str | None) -> str:
    subject = sys.stdin.readline().rstrip("\r\n") if given == "-" else given
    if not subject:
        raise UsageError("--subject: is empty: give the subject as the sidecars see it")
    try:
        subject.encode()
    except UnicodeEncodeError as error:
        raise UsageError("--subject: is no valid text: give it in the terminal's encoding") from error
    if reason is not None and subject in reason:
        raise UsageError(
            "--reason: names the subject, and the site log keeps it for ever: name a case instead"
        )
    return subject


def _journal_us(volume_age_s: float | None, batch_age_s: float) -> int:
    """How long a record may be on its way: its volume is closed, its batch shipped, the volume unlinked."""
    age_s = default("volume_age") if volume_age_s is None else volume_age_s
    return int((age_s + batch_age_s + 2 * default("ship_timeout")) * 1_000_000)


@dataclass(frozen=True, slots=True)
class _Reach:
    """What is known to be erased: everything that was recorded before the order, or not yet."""

    order_us: int
    """When this request was first ordered."""
    waiting: list[LogEnd]
    """Logs that have not shown since that they hold nothing older any more."""
    logs: int
    settled_us: int | None
    """Time of the newest order for the subject of which that is known."""
    complete: bool


def _reach(run: EraseRun, reason: str | None, now_us: int, margin_us: int) -> _Reach:
    order = run.first_order(reason)
    order_us = now_us if order is None else order.t_us
    waiting = run.behind(order_us + margin_us)
    # A log may have begun before the order and not have shipped anything yet: it has had its time by then.
    old_enough = [each.t_us for each in run.orders() if each.t_us + margin_us < now_us]
    settled = [t_us for t_us in old_enough if not run.behind(t_us + margin_us)]
    known = bool(run.ends) and not run.search.other_masters and not run.search.unreadable
    complete = order is not None and order_us in old_enough and not waiting and known
    settled_us = max(settled, default=None) if known else None
    return _Reach(order_us, waiting, len(run.ends), settled_us, complete)


def _to_json(run: EraseRun, dry_run: bool, until_us: int, reach: _Reach) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "complete": reach.complete,
        "ordered_us": reach.order_us,
        "objects": [
            {"name": each.name, "batch": each.batch, "subject_key_ids": sorted(key.hex() for key in each.ids)}
            for each in run.found
        ],
        "entries": run.entries,
        "rewritten": run.rewritten,
        "journal_until_us": until_us,
        "settled_before_us": reach.settled_us,
        "logs": reach.logs,
        "waiting_for": [{"origin": each.origin, "newest_us": each.newest_us} for each in reach.waiting],
        "earlier_orders": [each.index for each in run.orders() if each.index not in run.entries],
        "batches_without_keys": run.without_keys,
        "other_master_keys": run.search.other_masters,
        "unreadable": run.search.unreadable,
    }


def _show(run: EraseRun, dry_run: bool, until_us: int, reach: _Reach) -> None:
    keys = sum(len(each.ids) for each in run.found)
    if dry_run:
        for each in run.found:
            click.echo(each.name)
        click.echo(f"would destroy {keys} keys in {len(run.found)} key objects; nothing was changed")
        return
    said = ", ".join(str(index) for index in run.entries)
    if run.found:
        said = said or "an earlier one, now finished"
        click.echo(f"destroyed {keys} keys in {len(run.found)} key objects; ordered by site log entry {said}")
    else:
        click.echo(
            "no key of this subject is in the store" + (f"; ordered by site log entry {said}" if said else "")
        )
    _show_reach(reach, until_us)
    if run.without_keys:
        click.echo(
            f"{run.without_keys} batches have no key object: nothing in them was looked for or erased "
            "(recorded without encryption)"
        )


def _show_reach(reach: _Reach, until_us: int) -> None:
    ordered = readable(reach.order_us)
    if reach.complete:
        click.echo(
            f"everything of it that was recorded before {ordered} and encrypted is erased: "
            f"all {reach.logs} logs in the store have ended or come past that time"
        )
        return
    if not reach.waiting:
        click.echo(
            f"not complete yet: erased in everything that is in the store, but what was recorded before "
            f"{ordered} may just be on its way: give the command again after {readable(until_us)}"
        )
        return
    names = [each.origin for each in reach.waiting[:NAMED]]
    if len(reach.waiting) > NAMED:
        names.append(f"{len(reach.waiting) - NAMED} more (--json names all)")
    click.echo(
        f"not complete: erased in everything that is in the store, but {len(reach.waiting)} of "
        f"{reach.logs} logs may still bring what was recorded before {ordered}: {', '.join(names)}"
    )
    click.echo(
        f"give the command again when they have shipped: by {readable(until_us)} where the store is "
        "in reach; a pod that is gone for good is ended by `sidecar keys enrol --retire`"
    )


def _complain(run: EraseRun) -> None:
    problems = [
        f"{count} key objects are under master key {name}" for name, count in run.search.other_masters.items()
    ]
    if problems:
        problems[-1] += ": give its file too"
    problems += run.search.unreadable[:3]
    if len(run.search.unreadable) > 3:
        problems.append(f"{len(run.search.unreadable) - 3} more could not be read")
    if problems:
        raise PrivacyError("the subject may be in what was not searched: " + "; ".join(problems))
