"""What a module of the bench shows: rows of a table, each with a verdict where there is a goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of one table."""

    table: str
    """Title of the table; rows of one title stand together, in the order given."""
    name: str
    figures: dict[str, str | float | int | None]
    """Column → value; floats are shown to three figures, None as a dash."""
    goal: str = ""
    """What the issue asks for, in words; empty where the row only informs."""
    met: bool | None = None
    """Whether the goal is met; None without a goal."""
    note: str = ""
