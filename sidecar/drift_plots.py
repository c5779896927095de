"""Plots of a drift report as inline SVG, with the words and tables that stand for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

WIDTH, HEIGHT = 600.0, 120.0


@dataclass(frozen=True, slots=True)
class Point:
    """One stretch of a time series."""

    at_us: int
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of time to be shaded: an alarm."""

    from_us: int
    to_us: int
    severe: bool


@dataclass(frozen=True, slots=True)
class Guide:
    """A level to be drawn across."""

    value: float
    name: str


def figure(value: float) -> str:
    """A number as axes show it."""
    if not isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:.1e}"


def time_series(
    title: str,
    points: Sequence[Point],
    from_us: int,
    to_us: int,
    marks: Sequence[Mark],
    guides: Sequence[Guide],
    label: tuple[str, str],
) -> str:
    """A line over time; `label` are the first and the last moment in words."""
    if not points or to_us <= from_us:
        return ""
    values = [point.value for point in points] + [guide.value for guide in guides]
    low, high = min(0.0, *values), max(*values, 0.0)
    high = high if high > low else low + 1.0

    def x(at_us: int) -> float:
        return WIDTH * (at_us - from_us) / (to_us - from_us)

    def y(value: float) -> float:
        return HEIGHT - 4 - (HEIGHT - 8) * (value - low) / (high - low)

    shades = "".join(
        f'<rect class="mark{" severe" if mark.severe else ""}" x="{max(0.0, x(mark.from_us)):.1f}" y="0" '
        f'width="{max(2.0, min(WIDTH, x(mark.to_us)) - max(0.0, x(mark.from_us))):.1f}" height="{HEIGHT:g}"/>'
        for mark in marks
    )
    lines = "".join(
        f'<line class="guide" x1="0" x2="{WIDTH:g}" y1="{y(guide.value):.1f}" y2="{y(guide.value):.1f}"/>'
        for guide in guides
    )
    path = " ".join(f"{x(point.at_us):.1f},{y(point.value):.1f}" for point in points)
    drawn = f'<polyline class="line" points="{path}"/>'
    if len(points) == 1:
        at, value = x(points[0].at_us), y(points[0].value)
        drawn = f'<line class="line" x1="{at:.1f}" x2="{at + 6:.1f}" y1="{value:.1f}" y2="{value:.1f}"/>'
    words = (
        f"{title} over time: {len(points)} points from {figure(min(point.value for point in points))} to "
        f"{figure(max(point.value for point in points))}"
        + (f"; {len(marks)} alarmed {'stretch' if len(marks) == 1 else 'stretches'} shaded" if marks else "")
    )
    return _framed(title, words, shades + lines + drawn, (figure(high), figure(low)), label, guides)


def histogram(title: str, labels: Sequence[str], before: Sequence[float], now: Sequence[float]) -> str:
    """Shares of the slots, the baseline's beside those of now."""
    if not labels:
        return ""
    high = max(max(before, default=0.0), max(now, default=0.0)) or 1.0
    step = WIDTH / len(labels)
    bars = []
    for index, (old, new) in enumerate(zip(before, now, strict=True)):
        for name, share, offset in (("before", old, 0.08), ("now", new, 0.5)):
            tall = (HEIGHT - 8) * share / high
            bars.append(
                f'<rect class="{name}" x="{step * (index + offset):.1f}" y="{HEIGHT - tall:.1f}" '
                f'width="{step * 0.42:.1f}" height="{tall:.1f}"/>'
            )
    most = max(range(len(labels)), key=lambda index: abs(now[index] - before[index]))
    words = (
        f"{title}: shares of {len(labels)} slots, baseline and now; the largest difference is at "
        f"{labels[most]}, {before[most]:.1%} before and {now[most]:.1%} now"
    )
    return _framed(title, words, "".join(bars), (f"{high:.0%}", "0"), (labels[0], labels[-1]), ())


def _framed(
    title: str,
    words: str,
    drawing: str,
    bounds: tuple[str, str],
    label: tuple[str, str],
    guides: Sequence[Guide],
) -> str:
    named = "".join(
        f'<span class="key"><i class="dash"></i>{escape(guide.name)} {figure(guide.value)}</span>'
        for guide in guides
    )
    return (
        f'<figure class="plot"><figcaption>{escape(title)}{named}</figcaption><div class="frame">'
        f'<div class="bounds" aria-hidden="true">{_two(bounds)}</div>'
        f'<svg role="img" aria-label="{escape(words, quote=True)}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" '
        f'preserveAspectRatio="none"><title>{escape(words)}</title>{drawing}</svg></div>'
        f'<div class="ends" aria-hidden="true">{_two(label)}</div>'
        "</figure>"
    )


def _two(words: tuple[str, str]) -> str:
    return f"<span>{escape(words[0])}</span><span>{escape(words[1])}</span>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells name their column where the screen is narrow."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{escape(name, quote=True)}"><div>{escape(cell)}</div></td>'
            for name, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
