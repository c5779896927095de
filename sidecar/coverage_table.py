"""Coverage as a table for people. Pure: rows in, lines out."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from sidecar.cluster.coverage import Row, State

HEADER = ("NAMESPACE", "POD", "COVERED", "MODE", "OPAQUE", "DIGEST", "SHIP LAG", "GAPS", "WHY")
_NAME = 2
"""Columns that name the pod; the last one says why."""
_COVERED = {
    State.COVERED: "yes",
    State.UNCOVERED: "NO",
    State.STARTING: "starting",
    State.LEFT_OUT: "left out",
}
_COUNTED = {
    State.COVERED: "covered",
    State.UNCOVERED: "not covered",
    State.STARTING: "starting",
    State.LEFT_OUT: "left out",
}
NONE = "–"


def lines(rows: Sequence[Row], width: int | None = None) -> list[str]:
    """A header, a line for each row, and one with the totals; nothing for no rows.

    Where that is wider than `width` characters, WHY stands below its row; where
    even the rest is wider, the pod's name stands above it.
    """
    if not rows:
        return []
    cells = [HEADER, *(tuple(_safe(text) for text in _cells(each)) for each in rows)]
    whole = _padded(cells)
    if width is not None and _widest(whole) > width:
        rest = _padded([line[:-1] for line in cells])
        if _widest(rest) <= width:
            heads: list[list[str]] = [[line] for line in rest]
        else:
            rest = _padded([line[_NAME:-1] for line in cells])
            heads = [["/".join(line[:_NAME]), f"  {own}"] for line, own in zip(cells, rest, strict=True)]
        whole = [
            part
            for head, line in zip(heads, cells, strict=True)
            for part in (*head, *_below(line[-1], width))
        ]
    return [*whole, _totals(rows)]


def _padded(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _widest(texts: Sequence[str]) -> int:
    return max(map(len, texts))


def _below(text: str, width: int) -> list[str]:
    """A text as indented lines; words that are longer than a line are not cut."""
    indent = "    "
    return wrap(
        text,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cells(each: Row) -> tuple[str, ...]:
    seen = each.report
    return (
        each.namespace,
        each.pod,
        _COVERED[each.state],
        each.mode or NONE,
        _percent(seen.opaque_ratio) if seen else NONE,
        _digest(each),
        NONE if seen is None else _seconds(seen.ship_lag_s) + (" (store down)" if seen.store_error else ""),
        NONE if seen is None else f"{seen.gaps} ({seen.gap_exchanges})" if seen.gaps else "0",
        _why(each),
    )


def _why(each: Row) -> str:
    return ": ".join(str(part) for part in (each.reason, each.detail) if part)


def _digest(each: Row) -> str:
    if each.mode is None:
        return NONE
    if each.digest is None:
        return "unknown"
    return each.digest.rpartition("sha256:")[2][:12]


def _percent(ratio: float | None) -> str:
    if ratio is None:
        return NONE
    # Never rounded to a whole that it is not.
    shown = min(max(ratio * 100, 0.1), 99.9) if 0 < ratio < 1 else ratio * 100
    return f"{shown:.1f} %"


def _seconds(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def _totals(rows: Sequence[Row]) -> str:
    counts = {word: sum(each.state is state for each in rows) for state, word in _COUNTED.items()}
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    return f"{len(rows)} model pod{'' if len(rows) == 1 else 's'}: {', '.join(parts)}"


def _safe(text: str) -> str:
    """Pods and sidecars may say anything: nothing of it reaches the terminal as a control."""
    return "".join(each if each.isprintable() else "�" for each in text)
