"""Glue: the segments of a drift report as lines of text and as a part of the page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from sidecar.archive.text import safe
from sidecar.archive.when import readable
from sidecar.drift_plots import table
from sidecar.drift_segments import SegmentLook
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.by_segment import Part
from sidecar.statistics.wording import percent

MOST_MOVED = 3
"""Quantities that the text shows of each segment, beside those that are alarmed."""
ROWS_SHOWN = 400
"""Of one segmentation on the page; --json has all."""
EFFECTS = ("psi", "js", "w1_sigma", "ks")
HEADS = ("Segment", "Quantity", "Beginning", "Since", "PSI", "JS", "W1/σ", "KS", "Alarm")


def lines(look: SegmentLook) -> Iterator[str]:
    """The report as a terminal shows it."""
    for name, path, segments in look.segmentations():
        yield f"  by {safe(name)} ({safe(path)}), {_against(look)}"
        yield f"  {'SEGMENT':<20}  {'ROWS':>10}  {'SHARE':>7}  WHAT MOVED MOST"
        total = sum(rows for _, rows in segments)
        for segment, rows in segments:
            moved = "; ".join(_short(look, part) for part in _ranked(look, name, segment)) or "-"
            share = percent(rows / total) if total else "-"
            yield f"  {safe(segment)[:20]:<20}  {rows:>10,}  {share:>7}  {safe(moved)}"
    for alarm in look.ordered_alarms():
        yield f"  {look.run.alarm_id(alarm)}  {'' if alarm.active else 'over: '}{safe(alarm.sentence)}"


def section(look: SegmentLook) -> str:
    """The report as HTML."""
    found = ""
    for name, path, segments in look.segmentations():
        total = sum(rows for _, rows in segments)
        shares = [
            (segment, f"{rows:,}", percent(rows / total) if total else "–") for segment, rows in segments
        ]
        rows = [_row(look, part) for segment, _ in [("", 0), *segments] for part in look.parts(name, segment)]
        more = len(rows) - ROWS_SHOWN
        found += (
            f'<h3>By {escape(name)}</h3><p class="note">{escape(path)}, {escape(_against(look))}.</p>'
            f"{table(('Segment', 'Rows', 'Share'), shares)}"
            f"<details><summary>What moved in each segment</summary>{table(HEADS, rows[:ROWS_SHOWN])}"
            + (f'<p class="note">And {more:,} more: --json has all.</p>' if more > 0 else "")
            + "</details>"
        )
    items = "".join(map(_item, look.ordered_alarms()))
    return found + (f'<h3>Alarms of segments</h3><ol class="findings">{items}</ol>' if items else "")


def _item(alarm: Alarm) -> str:
    kind = "bad" if alarm.active else "plain"
    return (
        f'<li class="{kind}"><p><b class="tag {kind}">{escape(alarm.severity)}, {escape(alarm.state)}</b> '
        f'{escape(alarm.sentence)}</p><dl class="facts"><div><dt>promise</dt><dd>{escape(alarm.promise)}</dd>'
        "</div></dl></li>"
    )


def _against(look: SegmentLook) -> str:
    return (
        f"each held against its own beginning: {look.beginning_panes:,} panes before "
        f"{readable(look.begins_to_us)}"
    )


def _ranked(look: SegmentLook, segmentation: str, segment: str) -> list[Part]:
    """Alarmed quantities, then the ones that moved most."""
    active = look.active
    known = [part for part in look.parts(segmentation, segment) if look.measured(part)]
    known.sort(key=lambda part: (part.name not in active, -(look.change(part).effect.psi or 0.0)))
    return known[: max(MOST_MOVED, sum(part.name in active for part in known))]


def _short(look: SegmentLook, part: Part) -> str:
    change, alarmed = look.change(part), part.name in look.active
    moved = f"{change.before.words} → {change.after.words}" if alarmed else f"PSI {change.effect.psi:.3f}"
    return f"{part.what}{' ALARM' if alarmed else ''} {moved}"


def _row(look: SegmentLook, part: Part) -> tuple[str, ...]:
    change, alarm = look.change(part), look.active.get(part.name)
    measured = look.measured(part)
    effects = [getattr(change.effect, name) if measured else None for name in EFFECTS]
    return (
        part.segment or "(rows)",
        part.what,
        change.before.words if change.before.rows else "–",
        change.after.words if measured else "insufficient data",
        *("–" if value is None else f"{value:.2f}" for value in effects),
        "–" if alarm is None else f"{alarm.severity} since {readable(alarm.since_us)[:16]}",
    )
