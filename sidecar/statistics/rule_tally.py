"""How many rows keep and break each data-quality rule, and the last that broke it.

What the rules are is not known here: a function over rows says which ones break
which. A plan carries their names, what is allowed, and a digest of the rest, so
that panes counted under other rules never add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.statistics.quantity import Band
from sidecar.statistics.rows import Rows
from sidecar.statistics.tally import Vector

NAME: Final = "rules"
PREFIX: Final = "rule/"
BROKEN, CHECKED = range(2)
PARTS: Final = 2
LAST: Final = 5
"""Records kept per rule."""


class RuleSpec(msgspec.Struct, frozen=True):
    """One rule, as far as counting needs it."""

    name: str
    """For example `inputs.age/range`; unique among the rules."""
    limit: float
    """The share of checked rows that may break it before an alarm; above 0."""


class RuleSet(msgspec.Struct, frozen=True):
    """The rules of one schema."""

    digest: str
    """Hex SHA-256 of all that the rules say."""
    rules: tuple[RuleSpec, ...]


class Verdict(Protocol):
    """What one rule says of some rows."""

    @property
    def checked(self) -> int: ...

    @property
    def violated(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows that break it, ascending."""


Checks = Callable[[Rows], Sequence[Verdict]]
"""One verdict per rule. May remember values, so each monitor has its own."""


class RuleTally:
    """Per rule the rows that break it and the rows it has something to say of.

    Counts of parts add to those of the whole as long as the rules look at single
    rows; a rule that looks back (`unique`) sees the rows in the order in which
    they are counted, and those of one process only.
    """

    def __init__(self, rules: RuleSet, checks: Checks | None = None) -> None:
        """Without `checks` the tally reads counts and makes none."""
        self.rules = rules
        self._checks = checks

    @property
    def name(self) -> str:
        return NAME

    @property
    def size(self) -> int:
        return PARTS * len(self.rules.rules)

    def count(self, rows: Rows) -> Vector:
        counts = np.zeros((len(self.rules.rules), PARTS), dtype=np.int64)
        for place, verdict in enumerate(self.verdicts(rows)):
            counts[place] = len(verdict.violated), verdict.checked
        return counts.ravel()

    def verdicts(self, rows: Rows) -> Sequence[Verdict]:
        """What the rules say of these rows, asked once. Raises ValueError where no rules are at hand."""
        checks = self._checks
        if checks is None:
            raise ValueError("data-quality rules are counted where their schema is, not from a plan alone")
        return rows.derived((NAME, id(self)), lambda: checks(rows))

    def quantities(self, start: int) -> list[Band]:
        """Each rule's share of broken rows, which must not exceed what it allows."""
        return [
            Band(
                PREFIX + rule.name,
                start + PARTS * place,
                0.0,
                rule.limit,
                title=f"share of rows that break {rule.name}",
            )
            for place, rule in enumerate(self.rules.rules)
            # A share of everything can never be too high.
            if rule.limit < 1
        ]


class LastBroken:
    """For each rule the last few records that broke it. Bounded; the same however the rows are cut."""

    def __init__(self, kept: Mapping[str, Sequence[tuple[int, str]]] | None = None) -> None:
        self._kept: dict[str, list[tuple[int, str]]] = {
            name: [(int(t_us), str(record_id)) for t_us, record_id in pairs][:LAST]
            for name, pairs in (kept or {}).items()
        }

    def note(self, tally: RuleTally, rows: Rows) -> None:
        """Look at rows that the tally has just counted."""
        for rule, verdict in zip(tally.rules.rules, tally.verdicts(rows), strict=True):
            if not len(verdict.violated):
                continue
            # Each record once, however many of its rows broke it.
            samples = (
                rows.decoded[place] for place in np.unique(rows.sample_of_row[verdict.violated]).tolist()
            )
            found = {(sample.t_us, sample.record_id) for sample in samples}
            self._kept[rule.name] = sorted(found.union(self._kept.get(rule.name, ())), reverse=True)[:LAST]

    def record_ids(self, name: str) -> tuple[str, ...]:
        """The last records that broke the rule of that name, latest first."""
        return tuple(record_id for _, record_id in self._kept.get(name, ()))

    def state(self) -> dict[str, list[tuple[int, str]]]:
        """What the constructor takes."""
        return dict(sorted(self._kept.items()))


def rules_summary(rules: RuleSet, counts: Vector, last: LastBroken | None = None) -> list[dict[str, Any]]:
    """JSON-able: per rule how many rows were checked and broke it, and the last of them."""
    found = []
    for rule, (broken, checked) in zip(rules.rules, counts.reshape(-1, PARTS).tolist(), strict=True):
        each = {
            "rule": rule.name,
            "checked": checked,
            "violated": broken,
            "share": broken / checked if checked else None,
            "limit": rule.limit,
        }
        if last is not None:
            each["record_ids"] = list(last.record_ids(rule.name))
        found.append(each)
    return found
