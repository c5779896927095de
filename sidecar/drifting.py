"""`sidecar drift`: all pods' panes of a span added up, and what the detectors say of the whole."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sidecar.archive.commands import Moment
from sidecar.archive.text import safe
from sidecar.archive.when import readable
from sidecar.drift_label_join import join_labels
from sidecar.drift_labels_shown import lines as label_lines
from sidecar.drift_report import (
    DriftReport,
    SeriesReport,
    Sweep,
    as_json,
    missing_files,
    selected,
    source_psi,
)
from sidecar.drift_segments_shown import lines as segment_lines
from sidecar.errors import SidecarError, StoreError, UsageError
from sidecar.fleet_store import FleetStore
from sidecar.keyring import JSON, STORE
from sidecar.lookup import open_source
from sidecar.objects import for_command
from sidecar.statistics.alarm import Alarm, Effect

WORDS = 34
MODELS_NAMED = 20


class Drifted(SidecarError):
    """Something is alarmed, and the caller wanted to know by the exit code."""


@click.command()
@STORE
@click.option("--model", metavar="NAME", help="Only this model.")
@click.option("--digest", metavar="DIGEST", help="Only this image digest, or its beginning.")
@click.option("--since", type=Moment(), help="Panes that begin then or later: a time, or an age such as 2d.")
@click.option("--until", type=Moment(), help="Panes that begin before.")
@click.option(
    "--by",
    type=click.Choice(["digest", "pod", "segment"]),
    default="digest",
    show_default=True,
    help="Also say it of each pod, or of each segment of the watch file.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a page with plots.",
)
@click.option("--check", is_flag=True, help="Exit with 1 when anything is alarmed at the end of the span.")
@JSON
def drift(
    store: str,
    model: str | None,
    digest: str | None,
    since: int | None,
    until: int | None,
    by: str,
    html: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Add the panes of all pods and say what moved, from what to what, and since when.

    Exit codes: 0 done, 1 something could not be read or, with --check, is alarmed, 2 a wrong command line.
    """
    if since is not None and until is not None and until <= since:
        raise UsageError("drift: --until is not after --since: give a later time")
    fleet = FleetStore(for_command(store))
    report = DriftReport(store, since, until)
    folders = fleet.folders(model, digest)
    if model is not None and not fleet.folders(model):
        _unknown(fleet, model)
    # A file is shipped after its panes.
    shipped = [
        name
        for folder in folders
        for name in fleet.files_since(folder, since or 0, report.trouble, whole=by == "pod")
    ]
    if model is None and digest is None:
        report.missing_files = missing_files(shipped)
    sweep = Sweep(fleet, report, by)
    sweep.over(selected(shipped, since, until))
    join_labels(report, open_source(store), sweep.budgets, model)
    if model is not None:
        # Long names are told apart only by what the files say.
        report.series = [each for each in report.series if each.run.series.model == model]
    if by == "segment":
        report.notes += [
            f"model {safe(each.run.series.model)}: its watch file names no segments"
            for each in report.series
            if each.segments is None
        ]
    if html is not None:
        _write(html, report)
    _print(report, as_json)
    if report.problems:
        count = len(report.problems)
        raise StoreError(
            f"{count} {'object' if count == 1 else 'objects'} could not be read, named above: restore them"
        )
    if check and report.drifted:
        raise Drifted("drifted: the alarms above are not over")


def _unknown(fleet: FleetStore, model: str) -> None:
    """Raises StoreError with the models that there are, if there are any."""
    known = fleet.models()
    if known:
        more = f" and {len(known) - MODELS_NAMED} more" if len(known) > MODELS_NAMED else ""
        shown = ", ".join(safe(each) for each in known[:MODELS_NAMED])
        raise StoreError(f"no panes of model {safe(model)}: there are panes of {shown}{more}")


def _write(path: Path, report: DriftReport) -> None:
    from sidecar.drift_page import page

    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"drift: --html {path}: {error.strerror}: give a file that can be written"
        ) from error


def _print(report: DriftReport, json_wanted: bool) -> None:
    for problem in report.problems:
        click.echo(f"sidecar: {problem}", err=True)
    if json_wanted:
        click.echo(json.dumps(as_json(report)))
        return
    if not report.series:
        click.echo(
            "no panes found: sidecars ship them below statistics/panes/ every statistics_ship", err=True
        )
    for each in report.series:
        _series(each)
    for line in remarks(report):
        click.echo(line, err=True)


def remarks(report: DriftReport) -> list[str]:
    """What else is to be known, in words."""
    told = report.tallied
    lines = list(report.notes)
    if told.late:
        lines.append(
            f"{told.late:,} exchanges came behind their watermark: in the totals, not in the detectors"
        )
    if told.recounted:
        lines.append(
            f"{told.recounted:,} exchanges were counted again after a lost analyst state, and dropped"
        )
    if told.refused:
        lines.append(f"{told.refused:,} exchanges have counts that do not fit their plan, and were left out")
    if report.missing_files:
        lines.append(f"{report.missing_files:,} files of panes are missing between those that are there")
    plans: dict[tuple[str, str], int] = {}
    for each in report.series:
        key = (each.run.series.model, each.run.series.digest)
        plans[key] = plans.get(key, 0) + 1
    for (model, _), count in plans.items():
        if count > 1:
            lines.append(
                f"model {safe(model)} has {count} plans or pane lengths of one digest: their counts do not "
                "add, and they share its budget; give all pods one baseline_file"
            )
    return lines


def _series(each: SeriesReport) -> None:
    run = each.run
    click.secho(f"{safe(run.series.model)}  {safe(run.series.digest or 'digest unknown')}", bold=True)
    click.echo(
        f"  {each.exchanges:,} exchanges in {each.panes:,} panes, {readable(each.first_us)} to "
        f"{readable(each.last_us)}; plan {run.series.plan[:12]}, {run.plan.watch.budget.words()}"
    )
    promises = {promise.quantity: promise for promise in run.evaluator.promises()}
    active = {alarm.quantity: alarm for alarm in each.alarms if alarm.active}
    width = max((len(quantity.name) for quantity in run.plan.quantities), default=8)
    width = min(max(width, 8), 40)
    head = f"  {'QUANTITY':<{width}}  {'FROM':<{WORDS}}  {'TO':<{WORDS}}"
    click.secho(f"{head}  {'PSI':>7} {'JS':>6} {'W1/σ':>6} {'KS':>6}  ALARM", bold=True)
    for quantity in run.plan.quantities:
        change = each.change(quantity, each.total)
        alarm = active.get(quantity.name)
        kept = promises[quantity.name]
        said = _alarm(alarm) if alarm else ("-" if kept.kept else f"- ({kept.words.partition(':')[0]})")
        click.echo(
            f"  {_fit(quantity.name, width)}  {_fit(change.before.words, WORDS)}"
            f"  {_fit(change.after.words, WORDS)}  {effects(change.effect)}  {safe(said)}"
        )
    if each.labels is not None:
        for line in label_lines(each.labels):
            click.echo(line)
    for alarm in each.alarms:
        state = "" if alarm.active else "over: "
        click.echo(f"  {each.run.alarm_id(alarm)}  {state}{safe(alarm.sentence)}")
    for source, total in sorted(each.sources.items()):
        worst = sorted(source_psi(each, total).items(), key=lambda item: -item[1])[:3]
        shown = ", ".join(f"{name} {psi:.3f}" for name, psi in worst)
        click.echo(f"  pod {safe(source)}: {total.exchanges:,} exchanges; largest PSI {safe(shown) or '-'}")
    if each.segments is not None:
        for line in segment_lines(each.segments):
            click.echo(line)


def effects(effect: Effect) -> str:
    """The four measures in columns."""
    figures = ((effect.psi, 7), (effect.js, 6), (effect.w1_sigma, 6), (effect.ks, 6))
    return " ".join(
        f"{'-':>{width}}" if value is None else f"{value:>{width}.3f}" for value, width in figures
    )


def _alarm(alarm: Alarm) -> str:
    return f"{alarm.severity}, {alarm.state} since {readable(alarm.since_us)}"


def _fit(text: str, width: int) -> str:
    text = safe(text)
    return f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…"
