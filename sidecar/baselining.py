"""`sidecar baseline create`, `show` and `diff`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from sidecar.archive.commands import Moment, Problems
from sidecar.archive.observed import observed
from sidecar.archive.query import Query
from sidecar.archive.text import safe
from sidecar.archive.when import readable
from sidecar.errors import SidecarError, UsageError
from sidecar.hourly_baselines import SomePanes, check_pane, check_size, check_times, thin_hours
from sidecar.keyring import JSON
from sidecar.lookup import open_source
from sidecar.records import Sample
from sidecar.settings_values import parse_duration
from sidecar.statistics.baseline import INVALID, MISSING, TAIL, Baseline, FieldBaseline
from sidecar.statistics.comparison import compare
from sidecar.statistics.founding import Side, found_baseline
from sidecar.statistics.hours import HOURS
from sidecar.statistics.slices import fields_by_path
from sidecar.statistics.timestamps import UNITS, parsed
from sidecar.statistics.warmup import Columns, Warmup
from sidecar.table_file import whole_table

SHOWN = 3
MOST_EXCHANGES = 100_000


@click.group()
def baseline() -> None:
    """Make and look at baselines: what normal traffic looks like."""


@baseline.command()
@click.option("--from", "file", type=click.Path(path_type=Path), metavar="FILE", help="CSV or Parquet file.")
@click.option("--store", envvar="SIDECAR_STORE", metavar="URL", help="Or a store of records.")
@click.option("--model", metavar="NAME", help="Of the store: this model.")
@click.option(
    "--digest", metavar="DIGEST", help="Of the store: this image or artifact digest, or its beginning."
)
@click.option("--since", type=Moment(), help="Of the store: at or after, a time or an age such as 7d.")
@click.option("--until", type=Moment(), help="Of the store: before.")
@click.option(
    "--limit", type=click.IntRange(1), default=MOST_EXCHANGES, help="Of the store: exchanges at most."
)
@click.option(
    "--outputs", metavar="NAMES", help="Of the file: columns that are the model's answers, with commas."
)
@click.option("--drop", metavar="NAMES", help="Of the file: columns to leave out, with commas.")
@click.option(
    "--time", "time_column", metavar="NAME", help="Of the file: column with each row's time, ISO 8601."
)
@click.option(
    "--epoch",
    "epochs",
    multiple=True,
    metavar="FIELD=UNIT",
    help="A field whose numbers are moments: inputs.NAME or outputs.NAME, and s, ms, us or ns; repeatable.",
)
@click.option(
    "--by",
    type=click.Choice(["hour-of-week"]),
    help="Let what is normal go with the hour of the week (UTC); takes three weeks and more.",
)
@click.option("--pane", default="60s", metavar="DURATION", help="The panes whose spread is looked at.")
@click.option("--coarse", is_flag=True, help="Tell no number exactly: two significant digits, outward.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to write it."
)
@JSON
def create(out: Path, as_json: bool, **told: Any) -> None:
    """Make a baseline of a training file, or of a span of a store."""
    file, store = told["file"], told["store"]
    if file is not None and told["model"] is None:
        store = None
    if (file is None) == (store is None):
        raise UsageError("baseline: give either --from FILE, or --store URL with --model NAME")
    try:
        pane_us = round(parse_duration(told["pane"]) * 1e6)
    except ValueError as error:
        raise UsageError(f"--pane: {told['pane']!r} {error}") from error
    told["epochs"] = _epochs(told["epochs"])
    if told["by"] is not None:
        check_pane(pane_us)
    made = _of_file(file, pane_us, told) if file is not None else _of_store(store, pane_us, told)
    _check_epochs(made, told["epochs"])
    if told["by"] is not None:
        check_size(made)
    _write(out, made.encode())
    if as_json:
        click.echo(json.dumps({"file": str(out), "digest": made.digest, "rows": made.rows}))
    else:
        fields = f"{len(made.inputs)} inputs and {len(made.outputs)} outputs"
        click.echo(f"{out}: baseline {made.digest[:16]} of {made.rows:,} rows, {fields}")


def _of_file(path: Path, pane_us: int, told: dict[str, Any]) -> Baseline:
    columns = whole_table(path)
    for name in _names(told["drop"]):
        _there(columns, name, "--drop")
        del columns[name]
    times = None
    if told["time_column"] is not None:
        _there(columns, told["time_column"], "--time")
        moments = [parsed(str(each)) for each in columns.pop(told["time_column"])]
        if None in moments:
            raise UsageError(
                f"--time: row {moments.index(None) + 1} has no time in ISO 8601: mend it, or leave --time"
            )
        times = np.array([round(each * 1e6) for each in moments if each is not None], dtype=np.int64)
    outputs = _names(told["outputs"])
    for name in outputs:
        _there(columns, name, "--outputs")
    rows = max(map(len, columns.values()), default=0)
    if not rows:
        raise UsageError(f"{path}: has no rows")
    sides = []
    for side, limit in (("inputs", 500), ("outputs", 50)):
        chosen = {}
        for name, values in columns.items():
            prefix, _, bare = name.partition(".")
            own = "outputs" if name in outputs or prefix == "outputs" else "inputs"
            if own == side:
                chosen[bare if prefix == side and bare else name] = values
        brief = Columns(limit)
        brief.add(chosen, rows)
        sides.append(Side(brief.values, times))
    if told["by"] is not None:
        _weekly(times)
    source = f"file {path.name}"
    return found_baseline(
        sides[0],
        sides[1],
        coarse=told["coarse"],
        pane_us=pane_us,
        source=source,
        epochs=told["epochs"],
        by_hour=told["by"] is not None,
    )


def _weekly(times: npt.NDArray[np.int64] | None) -> None:
    """Refuses what is no three weeks; says how many hours are thin."""
    thin = thin_hours(check_times(times))
    if thin:
        click.echo(
            f"sidecar: {thin} of {HOURS} hours of the week have traffic in fewer than 3 weeks", err=True
        )


def _epochs(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        path, mark, unit = text.rpartition("=")
        side, _, name = path.partition(".")
        if not mark or side not in ("inputs", "outputs") or not name or unit not in UNITS:
            raise UsageError(
                f"--epoch: {text[:80]!r}: write inputs.NAME or outputs.NAME, = and one of {', '.join(UNITS)}"
            )
        found[path] = unit
    return found


def _check_epochs(made: Baseline, epochs: Mapping[str, str]) -> None:
    fields = fields_by_path(made)
    for path, unit in epochs.items():
        known = fields.get(path)
        if known is None or known.epoch != unit:
            what = "is not there" if known is None else f"is {known.kind}, not numbers"
            raise UsageError(f"--epoch: {path[:80]} {what}: name a field whose values are numbers")


def _of_store(url: str, pane_us: int, told: dict[str, Any]) -> Baseline:
    if told["model"] is None:
        raise UsageError("baseline: --store needs --model NAME: a baseline is of one model")
    problems = Problems()
    source = open_source(url)
    query = Query(model=told["model"], digest=told["digest"], since_us=told["since"], until_us=told["until"])
    by_hour = told["by"] is not None
    samples: list[Sample] = []
    if by_hour:
        some = SomePanes(told["limit"], pane_us)
        for sample in observed(source, query, problems):
            some.add(sample)
        samples = some.samples
        _weekly(np.array([each.t_us for each in samples], dtype=np.int64))
    else:
        for sample in observed(source, query, problems):
            samples.append(sample)
            if len(samples) >= told["limit"]:
                break
    decoded = sum(sample.observation is not None for sample in samples)
    if not decoded:
        why = "is in that span" if not samples else f"of {len(samples):,} is decoded (encrypted, perhaps)"
        raise UsageError(
            f"store {source.objects.description}: no exchange of {told['model']} {why}: widen --since"
        )
    warmup = Warmup.begin(len(samples))
    taken = 0
    for sample in sorted(samples, key=lambda each: (each.t_us, each.record_id)):
        taken += 1
        if warmup.add(sample):
            break
    if taken < len(samples):
        click.echo(f"sidecar: the first {taken:,} of {len(samples):,} exchanges fill the memory", err=True)
    name = f"store, model {told['model']}"
    made = warmup.freeze(told["coarse"], pane_us, name, told["epochs"], by_hour)
    problems.leave()
    return made


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _there(columns: dict[str, list[Any]], name: str, flag: str) -> None:
    if name not in columns:
        raise UsageError(
            f"{flag}: the file has no column {name[:60]!r}: it has {', '.join(list(columns)[:20])}"
        )


def _write(path: Path, data: bytes) -> None:
    try:
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise SidecarError(f"{path}: {error.strerror}: give a folder that can be written to") from error


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file. Raises UsageError naming it."""
    try:
        return Baseline.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: give a file that can be read") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


@baseline.command()
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def show(file: Path, as_json: bool) -> None:
    """What a baseline holds."""
    made = read_baseline(file)
    if as_json:
        click.echo(json.dumps({"digest": made.digest, **json.loads(made.encode())}))
        return
    click.echo(f"digest      {made.digest}")
    click.echo(f"source      {safe(made.source)}")
    click.echo(f"exchanges   {made.exchanges:,}, rows {made.rows:,}, answered {made.answered_rows:,}")
    if made.t_from_us:
        click.echo(f"time        {readable(made.t_from_us)} to {readable(made.t_to_us)}")
    for side, fields in (("inputs", made.inputs), ("outputs", made.outputs), ("exchange", made.exchange)):
        for field in fields:
            click.echo(f"{safe(f'{side}.{field.name}'):<32} {field.kind:<12} {_words(field)}")
    for pair in made.pairs:
        click.echo(f"{safe(pair.first)} with {safe(pair.second)}: {pair.information:.3f} nats")


def _words(field: FieldBaseline) -> str:
    total = sum(field.counts)
    parts = []
    if field.kind == "numeric" and field.own_slots:
        parts.append(f"mean {field.mean:.4g}, sd {field.scale:.4g}")
    if not field.edges and total:
        ranked = sorted(zip(field.labels(), field.counts, strict=False), key=lambda each: -each[1])[:SHOWN]
        parts.append(", ".join(f"{safe(label)} {count / total:.1%}" for label, count in ranked))
    for slot, name in ((MISSING, "missing"), (INVALID, "invalid")):
        count = field.counts[len(field.counts) - TAIL + slot]
        if count:
            parts.append(f"{count / total:.1%} {name}")
    return "; ".join(part for part in parts if part)


@baseline.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@JSON
def diff(before: Path, after: Path, as_json: bool) -> None:
    """How far one baseline lies from another, the furthest field first."""
    report = compare(read_baseline(before), read_baseline(after))
    if as_json:
        click.echo(json.dumps(report))
        return
    for word in ("appeared", "vanished"):
        for path in report[word]:
            click.echo(f"{safe(path):<32} {word}")
    fields: Sequence[tuple[str, Any]] = sorted(
        report["fields"].items(), key=lambda each: -(each[1]["psi"] or 0.0)
    )
    for path, moved in fields:
        click.echo(f"{safe(path):<32} {_moved(moved)}")


def _moved(moved: dict[str, Any]) -> str:
    psi = "kinds differ" if moved["psi"] is None else f"PSI {moved['psi']:.3f}"
    parts = [psi + (" (too few rows to tell)" if moved["insufficient"] else "")]
    if moved["kind"][0] != moved["kind"][1]:
        parts.append(f"{moved['kind'][0]} → {moved['kind'][1]}")
    if moved["mean"]:
        parts.append(f"mean {moved['mean'][0]:.4g} → {moved['mean'][1]:.4g}")
    for name in ("missing", "invalid"):
        old, new = moved[name]
        if old is not None and new is not None and old != new:
            parts.append(f"{name} {old:.1%} → {new:.1%}")
    return ", ".join(parts)
