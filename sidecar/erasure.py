"""`sidecar erase` destroys what opens a subject's data, on the record."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from sidecar.archive.when import readable
from sidecar.erase_run import EraseRun
from sidecar.errors import PrivacyError, UsageError
from sidecar.keyring import JSON, KEY, STORE, TRUST
from sidecar.objects import for_command
from sidecar.privacy.master import LocalMasterKey, read_master_key
from sidecar.settings_table import default
from sidecar.settings_values import parse_duration
from sidecar.site_log import author, public_keys
from sidecar.subject_keys import tags_of

MASTER = click.option(
    "--master-key",
    "master_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The master key by which subjects are found; several after a change of keys.",
)


class _Length(click.ParamType):  # type: ignore[type-arg]
    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


@click.command()
@STORE
@KEY
@click.option("--subject", required=True, metavar="TEXT", help="Whom; `-` reads it from standard input.")
@MASTER
@click.option("--reason", metavar="TEXT", help="Stands in the site log for ever: name nobody in it.")
@click.option("--keys-store", metavar="URL", help="Where the key objects are, if not in the store.")
@click.option(
    "--volume-age",
    type=_Length(),
    metavar="DURATION",
    help="The sidecars' setting, if they have another than the default.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be destroyed.")
@TRUST
@JSON
def erase(
    store: str,
    key_file: Path,
    subject: str,
    master_files: tuple[Path, ...],
    reason: str | None,
    keys_store: str | None,
    volume_age: float | None,
    dry_run: bool,
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """Destroy the keys that open a subject's data, on the record.

    A signed order goes into the site log first, then the keys are taken out of
    every key object that has them; given again, the command finishes what was
    interrupted, and finds what was still on its way the first time. A legal hold
    forbids it. The subject's own name is written nowhere.
    """
    masters = masters_in(master_files)
    writer = author(key_file)
    opened = for_command(store)
    whom = subject_in(subject, reason)
    run = EraseRun(
        opened,
        for_command(keys_store) if keys_store else opened,
        writer,
        {writer.key, *(str(key) for key in public_keys(trust))},
        tags_of(whom, masters),
    )
    run.require_free()
    now_us = time.time_ns() // 1000
    until_us = now_us + _journal_us(volume_age)
    if not dry_run:
        run.carry_out(reason, until_us)
    if as_json:
        click.echo(json.dumps(_to_json(run, dry_run, until_us, now_us)))
    else:
        _show(run, dry_run, until_us, now_us)
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


def _journal_us(volume_age_s: float | None) -> int:
    """How long a record may be on its way: its volume is closed, its batch shipped, the volume unlinked."""
    age_s = default("volume_age") if volume_age_s is None else volume_age_s
    return int((age_s + default("batch_age") + 2 * default("ship_timeout")) * 1_000_000)


def _settled_us(run: EraseRun, now_us: int) -> int | None:
    """Everything that was recorded before this time has been found and destroyed, if shipping kept up."""
    settled = [each.t_us for each in run.orders() if each.erase.journal_until_us <= now_us]
    return max(settled, default=None)


def _to_json(run: EraseRun, dry_run: bool, until_us: int, now_us: int) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "objects": [
            {"name": each.name, "batch": each.batch, "subject_key_ids": sorted(key.hex() for key in each.ids)}
            for each in run.found
        ],
        "entries": run.entries,
        "rewritten": run.rewritten,
        "journal_until_us": until_us,
        "settled_before_us": _settled_us(run, now_us),
        "earlier_orders": [each.index for each in run.orders() if each.index not in run.entries],
        "batches_without_keys": run.without_keys,
        "other_master_keys": run.search.other_masters,
        "unreadable": run.search.unreadable,
    }


def _show(run: EraseRun, dry_run: bool, until_us: int, now_us: int) -> None:
    keys = sum(len(each.ids) for each in run.found)
    if dry_run:
        for each in run.found:
            click.echo(each.name)
        click.echo(f"would destroy {keys} keys in {len(run.found)} key objects; nothing was changed")
        return
    if run.found:
        said = ", ".join(str(index) for index in run.entries) or "an earlier one, now finished"
        click.echo(f"destroyed {keys} keys in {len(run.found)} key objects; ordered by site log entry {said}")
    else:
        click.echo("no key of this subject is in the store")
    settled_us = _settled_us(run, now_us)
    if settled_us is not None:
        click.echo(f"everything of it that was recorded before {readable(settled_us)} is erased")
    if run.found or settled_us is None:
        click.echo(
            f"journals may hold older data of it until {readable(until_us)}, longer where the store "
            "is out of reach: give the command again after that"
        )
    if run.without_keys:
        click.echo(
            f"{run.without_keys} batches have no key object: nothing in them was looked for or erased "
            "(recorded without encryption)"
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
