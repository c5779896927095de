"""`sidecar find` and `sidecar show`, as click commands.

Exit codes, given by the command line's entry point for the errors raised here:
0 found (or nothing to find), 1 a file or record that cannot be read, 2 a wrong
command line. Unreadable files are named on stderr and the rest goes on.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import click
import orjson

from sidecar.archive import text, when
from sidecar.archive.find import Query
from sidecar.archive.find import find as find_records
from sidecar.archive.show import as_json, load
from sidecar.errors import StoreError

KINDS = ("exchange", "gap", "delivery", "event")

STORE = click.option(
    "--store",
    required=True,
    envvar="SIDECAR_STORE",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory of records.",
)
JSON = click.option("--json", "as_lines", is_flag=True, help="JSON instead of text.")


class _Moment(click.ParamType):  # type: ignore[type-arg]
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return when.parse(str(value), time.time_ns() // 1000)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Problems:
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


@click.command()
@STORE
@click.option("--model", metavar="NAME", help="Only of this model.")
@click.option("--since", type=_Moment(), help="At or after: ISO 8601, epoch seconds, or an age such as 2h.")
@click.option("--until", type=_Moment(), help="Before.")
@click.option("--status", type=click.IntRange(100, 999), metavar="N", help="Only answers with this status.")
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
@JSON
def find(
    store: Path,
    model: str | None,
    since: int | None,
    until: int | None,
    status: int | None,
    kinds: tuple[str, ...],
    limit: int,
    as_lines: bool,
) -> None:
    """List records, newest first."""
    wanted = frozenset(KINDS) if "all" in kinds else frozenset(kinds)
    query = Query(wanted, model, status, since, until, limit)
    problems = _Problems()
    out = sys.stdout
    # A pipe gets whole lines, a terminal what fits on one.
    width = shutil.get_terminal_size().columns if out.isatty() else None

    count = 0
    for row in find_records(store, query, problems):
        if as_lines:
            out.write(orjson.dumps(row).decode() + "\n")
        else:
            if count == 0:
                click.secho(text.header()[:width], bold=True)
            click.echo(text.line(row, width))
        count += 1
    out.flush()
    if count == 0 and not as_lines:
        click.echo("no records found", err=True)
    elif count == limit and not as_lines:
        click.echo(f"the newest {limit}; --limit shows more", err=True)
    problems.leave()


def show_command(opened: text.Opener) -> click.Command:
    """`show` with the given way to take a body's content coding off (decoding is another stage's)."""

    @click.command("show")
    @click.argument("record_id")
    @STORE
    @JSON
    def show(record_id: str, store: Path, as_lines: bool) -> None:
        """Print one record whole: times, identity, request and response."""
        problems = _Problems()

        row, followers = load(store, record_id, problems)
        if as_lines:
            sys.stdout.write(orjson.dumps(as_json(row, followers)).decode() + "\n")
        else:
            for each in text.whole(row, followers, opened):
                click.echo(each)
        sys.stdout.flush()
        problems.leave()

    return show
