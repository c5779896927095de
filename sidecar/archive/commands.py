"""`sidecar find` and `sidecar show`, as click commands.

Exit codes, given by the command line's entry point for the errors raised here:
0 found (or nothing to find), 1 a file or record that cannot be read, 2 a wrong
command line. Unreadable files are named on stderr and the rest goes on.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson

from sidecar.archive import text, when
from sidecar.archive.drift import drifted_spans
from sidecar.archive.find import find as find_records
from sidecar.archive.query import Query
from sidecar.archive.show import Shown, as_json, load
from sidecar.archive.source import Source
from sidecar.errors import StoreError, UsageError

KINDS = (
    *("exchange", "gap", "delivery", "event"),
    *("genesis", "config", "identity", "heartbeat", "batch", "close"),
)

OpenSource = Callable[[str], Source]
"""The store at a path or URL."""
Decrypt = Callable[[Source, Shown, Path], None]
"""Puts plain bodies in place of an encrypted record's, with the master key in the file."""
Hasher = Callable[[Path], Callable[[str], str]]
"""What a business key is stored as under the hash key in the file."""

LOOKED_AT = 20
"""Records in which it is looked how keys are stored, when none was found."""
_HASHED = re.compile(r"[0-9a-f]{64}")

STORE = click.option(
    "--store",
    required=True,
    envvar="SIDECAR_STORE",
    metavar="URL",
    help="The store: a directory or a bucket's URL.",
)
JSON = click.option("--json", "as_lines", is_flag=True, help="JSON instead of text.")


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A point in time, as microseconds since 1970."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return when.parse(str(value), time.time_ns() // 1000)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Key(click.ParamType):  # type: ignore[type-arg]
    name = "NAME=VALUE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, wanted = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not NAME=VALUE, for example applicant=A-17", param, ctx)
        return name, wanted


class Problems:
    """Names each unreadable file once on stderr and counts them."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, error: StoreError) -> None:
        if str(error) not in self._seen:
            self._seen.add(str(error))
            click.echo(f"sidecar: {error}", err=True)

    def leave(self) -> None:
        """Raises StoreError with the count if anything could not be read."""
        if self._seen:
            count = len(self._seen)
            plural = "file" if count == 1 else "files"
            raise StoreError(f"{count} {plural} of the store could not be read, named above: restore them")


def find_command(open_source: OpenSource, hasher: Hasher) -> click.Command:
    """`find` over the stores that `open_source` opens; `hasher` reads the file of a hash key."""

    @click.command("find")
    @STORE
    @click.option("--model", metavar="NAME", help="Only of this model.")
    @click.option(
        "--digest", metavar="DIGEST", help="Only of this image or artifact digest, or its beginning."
    )
    @click.option(
        "--since", type=Moment(), help="At or after: ISO 8601, epoch seconds, or an age such as 2h."
    )
    @click.option("--until", type=Moment(), help="Before.")
    @click.option(
        "--status", type=click.IntRange(100, 999), metavar="N", help="Only answers with this status."
    )
    @click.option(
        "--outcome", metavar="OUTCOME", help="Only exchanges that ended so: complete, client_abort …"
    )
    @click.option("--decision", metavar="VALUE", help="Only answers whose decision is this.")
    @click.option(
        "--path", metavar="PATH", help="Only requests to this path; a star at its end: paths so begun."
    )
    @click.option(
        "--key",
        "keys",
        type=_Key(),
        multiple=True,
        help="Only with this business key. Repeatable: all of them.",
    )
    @click.option(
        "--hash-key",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The sidecars' hash key, where keys are stored as HMACs.",
    )
    @click.option("--where", metavar="SQL", help="An SQL predicate over the columns (needs DuckDB).")
    @click.option("--drifted", is_flag=True, help="Only inside the drifted spans that the store lists.")
    @click.option(
        "--kind",
        "kinds",
        type=click.Choice((*KINDS, "all")),
        multiple=True,
        default=("exchange",),
        show_default=True,
        help="What to list.",
    )
    @click.option(
        "--limit",
        type=click.IntRange(0),
        default=50,
        show_default=True,
        metavar="N",
        help="At most so many; 0: all.",
    )
    @click.option("--explain", is_flag=True, help="Say on stderr what was read for the answer.")
    @JSON
    def find(
        store: str, hash_key: Path | None, drifted: bool, explain: bool, as_lines: bool, **wanted: Any
    ) -> None:
        """List records, newest first."""
        if hash_key is not None:
            if not wanted["keys"]:
                raise UsageError("find: --hash-key is for --key NAME=VALUE")
            stored = hasher(hash_key)
            wanted["keys"] = tuple((name, stored(value)) for name, value in wanted["keys"])
        source = open_source(store)
        query = _query(source, drifted, **wanted)
        problems = Problems()
        count = _print(source, query, problems, as_lines)
        if count == 0 and not as_lines:
            click.echo("no records found" + _hint(source, query, hash_key is not None, problems), err=True)
        elif count == query.limit and not as_lines:
            click.echo(f"the newest {query.limit}; --limit shows more", err=True)
        if explain:
            for each in source.account.lines():
                click.echo(each, err=True)
        problems.leave()

    return find


def _hint(source: Source, query: Query, hashed: bool, problems: Problems) -> str:
    """What may be wrong with the keys that were looked for, in words."""
    if not query.keys or (not hashed and all(_HASHED.fullmatch(value) for _, value in query.keys)):
        return ""
    names = {name for name, _ in query.keys}
    rows = find_records(source, replace(query, keys=(), limit=LOOKED_AT), problems)
    stored = [value for row in rows for name, value in dict(row["keys"] or {}).items() if name in names]
    if stored and not hashed and all(_HASHED.fullmatch(value) for value in stored):
        return "; keys are stored as HMACs here: give the sidecars' hash key with --hash-key FILE"
    if stored and hashed and not any(_HASHED.fullmatch(value) for value in stored):
        return "; keys are stored as they are here: leave --hash-key out"
    return ""


def _query(
    source: Source,
    drifted: bool,
    kinds: tuple[str, ...],
    since: int | None,
    until: int | None,
    **others: Any,
) -> Query:
    return Query(
        frozenset(KINDS) if "all" in kinds else frozenset(kinds),
        since_us=since,
        until_us=until,
        spans=drifted_spans(source) if drifted else None,
        **others,
    )


def _print(source: Source, query: Query, problems: Problems, as_lines: bool) -> int:
    out = sys.stdout
    # A pipe gets whole lines, a terminal what fits on one.
    width = shutil.get_terminal_size().columns if out.isatty() else None
    count = 0
    for row in find_records(source, query, problems):
        if as_lines:
            out.write(orjson.dumps(row).decode() + "\n")
        else:
            if count == 0:
                click.secho(text.header()[:width], bold=True)
            click.echo(text.line(row, width))
        count += 1
    out.flush()
    return count


def show_command(open_source: OpenSource, opened: text.Opener, decrypt: Decrypt) -> click.Command:
    """`show` with the given ways to open stores, content codings and encrypted bodies."""

    @click.command("show")
    @click.argument("record_id")
    @STORE
    @click.option(
        "--master-key",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Opens encrypted bodies.",
    )
    @JSON
    def show(record_id: str, store: str, master_key: Path | None, as_lines: bool) -> None:
        """Print one record whole: times, identity, request and response."""
        problems = Problems()
        source = open_source(store)
        shown = load(source, record_id, problems)
        if master_key is not None and shown.encrypted:
            decrypt(source, shown, master_key)
        if as_lines:
            sys.stdout.write(orjson.dumps(as_json(shown)).decode() + "\n")
        else:
            for each in text.whole(shown, opened):
                click.echo(each)
        sys.stdout.flush()
        problems.leave()

    return show
