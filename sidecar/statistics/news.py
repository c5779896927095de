"""Columns that appear or vanish."""

from __future__ import annotations

from typing import Any, Final

from sidecar.statistics.baseline import MISSING
from sidecar.statistics.field_tally import Span
from sidecar.statistics.plan import Plan
from sidecar.statistics.rows import Rows
from sidecar.statistics.tally import Vector
from sidecar.statistics.warmup import MAX_INPUTS, MAX_OUTPUTS

MOST: Final = 64
"""Columns that are told of."""
MOST_NAME: Final = 256
LEAST_ROWS: Final = 30
"""Of a pane, below which nothing is said to be missing from it."""
MOSTLY_THERE: Final = 0.5
"""Share of the baseline's rows that had a value, below which a column without any is no news."""


class News:
    """What came and went since the baseline was frozen."""

    def __init__(self, plan: Plan) -> None:
        self._sides = [
            (side, plan.names[side], plan.watch.named(side))
            for side, most in (("inputs", MAX_INPUTS), ("outputs", MAX_OUTPUTS))
            # Where there was no room for all columns in the baseline, nobody knows which are new.
            if len(plan.names[side]) < most
        ]
        self._spans = [span for span in plan.spans if not span.field.aspect and _usual(span)]
        self._appeared: dict[str, int] = {}
        self._vanished: dict[str, int] = {}

    def appeared(self, rows: Rows, start_us: int) -> None:
        """Looks for columns that the baseline does not have."""
        if len(self._appeared) >= MOST:
            return
        for side, known, named in self._sides:
            for table in rows.table(side):
                new = table.keys() - known
                for name in sorted(new & named if named else new):
                    if len(self._appeared) >= MOST:
                        return
                    self._appeared.setdefault(f"{side}.{name}"[:MOST_NAME], start_us)

    def closed(self, start_us: int, vector: Vector) -> None:
        """Looks at a closed pane for columns without a single value."""
        for span in self._spans:
            slots = span.slots(vector)
            rows = int(slots.sum())
            if rows < LEAST_ROWS:
                continue
            if int(slots[span.field.own_slots + MISSING]) < rows:
                self._vanished.pop(span.label, None)
            elif len(self._vanished) < MOST:
                self._vanished.setdefault(span.label, start_us)

    def events(self) -> list[dict[str, Any]]:
        """What is new and what is gone, oldest first."""
        found = [("appeared", path, since) for path, since in self._appeared.items()]
        found += [("vanished", path, since) for path, since in self._vanished.items()]
        ordered = sorted(found, key=lambda each: (each[2], each[1]))
        return [{"event": event, "column": path, "since_us": since} for event, path, since in ordered]

    def state(self) -> list[Any]:
        """What `load` takes."""
        return [sorted(self._appeared.items()), sorted(self._vanished.items())]

    def load(self, state: list[Any]) -> None:
        """Takes what `state` gave."""
        self._appeared, self._vanished = dict(state[0]), dict(state[1])


def _usual(span: Span) -> bool:
    counts = span.field.counts
    total = sum(counts)
    there = total - counts[span.field.own_slots + MISSING]
    return span.label.startswith(("inputs.", "outputs.")) and bool(total) and there > MOSTLY_THERE * total
