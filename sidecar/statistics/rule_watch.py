"""What became of each data-quality rule since a monitor began, the exchanges of its baseline included."""

from __future__ import annotations

from typing import Any

import numpy as np

from sidecar.statistics.panes import packed, unpacked
from sidecar.statistics.rows import Rows
from sidecar.statistics.rule_tally import (
    BROKEN,
    PARTS,
    Checks,
    LastBroken,
    RuleSet,
    RuleTally,
    rules_summary,
)
from sidecar.statistics.tally import Vector


class RuleWatch:
    """Totals per rule, and the last records that broke it."""

    def __init__(self, rules: RuleSet | None, checks: Checks | None = None) -> None:
        """Without rules nothing is counted; without `checks` counts are only read."""
        self.checks = checks
        self._tally = RuleTally(rules, checks) if rules is not None and rules.rules else None
        self._counts: Vector = np.zeros(self._tally.size if self._tally else 0, dtype=np.int64)
        self.last = LastBroken()

    def count(self, rows: Rows) -> None:
        """Take in rows that no plan counts."""
        if self._tally is not None and self.checks is not None:
            self.note(self._tally, rows, self._tally.count(rows))

    def note(self, tally: RuleTally, rows: Rows, counts: Vector) -> None:
        """Take in rows that a plan's tally has counted."""
        self._counts += counts
        if counts[BROKEN::PARTS].any():
            self.last.note(tally, rows)

    def summary(self) -> dict[str, Any]:
        """`rules`, JSON-able; nothing where there are none."""
        if self._tally is None:
            return {}
        return {"rules": rules_summary(self._tally.rules, self._counts, self.last)}

    def state(self) -> tuple[bytes, dict[str, list[tuple[int, str]]]]:
        """Totals and last records, for `load`."""
        return packed(self._counts), self.last.state()

    def load(self, counts: bytes, last: dict[str, list[tuple[int, str]]]) -> None:
        """Take what `state` gave. Raises ValueError for counts of another size."""
        if counts:
            self._counts = unpacked(counts, len(self._counts))
        self.last = LastBroken(last)
