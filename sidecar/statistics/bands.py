"""Shares that must stay within bounds: rejections between 50 % and 75 %, acceptance per band of a score.

    bands:
      - {name: rejections, share: decision, low: 0.50, high: 0.75}
      - {name: acceptance, share: not decision, low: 0.5, by: inputs.score, edges: [300, 600, 850]}

Counts per slice (one slice without `by`): rows that the rule says yes to, rows
that it can be asked of, and rows where the answer is unknown. Shares are of
the rows with an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.decision import UNKNOWN, Decision, Token, parse_decision
from sidecar.statistics.quantity import Band
from sidecar.statistics.rows import Rows
from sidecar.statistics.section import checked, entries
from sidecar.statistics.slices import Slicing, Value, slicing
from sidecar.statistics.tally import Vector

YES, KNOWN, OPEN = range(3)
PARTS = 3


class BandSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of `bands`, as it is written."""

    name: str
    share: str = "decision"
    low: float = 0.0
    high: float = 1.0
    by: str | None = None
    edges: tuple[float, ...] = ()
    values: tuple[Value, ...] = ()


def parse_bands(section: object) -> tuple[BandSpec, ...]:
    """The section's entries. Raises ValueError: one line that names the entry and the key."""
    specs = entries(section, BandSpec, "bands")
    for number, spec in enumerate(specs):
        where = f"bands[{number}] ({spec.name[:40]})"
        checked(spec.name and "/" not in spec.name, where, "name must be a text without '/'")
        checked(
            0 <= spec.low < spec.high <= 1, where, f"low {spec.low} and high {spec.high}: 0 ≤ low < high ≤ 1"
        )
        checked((spec.low, spec.high) != (0.0, 1.0), where, "give low or high: shares are always in 0..1")
        checked(spec.by or not (spec.edges or spec.values), where, "edges and values are for 'by'")
    names = [spec.name for spec in specs]
    checked(len(set(names)) == len(names), "bands", "two entries have one name")
    return specs


@dataclass(frozen=True, slots=True)
class BandTally:
    """The counts behind one entry."""

    spec: BandSpec
    rule: Decision
    slices: Slicing | None = None

    @property
    def name(self) -> str:
        return f"band/{self.spec.name}"

    @property
    def size(self) -> int:
        return PARTS * (self.slices.size if self.slices else 1)

    def count(self, rows: Rows) -> Vector:
        answers = self.rule.answers(rows).astype(np.int64)
        width = self.size // PARTS
        codes = self.slices.codes(rows) if self.slices else np.zeros(rows.count, dtype=np.int64)
        table = np.zeros((width, PARTS), dtype=np.int64)
        known = answers != UNKNOWN
        table[:, YES] = np.bincount(codes[answers == 1], minlength=width)
        table[:, KNOWN] = np.bincount(codes[known], minlength=width)
        table[:, OPEN] = np.bincount(codes[~known], minlength=width)
        return table.ravel()

    def quantities(self, start: int) -> tuple[Band, ...]:
        """What is watched, one per slice that has a name; the entry's weight is shared among them."""
        low, high = self.spec.low, self.spec.high
        if self.slices is None:
            return (Band(self.name, start, low, high),)
        labels = self.slices.labels
        return tuple(
            Band(f"{self.name}/{label}", start + PARTS * index, low, high, weight=1 / len(labels))
            for index, label in enumerate(labels)
        )

    def shares(self, counts: Vector) -> list[dict[str, object]]:
        """For people: per slice the share and what it is a share of; None where there is no row."""
        labels = (*self.slices.labels, "other", "missing") if self.slices else ("",)
        rows = counts.reshape(-1, PARTS)
        return [
            {
                "slice": label,
                "share": int(row[YES]) / int(row[KNOWN]) if row[KNOWN] else None,
                "yes": int(row[YES]),
                "rows": int(row[KNOWN]),
                "unknown": int(row[OPEN]),
            }
            for label, row in zip(labels, rows, strict=True)
        ]


def band_tallies(
    specs: Sequence[BandSpec],
    decision: Decision | None,
    fields: Mapping[str, FieldBaseline],
    token: Token | None = None,
) -> list[BandTally]:
    """A tally per entry; `token` says what is counted in place of a concealed value.

    Raises ValueError for a rule that cannot be read, or slices that nobody knows.
    """
    tallies = []
    for number, spec in enumerate(specs):
        where = f"bands[{number}] ({spec.name[:40]})"
        try:
            rule = parse_decision(spec.share, decision)
        except ValueError as error:
            raise ValueError(f"{where}: share: {error}") from error
        slices = None
        if spec.by is not None:
            slices = slicing([spec.by], fields, where, spec.edges, spec.values)
        if token is not None:
            rule, slices = rule.tokenised(token), slices and slices.tokenised(token)
        tallies.append(BandTally(spec, rule, slices))
    return tallies
