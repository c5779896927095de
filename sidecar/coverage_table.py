"""Coverage as a table for people. Pure: rows in, lines out."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.cluster.coverage import Row, State

HEADER = ("NAMESPACE", "POD", "COVERED", "MODE", "OPAQUE", "DIGEST", "SHIP LAG", "GAPS", "WHY")
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


def lines(rows: Sequence[Row]) -> list[str]:
    """A header, a line for each row, and one with the totals; nothing for no rows."""
    if not rows:
        return []
    cells = [HEADER, *(tuple(_safe(text) for text in _cells(each)) for each in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(HEADER))]
    padded = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells
    ]
    return [*(line.rstrip() for line in padded), _totals(rows)]


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
