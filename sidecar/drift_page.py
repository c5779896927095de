"""A drift report as one HTML file: no scripts, nothing loaded, light, dark and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from sidecar import __version__
from sidecar.archive.when import readable
from sidecar.drift_labels_shown import section as labels_section
from sidecar.drift_plots import Guide, Mark, Point, figure, histogram, table, time_series
from sidecar.drift_report import Bucket, DriftReport, SeriesReport, part, source_psi
from sidecar.drift_segments_shown import section
from sidecar.statistics.alarm import Alarm, Effect
from sidecar.statistics.quantity import Band, Distribution, Mean, Quantity
from sidecar.statistics.wording import Change

QUANTITIES_DRAWN = 120
"""Of more, those with an alarm or the largest effects; the table has all."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_EFFECTS = (("psi", "PSI"), ("js", "JS"), ("w1_sigma", "W1/σ"), ("ks", "KS"))


def page(report: DriftReport) -> str:
    """The whole document."""
    styles = files("sidecar.audit").joinpath("report.css").read_text()
    styles += files("sidecar").joinpath("drift_page.css").read_text()
    title = "Drifted" if report.drifted else "No alarm"
    body = "".join(_series(each) for each in report.series)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}: {escape(report.store)}</title><style>{styles}</style></head><body><main>"
        f"{_head(report)}{body}{_made(report)}</main></body></html>\n"
    )


def _head(report: DriftReport) -> str:
    active = [alarm for each in report.series for alarm in each.alarms if alarm.active]
    if not report.series:
        kind, words = "warn", "No panes were found in this span."
    elif active:
        count = len(active)
        kind, words = (
            "bad",
            f"{count} {'quantity has' if count == 1 else 'quantities have'} moved and not come back.",
        )
    else:
        kind, words = "good", "Nothing moved beyond its tolerance, or it has come back."
    mark = {"good": "✓", "bad": "!", "warn": "?"}[kind]
    return (
        '<header><p class="kicker">Sidecar · drift report</p>'
        f"<h1>{escape(report.store)}</h1>"
        f'<p class="verdict {kind}"><span class="mark" aria-hidden="true">{mark}</span>'
        f"<span>{words}</span></p></header>"
    )


def _series(each: SeriesReport) -> str:
    run = each.run
    tiles = [
        (f"{each.exchanges:,}", "exchanges"),
        (f"{each.panes:,}", "panes"),
        (f"{len(run.plan.quantities):,}", "quantities"),
        (f"{sum(alarm.active for alarm in each.alarms):,}", "open alarms"),
    ]
    cells = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for value, label in tiles)
    changes = {quantity.name: each.change(quantity, each.total) for quantity in run.plan.quantities}
    return (
        f"<section><h2>{escape(run.series.model)}</h2>"
        f'<p class="note">{escape(run.series.digest or "digest unknown")} · plan {run.series.plan[:12]} · '
        f"{escape(run.plan.watch.budget.words())} · {_moment(each.first_us)} to {_moment(each.last_us)}</p>"
        f'<dl class="tiles">{cells}</dl>{_alarms(each)}{_labels(each)}'
        f"{_drawn(each, changes)}{_table(each, changes)}"
        f"{_sources(each)}{section(each.segments) if each.segments is not None else ''}</section>"
    )


def _labels(each: SeriesReport) -> str:
    return "" if each.labels is None else labels_section(each.labels, each.first_us, each.last_us)


def _alarms(each: SeriesReport) -> str:
    if not each.alarms:
        return ""
    items = "".join(
        f'<li class="{"bad" if alarm.active else "plain"}"><p>'
        f'<b class="tag {"bad" if alarm.active else "plain"}">'
        f"{escape(alarm.severity)}, {escape(alarm.state)}</b> "
        f"{escape(alarm.sentence)}</p>"
        f'<dl class="facts"><div><dt>alarm</dt><dd>{each.run.alarm_id(alarm)}</dd></div>'
        f"<div><dt>since</dt><dd>{_moment(alarm.since_us)}</dd></div>"
        f"<div><dt>promise</dt><dd>{escape(alarm.promise)}</dd></div>"
        + (
            f"<div><dt>records</dt><dd>{escape(', '.join(alarm.record_ids))}</dd></div>"
            if alarm.record_ids
            else ""
        )
        + "</dl></li>"
        for alarm in each.alarms
    )
    return f'<h3>Alarms</h3><ol class="findings">{items}</ol>'


def _drawn(each: SeriesReport, changes: dict[str, Change]) -> str:
    active = [alarm.quantity for alarm in each.alarms if alarm.active]
    alarmed = {name: place for place, name in enumerate(active)}

    def order(quantity: Quantity) -> tuple[int, float]:
        return alarmed.get(quantity.name, len(active)), -(changes[quantity.name].effect.psi or 0.0)

    shown = sorted(each.run.plan.quantities, key=order)[:QUANTITIES_DRAWN]
    left = len(each.run.plan.quantities) - len(shown)
    more = f'<p class="note">And {left:,} more in the table below.</p>' if left else ""
    legend = (
        '<div class="legend"><span class="key"><i class="was"></i>baseline</span>'
        '<span class="key"><i class="is"></i>now</span>'
        '<span class="key"><i class="alarm"></i>alarmed</span></div>'
    )
    return (
        f"<h3>What is watched</h3>{legend}{''.join(_quantity(each, q, changes[q.name]) for q in shown)}{more}"
    )


def _quantity(each: SeriesReport, quantity: Quantity, change: Change) -> str:
    alarms = [alarm for alarm in each.alarms if alarm.quantity == quantity.name]
    active = next((alarm for alarm in alarms if alarm.active), None)
    tag = f'<b class="tag bad">{escape(active.severity)}</b>' if active else ""
    plots = _over_time(each, quantity, alarms)
    rows = ""
    normal = each.against(quantity)
    if isinstance(normal, Distribution):
        before, now = _shares(normal.reference), _shares(part(quantity, each.total).tolist())
        plots += histogram("Shares", normal.labels, before, now)
        rows = table(
            ("Slot", "Baseline", "Now"),
            [
                (label, f"{old:.2%}", f"{new:.2%}")
                for label, old, new in zip(normal.labels, before, now, strict=True)
            ],
        )
        rows = f"<details><summary>The shares as a table</summary>{rows}</details>"
    return (
        f'<article class="quantity{" bad" if active else ""}">'
        f"<h3><span>{escape(quantity.name)}</span>{tag}</h3>"
        f"<p>{escape(change.before.words)} → {escape(change.after.words)}</p>"
        f'<p class="note">{escape(_effects(change.effect))}</p>'
        f'<div class="plots">{plots}</div>{rows}</article>'
    )


def _over_time(each: SeriesReport, quantity: Quantity, alarms: Sequence[Alarm]) -> str:
    title, guides = _measure(quantity)
    points = []
    for bucket in sorted(each.buckets.values(), key=lambda one: one.start_us):
        value = _value(each, quantity, bucket)
        if value is not None:
            points.append(Point(min(bucket.start_us + each.bucket_us // 2, each.last_us), value))
    marks = [
        Mark(alarm.since_us, alarm.resolved_us or each.last_us, alarm.severity == "critical")
        for alarm in alarms
    ]
    label = (_short(each.first_us), _short(each.last_us))
    return time_series(title, points, each.first_us, each.last_us, marks, guides, label)


def _measure(quantity: Quantity) -> tuple[str, list[Guide]]:
    if isinstance(quantity, Band):
        return "Share", [Guide(quantity.low, "least"), Guide(quantity.high, "most")]
    if isinstance(quantity, Mean):
        low, high = quantity.expected - quantity.tolerance, quantity.expected + quantity.tolerance
        return "Mean", [Guide(low, "least"), Guide(high, "most")]
    if isinstance(quantity, Distribution):
        return "Jensen-Shannon distance from the baseline", []
    return "Ratio of rates", [Guide(quantity.ratio, "least")]


def _value(each: SeriesReport, quantity: Quantity, bucket: Bucket) -> float | None:
    own = part(quantity, bucket.counts)
    if not own.any():
        return None
    if isinstance(quantity, Band):
        return float(own[0] / own[1]) if own[1] else None
    change = each.change(quantity, bucket.counts, bucket.start_us)
    if isinstance(quantity, Mean):
        return None if change.effect.difference is None else quantity.expected + change.effect.difference
    return change.effect.js if isinstance(quantity, Distribution) else change.effect.ratio


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _effects(effect: Effect) -> str:
    shown = [
        f"{word} {figure(value)}" for name, word in _EFFECTS if (value := getattr(effect, name)) is not None
    ]
    return " · ".join(shown) or "no effect size applies"


def _table(each: SeriesReport, changes: dict[str, Change]) -> str:
    promises = {promise.quantity: promise.words for promise in each.run.evaluator.promises()}
    rows = []
    for quantity in each.run.plan.quantities:
        change = changes[quantity.name]
        effect = [getattr(change.effect, name) for name, _ in _EFFECTS]
        shown = ["–" if value is None else figure(value) for value in effect]
        rows.append((quantity.name, change.before.words, change.after.words, *shown, promises[quantity.name]))
    heads = ("Quantity", "Baseline", "Now", *(word for _, word in _EFFECTS), "False-alarm promise")
    return f"<h3>All quantities</h3>{table(heads, rows)}"


def _sources(each: SeriesReport) -> str:
    if not each.sources:
        return ""
    rows = []
    for source, total in sorted(each.sources.items()):
        worst = sorted(source_psi(each, total).items(), key=lambda item: -item[1])[:3]
        rows.append(
            (source, f"{total.exchanges:,}", ", ".join(f"{name} {psi:.3f}" for name, psi in worst) or "–")
        )
    return f"<h3>Pods</h3>{table(('Pod', 'Exchanges', 'Largest PSI'), rows)}"


def _made(report: DriftReport) -> str:
    from sidecar.drifting import remarks

    rows = [
        ("Store", report.store),
        ("From", "the beginning" if report.since_us is None else _moment(report.since_us)),
        ("To", "now" if report.until_us is None else _moment(report.until_us)),
        ("Sidecar", __version__),
        *(("Note", line) for line in (*remarks(report), *report.problems)),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return f'<section><h2>How it was made</h2><dl class="facts wide">{cells}</dl></section>'


def _short(time_us: int) -> str:
    """Month, day and minute: what fits below a plot on a telephone."""
    return readable(time_us)[5:16]


def _moment(time_us: int) -> str:
    return readable(time_us).partition(".")[0] + " UTC"
