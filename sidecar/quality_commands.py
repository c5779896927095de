"""`sidecar schema infer`, `check` and `import`: rules for the data that a model is sent and gives."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from sidecar.archive.commands import Moment, Problems
from sidecar.archive.query import Query
from sidecar.archive.text import safe
from sidecar.errors import SidecarError, UsageError
from sidecar.keyring import JSON
from sidecar.lookup import open_source
from sidecar.quality.checker import Checker
from sidecar.quality.expectations import MAX_BYTES, read_suite
from sidecar.quality.infer import Inference, percent
from sidecar.quality.revise import revise
from sidecar.quality.rules import Schema
from sidecar.quality.schema_text import write_schema
from sidecar.quality_rows import Part, file_parts, store_parts
from sidecar.quality_rules import read_schema
from sidecar.statistics.rule_tally import LAST
from sidecar.table_file import Advance

MOST_EXCHANGES = 1_000_000

HEADING = (
    "Data-quality rules: what the fields of a model's exchanges may hold.",
    "Edit them freely; `sidecar schema check` and the setting `schema_file` read this file.",
    "",
)

_FROM_STORE = (
    click.option("--store", envvar="SIDECAR_STORE", metavar="URL", help="Or a store of records."),
    click.option("--model", metavar="NAME", help="Of the store: this model."),
    click.option("--digest", metavar="DIGEST", help="Of the store: this digest, or its beginning."),
    click.option("--since", type=Moment(), help="Of the store: at or after, a time or an age such as 7d."),
    click.option("--until", type=Moment(), help="Of the store: before."),
    click.option(
        "--limit",
        type=click.IntRange(1),
        default=MOST_EXCHANGES,
        show_default=True,
        metavar="N",
        help="Of the store: exchanges at most, newest days first.",
    ),
)
_OUTPUTS = click.option(
    "--outputs", metavar="NAMES", help="Of the file: columns that are the model's answers, with commas."
)
_OUT = click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("schema.yaml"),
    show_default=True,
    metavar="FILE",
    help="Where to write the schema.",
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Write over a schema that is there.")


def _from_store(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FROM_STORE):
        command = option(command)
    return command


@click.group()
def schema() -> None:
    """Infer data-quality rules, and check data against them."""


@schema.command()
@click.option("--from", "file", type=click.Path(path_type=Path), metavar="FILE", help="CSV or Parquet file.")
@_from_store
@_OUTPUTS
@click.option("--drop", metavar="NAMES", help="Of the file: columns to leave out, with commas.")
@_OUT
@click.option(
    "--update", is_flag=True, help="Keep the rules of the file that is there as far as the rows keep them."
)
@_OVERWRITE
@JSON
def infer(out: Path, update: bool, overwrite: bool, as_json: bool, **told: Any) -> None:
    """Write down the rules that a training file or a span of a store keeps."""
    old = _old(out, update, overwrite)
    inference = Inference()
    checker = None if old is None else Checker(old)
    counts = [[0, 0] for _ in checker.rules] if checker else []
    with _reading("reading", told) as parts:
        for part in parts(None if old is None else _typed_as(old, told)):
            inference.add(part.batch, part.paths)
            for count, verdict in zip(counts, checker.check(part.batch) if checker else (), strict=True):
                count[0] += len(verdict.violated)
                count[1] += verdict.checked
    if not inference.rows:
        raise UsageError("schema: there are no rows to infer rules from: give a file or a span that has some")
    made, report = inference.schema(), {"file": str(out), "rows": inference.rows}
    if old is not None and checker is not None:
        broken = {
            rule.name
            for rule, (bad, checked) in zip(checker.rules, counts, strict=True)
            if bad > rule.allowed * checked
        }
        revision = revise(old, broken, made)
        made = revision.schema
        report |= {"changed": revision.changed, "dropped": revision.dropped, "added": revision.added}
    report |= {"fields": len(made.fields), "rules": made.rules}
    _write(out, write_schema(made, HEADING, inference.notes))
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"{out}: {made.rules:,} rules for {len(made.fields):,} fields, from {inference.rows:,} rows")
    if inference.left_out:
        click.echo(f"sidecar: {inference.left_out:,} further fields have no rules", err=True)
    for word in ("changed", "dropped", "added"):
        for name in report.get(word, ()):  # type: ignore[attr-defined]
            click.echo(f"{word:<9} {safe(name)}")


def _old(out: Path, update: bool, overwrite: bool) -> Schema | None:
    """The schema that is to be brought up to date, if any."""
    if update and overwrite:
        raise UsageError("schema: give either --update or --overwrite")
    if update:
        return read_schema(out)
    if out.exists() and not overwrite:
        raise UsageError(
            f"--out: {out} is there already: give --update to keep what holds of it, or --overwrite"
        )
    return None


def _typed_as(old: Schema, told: dict[str, Any]) -> Schema | None:
    """Columns of a file keep the types that the schema has for them."""
    return old if told["file"] is not None else None


@schema.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@_from_store
@click.option(
    "--schema",
    "rules",
    type=click.Path(path_type=Path),
    required=True,
    envvar="SIDECAR_SCHEMA_FILE",
    metavar="FILE",
    help="The schema.",
)
@_OUTPUTS
@JSON
def check(rules: Path, as_json: bool, **told: Any) -> None:
    """Check a file, or a span of a store, against a schema; exit code 1 if a rule is violated."""
    wanted = read_schema(rules)
    report = _Report(wanted)
    with _reading("checking", told | {"drop": None}) as parts:
        for part in parts(wanted):
            report.add(part)
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        for line in report.lines():
            click.echo(line)
    sys.stdout.flush()
    violated = sum(each["violated"] for each in report.rows())
    if violated:
        rule = "rule is" if violated == 1 else "rules are"
        raise SidecarError(f"{violated:,} {rule} violated by {_named(told)}: see the table, or mend {rules}")


class _Report:
    """What every rule says of all rows."""

    def __init__(self, wanted: Schema) -> None:
        self._wanted = wanted
        self._checker = Checker(wanted)
        self._counts = [[0, 0] for _ in self._checker.rules]
        self._last: list[list[str]] = [[] for _ in self._checker.rules]
        self._fields: set[str] = set()
        self._rows = 0

    def add(self, part: Part) -> None:
        self._rows += part.batch.size
        self._fields.update(part.paths)
        for count, last, verdict in zip(
            self._counts, self._last, self._checker.check(part.batch), strict=True
        ):
            count[0] += len(verdict.violated)
            count[1] += verdict.checked
            labels = [part.label(row) for row in verdict.violated[-LAST:].tolist()]
            last[:] = list(dict.fromkeys([*last, *labels]))[-LAST:]

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "rule": rule.name,
                "checked": checked,
                "broken": broken,
                "share": broken / checked if checked else None,
                "allowed": rule.allowed,
                "violated": broken > rule.allowed * checked,
                "last": last,
            }
            for rule, (broken, checked), last in zip(
                self._checker.rules, self._counts, self._last, strict=True
            )
        ]

    @property
    def unknown(self) -> list[str]:
        """Fields that the schema does not name."""
        return sorted(self._fields - set(self._wanted.paths))

    @property
    def absent(self) -> list[str]:
        """Fields of the schema that no row has."""
        named = [path for path in self._wanted.paths if not path.startswith("exchange.")]
        return [path for path in named if path not in self._fields]

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self._rows,
            "violated": any(each["violated"] for each in self.rows()),
            "rules": self.rows(),
            "fields_without_rules": self.unknown,
            "fields_absent": self.absent,
        }

    def lines(self) -> Iterator[str]:
        """A table: violated rules first, those that some rows break within what is allowed next."""
        yield f"{self._rows:,} rows, {len(self._counts):,} rules"
        found = self.rows()
        width = min(60, max((len(each["rule"]) for each in found), default=4))
        yield f"{'':<9} {'rule':<{width}} {'checked':>10} {'broken':>9} {'share':>9}  last"
        for each in sorted(found, key=lambda each: (not each["violated"], not each["broken"])):
            word = "VIOLATED" if each["violated"] else "allowed" if each["broken"] else "kept"
            share = percent(each["share"]) if each["broken"] else ""
            line = f"{word:<9} {safe(each['rule']):<{width}} {each['checked']:>10,} {each['broken']:>9,}"
            yield _fitting(f"{line} {share:>9}  {safe(', '.join(each['last']))}".rstrip())
        for words, names in (("no rule for", self.unknown), ("no row has", self.absent)):
            if names:
                yield f"{words} {safe(', '.join(names[:20]))}" + (" …" if len(names) > 20 else "")


def _fitting(line: str) -> str:
    """A terminal gets what fits on a line, a pipe all of it."""
    return line[: shutil.get_terminal_size().columns] if sys.stdout.isatty() else line


@schema.command("import")
@click.argument("suite", type=click.Path(path_type=Path))
@_OUTPUTS
@_OUT
@_OVERWRITE
@JSON
def import_(suite: Path, outputs: str | None, out: Path, overwrite: bool, as_json: bool) -> None:
    """Translate a suite of Great Expectations; what has no counterpart is listed."""
    _old(out, False, overwrite)
    try:
        with suite.open("rb") as file:
            imported = read_suite(file.read(MAX_BYTES + 1), _names(outputs))
    except OSError as error:
        raise UsageError(f"{suite}: {error.strerror}: give the JSON file of a suite") from error
    except ValueError as error:
        raise UsageError(f"{suite}: {error}") from error
    _write(out, write_schema(imported.schema, (*HEADING, f"Translated from {suite.name}.", "")))
    if as_json:
        left_out = [{"expectation": name, "reason": reason} for name, reason in imported.left_out]
        report = {"file": str(out), "translated": imported.translated, "rules": imported.schema.rules}
        click.echo(json.dumps(report | {"left_out": left_out, "notes": imported.notes}))
        return
    click.echo(f"{out}: {imported.translated:,} expectations became {imported.schema.rules:,} rules")
    for note in imported.notes:
        click.echo(f"note      {safe(note)}")
    for name, reason in imported.left_out:
        click.echo(f"left out  {safe(name)}: {safe(reason)}")


Reader = Callable[[Schema | None], Iterator[Part]]


@contextmanager
def _reading(word: str, told: dict[str, Any]) -> Iterator[Reader]:
    """What gives the rows of the file or the store that was asked for, with a bar on a terminal."""
    file, store = told["file"], told["store"]
    if file is not None and told["model"] is None:
        # The environment names a store for every command.
        store = None
    if (file is None) == (store is None):
        raise UsageError("schema: give either a file, or --store URL with --model NAME")
    problems = Problems()
    with _bar(word) as advance:
        if file is not None:

            def parts(wanted: Schema | None) -> Iterator[Part]:
                return file_parts(file, _names(told["outputs"]), _names(told["drop"]), wanted, advance)
        else:
            if told["model"] is None:
                raise UsageError("schema: --store needs --model NAME: a schema is of one model")
            source = open_source(store)
            query = Query(
                model=told["model"], digest=told["digest"], since_us=told["since"], until_us=told["until"]
            )

            def parts(wanted: Schema | None) -> Iterator[Part]:
                return store_parts(source, query, told["limit"], problems, advance)

        yield parts
    problems.leave()


def _named(told: dict[str, Any]) -> str:
    return str(told["file"] or f"model {told['model']} of the store")


def _names(text: str | None) -> Sequence[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _write(path: Path, content: str) -> None:
    try:
        part = path.with_name(path.name + ".part")
        part.write_text(content, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise SidecarError(f"{path}: {error.strerror}: give a folder that can be written to") from error


@contextmanager
def _bar(word: str) -> Iterator[Advance]:
    """A progress bar on stderr when that is a terminal and rich is installed; else nothing is shown."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar
        except ImportError:
            pass
        else:
            columns = (TextColumn(word), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(word, total=None)
                yield lambda done, total: bar.update(task, completed=done, total=total or None)
            return
    yield lambda done, total: None
