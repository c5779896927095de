"""`sidecar hold` forbids what a court or regulator may ask for to be erased or removed, and ends the ban."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sidecar.archive.when import readable
from sidecar.audit.naming import RECORDS
from sidecar.erasure import MASTER, masters_in, subject_in
from sidecar.errors import LedgerError, UsageError
from sidecar.held import names_record
from sidecar.keyring import JSON, OPERATOR, STORE
from sidecar.objects import Store, for_command
from sidecar.shipping.parquet import path_safe
from sidecar.site.bodies import Hold, Release, to_json
from sidecar.site.erasures import Erasures
from sidecar.site.holds import Holds, Standing
from sidecar.site_log import author, open_site_log, public_keys
from sidecar.subject_keys import tags_of


@click.command()
@STORE
@click.option("--key", "key_file", type=click.Path(path_type=Path), metavar="FILE", help="Your private key.")
@click.option("--subject", metavar="TEXT", help="On a person; `-` reads it from standard input.")
@MASTER
@click.option("--model", metavar="NAME", help="On everything of a model.")
@click.option("--record", metavar="ID", help="On one record, and so on its batch.")
@click.option("--reason", metavar="TEXT", help="Why; shown to whoever is stopped by it.")
@click.option("--release", is_flag=True, help="End the holds on this subject, model or record.")
@click.option("--list", "listing", is_flag=True, help="Show the holds that stand.")
@OPERATOR
@JSON
def hold(
    store: str,
    key_file: Path | None,
    subject: str | None,
    master_files: tuple[Path, ...],
    model: str | None,
    record: str | None,
    reason: str | None,
    release: bool,
    listing: bool,
    operators: tuple[str, ...],
    as_json: bool,
) -> None:
    """Forbid erasing and removing what a court or regulator may ask for, until a release.

    A release counts where it is by the key that placed the hold, or by one that
    the command which was stopped is told to believe (`--operator`).
    """
    given = [each for each in (subject, model, record) if each is not None]
    if listing:
        if given or release:
            raise UsageError("hold --list: shows every hold: give nothing else")
        _list(store, operators, as_json)
        return
    if len(given) != 1:
        raise UsageError("hold: give one of --subject, --model and --record, or --list")
    if key_file is None or not reason:
        raise UsageError("hold: give --key FILE and --reason TEXT")
    wanted = _hold(subject, master_files, model, record, reason)
    (_release if release else _place)(store, key_file, wanted, operators, as_json)


def _hold(
    subject: str | None, master_files: tuple[Path, ...], model: str | None, record: str | None, reason: str
) -> Hold:
    if subject is not None:
        whom = subject_in(subject, reason)
        return Hold(scope="subject", tags=tags_of(whom, masters_in(master_files)), reason=reason)
    if master_files:
        raise UsageError("hold: --master-key is for --subject")
    if model is not None:
        return Hold(scope="model", model=model, reason=reason)
    if not names_record(str(record)):
        raise UsageError(f"--record {record!r}: is no record's id: copy it from `sidecar find`")
    return Hold(scope="record", record=record, reason=reason)


def _place(store: str, key_file: Path, wanted: Hold, operators: tuple[str, ...], as_json: bool) -> None:
    writer = author(key_file)
    opened = for_command(store)
    log = open_site_log(opened)
    reader = log.reader()
    orders = Erasures({writer.key, *(str(key) for key in public_keys(operators))})
    for entry in reader:
        orders.follow((entry,))
    entry = log.append(writer, "hold", to_json(wanted), reader)
    if wanted.model is not None and not _has_model(opened, wanted.model):
        click.echo(
            f"sidecar: model {wanted.model!r}: the store has no records of it, the hold stands all the same: "
            "see that the name is as `sidecar find` shows it",
            err=True,
        )
    tags = (wanted.tags or {}).items()
    erased = [each.index for each in orders.orders if each.erase.tags.items() & tags]
    if as_json:
        click.echo(json.dumps({"hold": entry.index, "object": entry.name, "already_erased_by": erased}))
        return
    click.echo(f"hold {entry.index} placed")
    if erased:
        click.echo(f"note: data of this subject was erased before, by entry {erased[-1]}")


def _has_model(store: Store, model: str) -> bool:
    return any(
        folder.rstrip("/") == f"{RECORDS}model={path_safe(model)}" for folder in store.folders(RECORDS)
    )


def _release(store: str, key_file: Path, wanted: Hold, operators: tuple[str, ...], as_json: bool) -> None:
    writer = author(key_file)
    log = open_site_log(for_command(store))
    reader = log.reader()
    authors = {writer.key, *(str(key) for key in public_keys(operators))}
    holds = Holds(authors)
    for entry in reader:
        holds.follow((entry,))
    matching = [each for each in holds.standing() if _same(each.hold, wanted)]
    if not matching:
        raise LedgerError("no such hold stands: `sidecar hold --list` shows those that do")
    body = Release(holds=[each.index for each in matching], reason=wanted.reason)
    entry = log.append(writer, "release", to_json(body), reader)
    others = sorted({each.key for each in matching if each.key != writer.key})
    if as_json:
        click.echo(json.dumps({"release": entry.index, "holds": body.holds, "placed_by_others": others}))
        return
    click.echo(f"released {', '.join(str(index) for index in body.holds)} in entry {entry.index}")
    for key in others:
        click.echo(f"placed by {key}: this release counts only where your key is believed (--operator)")


def _same(one: Hold, other: Hold) -> bool:
    if one.scope != other.scope:
        return False
    if one.scope == "subject":
        return bool((one.tags or {}).items() & (other.tags or {}).items())
    return (one.model, one.record) == (other.model, other.record)


def _list(store: str, operators: tuple[str, ...], as_json: bool) -> None:
    holds = Holds([str(key) for key in public_keys(operators)])
    for entry in open_site_log(for_command(store)).reader():
        holds.follow((entry,))
    for each in holds.standing():
        click.echo(json.dumps(_described(each)) if as_json else f"{readable(each.t_us)}  {each}")


def _described(standing: Standing) -> dict[str, Any]:
    return {
        "hold": standing.index,
        "t_us": standing.t_us,
        "key": standing.key,
        **to_json(standing.hold),
    }
