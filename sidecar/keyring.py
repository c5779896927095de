"""`sidecar keys`: make keys, show those of a file or of a store's logs, say which pods should have a log."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from sidecar.archive.commands import Moment
from sidecar.batches import by_log, metadata
from sidecar.errors import LedgerError, StoreError, UsageError
from sidecar.ledger.cosignature import CosignerKey
from sidecar.ledger.enrolment import check
from sidecar.ledger.note import SigningKey, VerifierKey
from sidecar.ledger.origin import Place
from sidecar.ledger.origin import parse as parse_origin
from sidecar.objects import Store, for_command
from sidecar.site.bodies import Enrolment, to_json
from sidecar.site.enrolled import enrolled
from sidecar.site_log import author, open_site_log, private_key, public_keys

STORE = click.option("--store", required=True, envvar="SIDECAR_STORE", metavar="URL", help="The store.")
KEY = click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your private key, by which the entry is signed (`sidecar keys new`).",
)
TRUST = click.option(
    "--trust",
    "trust",
    multiple=True,
    metavar="KEY",
    help="A key that certifies the keys of logs, or a file of them; may be given several times.",
)


class _AlsoTrust(click.Option):
    """Still understands `--trust`, which it was called, and shows its own name alone."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace("--operator, --trust", "--operator"), record[1])


OPERATOR = click.option(
    "--operator",
    "--trust",
    "operators",
    cls=_AlsoTrust,
    multiple=True,
    metavar="KEY",
    help="A key whose site log entries are believed, or a file of them; may be given several times.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group()
def keys() -> None:
    """Make keys, show keys, and enrol pods."""


@keys.command()
@click.option("--name", required=True, metavar="NAME", help="What the key goes by, without spaces and +.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A new file.")
@JSON
def new(name: str, out: Path, as_json: bool) -> None:
    """Make a key for an operator, a witness or the enrolment of pods, and print its public half."""
    try:
        key = SigningKey.generate(name)
        text = key.private_text()
    except LedgerError as error:
        raise UsageError(str(error)) from error
    _write_private(out, text + "\n")
    if as_json:
        click.echo(json.dumps({"file": str(out), **_described(key.verifier)}))
    else:
        click.echo(str(key.verifier))


@keys.command()
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option("--store", envvar="SIDECAR_STORE", metavar="URL", help="Show the keys of a store's logs.")
@click.option("--witness", is_flag=True, help="Print the form in which the key of a file cosigns.")
@TRUST
@click.option(
    "--operator",
    "operators",
    multiple=True,
    metavar="KEY",
    help="A key whose enrolments of pods are believed, or a file of them.  [default: any]",
)
@JSON
def show(
    file: Path | None,
    store: str | None,
    witness: bool,
    trust: tuple[str, ...],
    operators: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the public half of a key file; or, with --store, every log's key and who enrolled it."""
    if file is not None:
        _show_file(file, witness, as_json)
    elif store:
        _show_store(for_command(store), public_keys(trust), public_keys(operators), as_json)
    else:
        raise UsageError("keys show: give the file of a private key, or --store URL")


@keys.command()
@STORE
@KEY
@click.option("--pod", "pod_uid", required=True, metavar="UID", help="The pod's uid.")
@click.option("--cluster", default="", metavar="NAME", help="As the sidecar's own setting.")
@click.option("--namespace", default="", metavar="NAME", help="The pod's namespace.")
@click.option("--workload", default="", metavar="NAME", help="The deployment or other owner of the pod.")
@click.option("--digest", metavar="DIGEST", help="Image digest that the pod should run.")
@click.option("--public-key", metavar="KEY", help="The enrolment key that certifies the pod's boots.")
@click.option("--since", type=Moment(), metavar="TIME", help="When its log should begin.  [default: now]")
@click.option("--retire", is_flag=True, help="The pod is gone: its log may end here.")
@JSON
def enrol(
    store: str,
    key_file: Path,
    pod_uid: str,
    cluster: str,
    namespace: str,
    workload: str,
    digest: str | None,
    public_key: str | None,
    since: int | None,
    retire: bool,
    as_json: bool,
) -> None:
    """Write into the site log that a pod should have a log: `verify` then misses it when there is none."""
    place = Place(cluster, namespace, workload, pod_uid)
    certifier = public_keys([public_key])[0] if public_key else None
    writer = author(key_file)
    log = open_site_log(for_command(store))
    reader = log.reader()
    before = enrolled(reader, {writer.key}).get(place.prefix)
    now_us = time.time_ns() // 1000
    if retire and before is None:
        raise UsageError(f"pod {place.prefix}: this key never enrolled it: give the same names as then")
    known = before if retire else None
    body = Enrolment(
        prefix=place.prefix,
        cluster=cluster,
        namespace=namespace,
        workload=workload,
        pod_uid=pod_uid,
        digest=digest or (known.digest if known else None),
        public_key=str(certifier) if certifier else (known.public_key if known else None),
        since_us=known.since_us if known else since if since is not None else now_us,
        retired_us=(since if since is not None else now_us) if retire else None,
    )
    entry = log.append(writer, "enrolment", to_json(body), reader)
    if as_json:
        click.echo(json.dumps({"entry": entry.index, "object": entry.name, **to_json(body)}))
    else:
        click.echo(f"{place.prefix}: {'retired' if retire else 'enrolled'} in entry {entry.index}")


def _write_private(path: Path, text: str) -> None:
    """A new file that only its owner reads. Raises UsageError when there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"key {path}: exists, and keys are not overwritten: give another --out") from None
    except OSError as error:
        raise UsageError(f"key {path}: {error.strerror}: give a folder that can be written") from error
    try:
        with os.fdopen(descriptor, "w") as file:
            # Whatever the umask or a default ACL of the folder says.
            os.fchmod(descriptor, 0o600)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"key {path}: {error.strerror}: give a folder that can be written") from error


def _described(key: VerifierKey) -> dict[str, str]:
    return {"name": key.name, "public_key": str(key), "cosigner_key": str(CosignerKey.of(key))}


def _show_file(path: Path, witness: bool, as_json: bool) -> None:
    key = private_key(path).verifier
    if as_json:
        click.echo(json.dumps(_described(key)))
        return
    # A line that `--trust`, `--operator` or `--witness` takes, and nothing else: it is put into files.
    click.echo(str(CosignerKey.of(key) if witness else key))


def _show_store(
    store: Store, trusted: list[VerifierKey], operators: list[VerifierKey], as_json: bool
) -> None:
    pods = enrolled(open_site_log(store).reader(), {str(key) for key in operators} or None)
    unreadable = 0
    for origin, batches in sorted(by_log(store).items()):
        try:
            row = _log_key(origin, metadata(store, batches[0].name), trusted)
        except StoreError as error:
            click.echo(f"sidecar: {error}", err=True)
            unreadable += 1
            continue
        row["enrolled"] = _prefix(origin) in pods
        if as_json:
            click.echo(json.dumps(row))
        else:
            in_log = "in the site log" if row["enrolled"] else "not in the site log"
            click.echo(f"{origin}  {row['key']}  {row['certified']}, {in_log}")
    if unreadable:
        raise StoreError(f"{unreadable} logs of {store.description} could not be read, named above")


def _prefix(origin: str) -> str | None:
    try:
        return parse_origin(origin).prefix
    except LedgerError:
        return None


def _log_key(origin: str, found: dict[str, Any], trusted: list[VerifierKey]) -> dict[str, Any]:
    """The log's key as its batch names it, and whether an enrolment key certified it."""
    text, note = str(found.get("public_key")), found.get("enrolment")
    row: dict[str, Any] = {"origin": origin, "key": text, "certified": "self-signed", "by": None}
    if note is None:
        return row
    if not trusted:
        row["certified"] = "certified by a key that was not given with --trust"
        return row
    try:
        key = VerifierKey.parse(text)
        row["by"] = check(str(note), trusted, origin, key.public_key).name
        row["certified"] = f"certified by {row['by']}"
    except LedgerError as error:
        row["certified"] = f"not certified ({error})"
    return row
