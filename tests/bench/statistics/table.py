"""Rows → Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tests.bench.statistics.row import Row


def tables(rows: Sequence[Row]) -> str:
    """A table per title, with a column for every figure that any of its rows has."""
    return "\n".join(_table(title, list(part)) for title, part in groupby(rows, key=lambda row: row.table))


def _table(title: str, rows: list[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row.figures))
    goals = any(row.goal for row in rows)
    notes = any(row.note for row in rows)
    heads = ["", *columns, *(["goal", ""] if goals else []), *(["note"] if notes else [])]
    lines = [
        [
            row.name,
            *(show(row.figures.get(column)) for column in columns),
            *([row.goal, {True: "met", False: "MISSED", None: ""}[row.met]] if goals else []),
            *([row.note] if notes else []),
        ]
        for row in rows
    ]
    widths = [max(len(line[place]) for line in [heads, *lines]) for place in range(len(heads))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in [heads, *lines]
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([f"\n{title}\n", text[0], ruler, *text[1:]])


def show(value: str | float | int | None) -> str:
    """Three figures, thousands apart, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
