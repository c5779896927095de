"""Glue for `sidecar verify` and `sidecar prove`: options in, reports and receipts out.

Exit codes: 0 intact, 1 not intact or not to be read, 2 a wrong command line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
import orjson
from click.core import ParameterSource

from sidecar.archive import when
from sidecar.archive.catalog import RecordId
from sidecar.audit import text
from sidecar.audit.html import page
from sidecar.audit.inventory import Selection
from sidecar.audit.prove import prove as prove_record
from sidecar.audit.report import StoreReport, parse_site_head
from sidecar.audit.resume import Progress
from sidecar.audit.trust import Trust, read_trust
from sidecar.audit.verify import Advance, Job
from sidecar.audit.verify import verify as verify_store
from sidecar.errors import LedgerError, StoreError, UsageError
from sidecar.ledger import receipt as receipts
from sidecar.objects import Store, command_options, for_command
from sidecar.privacy.master import read_master_key
from sidecar.shipping.parquet import path_safe
from sidecar.site.log import Head
from sidecar.timestamping import roots, stamped_at

__all__ = ["prove", "verify"]

_OF_STORES = (
    *("store", "model", "since", "until", "master_key", "keys_store"),
    *("tsa_root", "site_head", "jobs", "html", "resume"),
)
"""Parameters that mean nothing for a receipt."""
_COLORS = {"good": "green", "bad": "red", "warn": "yellow"}


@click.command()
@click.option(
    "--store", envvar="SIDECAR_STORE", metavar="URL", help="The store: a directory or a bucket's URL."
)
@click.option(
    "--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Check this receipt, offline."
)
@click.option("--model", metavar="NAME", help="Only logs with records of this model.")
@click.option("--since", metavar="TIME", help="Only logs with records of this day or later.")
@click.option("--until", metavar="TIME", help="Only logs with records of this day or earlier.")
@click.option(
    "--trust",
    multiple=True,
    metavar="KEY",
    help="An enrolment key that may certify the keys of logs; file or text.",
)
@click.option(
    "--operator",
    multiple=True,
    metavar="KEY",
    help="A key whose entries in the site log count (enrolments, erasures, retention); file or text.",
)
@click.option("--witness", multiple=True, metavar="KEY", help="A trusted witness's key; file or text.")
@click.option(
    "--master-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Master key of the subject keys: also open every key and check what it was sealed to.",
)
@click.option("--keys-store", metavar="URL", help="Where the key objects are, if not in the store.")
@click.option(
    "--tsa-root",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Root certificates (PEM) of time stamp authorities: also check the site log's time stamps.",
)
@click.option(
    "--site-head",
    metavar="N:SHA256",
    help="How far an earlier report saw the site log: it must still begin so.",
)
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes. [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a report to file.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep what was done in this file, and go on from it.",
)
def verify(
    store: str | None,
    receipt: Path | None,
    model: str | None,
    since: str | None,
    until: str | None,
    trust: tuple[str, ...],
    operator: tuple[str, ...],
    witness: tuple[str, ...],
    master_key: Path | None,
    keys_store: str | None,
    tsa_root: Path | None,
    site_head: str | None,
    jobs: int | None,
    as_json: bool,
    html: Path | None,
    resume: Path | None,
) -> None:
    """Recompute every log of a store, or check one receipt, and say what is intact."""
    trusted = read_trust(trust, witness, operator)
    if receipt is not None:
        _alone()
        sys.exit(_check_receipt(receipt, trusted, as_json))
    if store is None:
        raise UsageError("verify: nothing to verify: give --store URL or --receipt FILE")
    now_us = time.time_ns() // 1000
    selection = Selection(path_safe(model) if model else None, _day(since, now_us), _day(until, now_us))
    master = read_master_key(master_key) if master_key is not None else None
    keys = _keys_store(keys_store) if keys_store is not None else None
    processes = jobs or len(os.sched_getaffinity(0))
    # A plain copy of the environment: what goes to other processes must be one that can be sent.
    given = command_options()
    options = replace(given, environment=dict(given.environment or {}))
    stamps = partial(stamped_at, trusted=roots(tsa_root)) if tsa_root is not None else None
    job = Job(store, options, trusted, selection, processes, now_us, master, keys, stamps, _head(site_head))
    state = Progress(resume) if resume is not None else None
    try:
        with _bar() as advance:
            report = verify_store(for_command(store), job, state, advance)
    finally:
        if state is not None:
            state.close()
    # What took minutes to find is shown whatever becomes of the page.
    if as_json:
        click.echo(orjson.dumps(report.to_json()).decode())
    else:
        _show(report)
    if html is not None:
        _write(html, page(report))
    sys.exit(report.exit_code)


@click.command()
@click.argument("record_id")
@click.option("--store", required=True, envvar="SIDECAR_STORE", metavar="URL", help="The store.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it. [default: stdout]",
)
def prove(record_id: str, store: str, output: Path | None) -> None:
    """Write a receipt of one record that anyone can check offline."""
    RecordId.parse(record_id)
    made = receipts.write(prove_record(for_command(store), record_id))
    if output is None:
        click.echo(made, nl=False)
    else:
        _write(output, made)


def _alone() -> None:
    """Raise UsageError when the command line names, beside a receipt, what concerns a store alone."""
    context = click.get_current_context()
    for name in _OF_STORES:
        # A store that only the environment names is not asked for here.
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"verify: --receipt is checked without a store: leave {option} out")


def _keys_store(url: str) -> Store:
    """The store of the key objects, which can be listed; else every log would report its absence."""
    opened = for_command(url)
    try:
        next(iter(opened.list("subjects/")), None)
    except StoreError as error:
        raise StoreError(f"--keys-store: {error}") from error
    return opened


def _show(report: StoreReport) -> None:
    for style, line in text.lines(report):
        click.secho(line, fg=_COLORS.get(style), dim=style == "dim" or None)


def _check_receipt(path: Path, trust: Trust, as_json: bool) -> int:
    try:
        found = receipts.parse(path.read_text())
    except OSError as error:
        raise StoreError(
            f"receipt {path}: cannot be read: {error.strerror}: give a file that `prove` wrote"
        ) from error
    except UnicodeDecodeError as error:
        raise StoreError(f"receipt {path}: is no text: give a file that `prove` wrote") from error
    except LedgerError as error:
        raise LedgerError(f"receipt {path}: {str(error).removeprefix('receipt: ')}") from error
    verdict = receipts.verify(found, trust.keys, trust.witnesses)
    record_id = str(found.record["record_id"])
    if as_json:
        steps = [{"step": each.step, "passed": each.passed, "text": each.text} for each in verdict.findings]
        document = {
            "record": record_id,
            "ok": verdict.ok,
            "enrolled": verdict.enrolled,
            "steps": steps,
        }
        click.echo(orjson.dumps(document).decode())
        return 0 if verdict.ok else 1
    click.echo(f"record      {record_id}")
    click.echo(f"log         {found.public_key.name}")
    for each in verdict.findings:
        word = {True: "ok", False: "FAILED", None: "not checked"}[each.passed]
        color = {True: "green", False: "red", None: "yellow"}[each.passed]
        click.secho(f"{each.step:<11} {word}: {each.text}", fg=color)
    if not verdict.ok:
        click.secho("NOT PROVEN: the receipt does not hold", fg="red")
    elif verdict.enrolled:
        click.secho("proven: the record is as it was sealed under a trusted key", fg="green")
    else:
        click.secho("proven under the log's own key, which no trusted key vouches for (--trust)", fg="yellow")
    return 0 if verdict.ok else 1


def _head(given: str | None) -> Head | None:
    try:
        return None if given is None else parse_site_head(given)
    except ValueError as error:
        raise UsageError(f"verify: --site-head {given!r} {error}") from error


def _day(moment: str | None, now_us: int) -> str | None:
    """The UTC day of a time as people write it."""
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(when.parse(moment, now_us) // 1_000_000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"verify: {error}") from error


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: give a path that can be written") from error


@contextmanager
def _bar() -> Iterator[Advance]:
    """A progress bar on stderr when that is a terminal and rich is installed; else nothing is shown."""
    progress: Callable[[int, int], None] = _silent
    if not sys.stderr.isatty():
        yield progress
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield progress
        return
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verify", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or 1)

        yield advance


def _silent(done: int, total: int) -> None:
    """No terminal, no bar."""
