"""Glue: ground truth of a drift report as lines of text and as a part of the page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from sidecar.archive.text import safe
from sidecar.archive.when import readable
from sidecar.drift_labels import LabelReport
from sidecar.drift_plots import Guide, Mark, Point, table, time_series
from sidecar.statistics.label_bands import label_quantities
from sidecar.statistics.label_figures import ERRORS, SCORE, SHARES, value_of
from sidecar.statistics.wording import percent

DRAWN = ("accuracy", "precision", "recall", "mean_absolute_error", *SCORE)


def lines(labels: LabelReport) -> Iterator[str]:
    """The report as a terminal shows it."""
    told = labels.figures
    yield f"  GROUND TRUTH of {told['rows']:,} rows{_left_out(labels)}"
    bands = {band.name: band for band in label_quantities(labels.run.run.plan.watch)}
    for name, words in _figures(told):
        band = bands.get(f"labels/{name}")
        expected = f", {percent(band.low)} to {percent(band.high)} is expected" if band else ""
        yield f"    {name.replace('_', ' ') + ':':<24}{words}{expected}"
    for group, own in told.get("groups", {}).items():
        shown = "; ".join(f"{name.replace('_', ' ')} {words}" for name, words in _figures(own))
        yield f"    {safe(told['by'])} = {safe(group)}, {own['rows']:,} rows: {shown}"


def _left_out(labels: LabelReport) -> str:
    found = labels.found
    parts = [
        f"{count:,} {words}"
        for count, words in (
            (found.encrypted, "records are encrypted"),
            (found.undecoded, "were not decoded"),
            (found.other_number, "have another number of labels than instances"),
            (found.unplaced, "have no pane here"),
        )
        if count
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _figures(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and words of each figure that there is."""
    for name in SHARES:
        found = told.get(name)
        if found and found["value"] is not None:
            yield name, f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
    for name in ERRORS:
        if told.get(name) is not None:
            yield name, f"{told[name]:.6g}"
    for name in SCORE:
        if (told.get("score") or {}).get(name) is not None:
            yield name, f"{told['score'][name]:.4f}"


def section(labels: LabelReport, from_us: int, to_us: int) -> str:
    """The report as HTML; the plots are over that span."""
    told = labels.figures
    rows = [("all", f"{told['rows']:,}", name.replace("_", " "), words) for name, words in _figures(told)]
    for group, own in told.get("groups", {}).items():
        rows += [
            (f"{told['by']} = {group}", f"{own['rows']:,}", name.replace("_", " "), words)
            for name, words in _figures(own)
        ]
    bins = [
        (
            f"{each['low']:.2f} to {each['high']:.2f}",
            f"{each['rows']:,}",
            f"{each['mean_score']:.3f}",
            f"{each['positive']['value']:.3f}",
        )
        for each in (told.get("score") or {}).get("bins", [])
    ]
    calibration = table(("Score", "Rows", "Mean score", "Share that was positive"), bins)
    return (
        f'<h3>Ground truth</h3><p class="note">{told["rows"]:,} rows{escape(_left_out(labels))}, by the time '
        f'of the decision.</p><div class="plots">{_plots(labels, from_us, to_us)}</div>'
        f"{table(('Of', 'Rows', 'Figure', 'Value (95 % interval)'), rows)}"
        + (f"<details><summary>Calibration by score</summary>{calibration}</details>" if bins else "")
    )


def _plots(labels: LabelReport, from_us: int, to_us: int) -> str:
    over_time = labels.over_time()
    bands = {band.name: band for band in label_quantities(labels.run.run.plan.watch)}
    drawn = ""
    for name in DRAWN:
        points = [
            Point(min(max(start_us + labels.bucket_us // 2, from_us), to_us), value)
            for start_us, told in over_time
            if (value := value_of(told, name)) is not None
        ]
        band = bands.get(f"labels/{name}")
        guides = [Guide(band.low, "least"), Guide(band.high, "most")] if band else []
        marks = [
            Mark(alarm.since_us, alarm.resolved_us or to_us, alarm.severity == "critical")
            for alarm in labels.alarms
            if band and alarm.quantity == band.name
        ]
        ends = (readable(from_us)[5:16], readable(to_us)[5:16])
        drawn += time_series(name.replace("_", " "), points, from_us, to_us, marks, guides, ends)
    return drawn
