"""Outcomes by protected group, within strata: the counts behind every statement on bias.

    bias:
      - {protected: inputs.black, reference: 0, outcome: not decision, ratio: 0.8, min_group: 30,
         stratum: {of: inputs.score, edges: [300, 600, 850]}, legitimate: [inputs.dir, inputs.lvr]}
      - {protected: [inputs.black, inputs.sex]}

A tally holds, stratum by stratum and group by group (those named, other,
missing), the rows with the favourable outcome, with the unfavourable one and
with an unknown one. Behind that table stand the same numbers once more in the
order in which a detector of two samples reads them, for each named group
against the reference group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.decision import UNKNOWN, Decision, Token, parse_decision
from sidecar.statistics.field_path import parse_path
from sidecar.statistics.quantity import TwoSample
from sidecar.statistics.rows import Rows
from sidecar.statistics.section import checked, entries
from sidecar.statistics.slices import JOINT, MISSING, OTHER, Slicing, Value, given_label, slicing
from sidecar.statistics.strata import Strata, StratumSpec, legitimate_bands, stratum
from sidecar.statistics.tally import Vector

FAVOURABLE, UNFAVOURABLE, OPEN = range(3)
PARTS = 3
PAIR = 4
"""Of one comparison in one stratum: favourable and all of the reference, favourable and all of the group."""

Table = npt.NDArray[np.int64]
"""Counts by stratum, group and part."""


class BiasSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of `bias`, as it is written."""

    protected: str | tuple[str, ...]
    reference: Value | tuple[Value, ...] | None = None
    """The group that others are held against; left out: the baseline's largest."""
    outcome: str | None = None
    """The favourable outcome; left out: `decision`, or `not decision` where that is the favourable one."""
    ratio: float = 0.8
    min_group: int = 30
    stratum: StratumSpec | None = None
    legitimate: tuple[str, ...] = ()
    groups: tuple[Value, ...] = ()
    """The groups told apart (pairs as `a & b`); left out: those of the baseline."""
    name: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """One path, or the two of an intersection."""
        return (self.protected,) if isinstance(self.protected, str) else self.protected

    @property
    def title(self) -> str:
        """What the entry is called: its name, or its paths."""
        return self.name or JOINT.join(self.paths)


def parse_bias(section: object) -> tuple[BiasSpec, ...]:
    """The section's entries. Raises ValueError: one line that names the entry and the key."""
    specs = entries(section, BiasSpec, "bias")
    for number, spec in enumerate(specs):
        where = f"bias[{number}]"
        checked(1 <= len(spec.paths) <= 2, where, "protected: one path, or a list of two for an intersection")
        for path in (*spec.paths, *spec.legitimate, *([spec.stratum.of] if spec.stratum else [])):
            try:
                parse_path(path)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        checked(0 < spec.ratio <= 1, where, f"ratio {spec.ratio}: above 0 and at most 1 (four fifths: 0.8)")
        checked(1 <= spec.min_group <= 1_000_000, where, f"min_group {spec.min_group}: at least 1")
        checked(not (spec.name and "/" in spec.name), where, "name must be a text without '/'")
    titles = [spec.title for spec in specs]
    checked(len(set(titles)) == len(titles), "bias", "two entries are of one attribute: give each a name")
    return specs


@dataclass(frozen=True, slots=True)
class GroupTally:
    """The counts behind one entry: whether a group's favourable rate falls short of the reference's.

    `[table of strata × groups × (favourable, unfavourable, unknown), then per
    compared group and stratum the four numbers of a `TwoSample`]`.
    """

    name: str
    outcome: Decision
    groups: Slicing
    reference: int
    strata: Strata | None = None
    ratio: float = 0.8
    min_group: int = 30
    both_ways: bool = False
    """Also whether the reference's rate falls short of the group's."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The table's groups."""
        return (*self.groups.labels, OTHER, MISSING)

    @property
    def depth(self) -> int:
        """The table's strata."""
        return self.strata.size if self.strata else 1

    @property
    def compared(self) -> tuple[int, ...]:
        """The groups held against the reference."""
        return tuple(group for group in range(len(self.groups.labels)) if group != self.reference)

    @property
    def size(self) -> int:
        ways = 2 if self.both_ways else 1
        return self.depth * (len(self.labels) * PARTS + PAIR * len(self.compared) * ways)

    def count(self, rows: Rows) -> Vector:
        answers = self.outcome.answers(rows).astype(np.int64)
        parts = np.where(answers == UNKNOWN, OPEN, 1 - answers)
        groups = self.groups.codes(rows)
        strata = self.strata.codes(rows) if self.strata else np.zeros(rows.count, dtype=np.int64)
        width = len(self.labels)
        places = (strata * width + groups) * PARTS + parts
        flat = np.bincount(places, minlength=self.depth * width * PARTS).astype(np.int64, copy=False)
        table = flat.reshape(self.depth, width, PARTS)
        pairs = [self._pair(table, self.reference, group) for group in self.compared]
        if self.both_ways:
            pairs += [self._pair(table, group, self.reference) for group in self.compared]
        return np.concatenate([flat, *pairs])

    @staticmethod
    def _pair(table: Table, first: int, second: int) -> Vector:
        known = table[:, :, FAVOURABLE] + table[:, :, UNFAVOURABLE]
        yes = table[:, :, FAVOURABLE]
        columns = (yes[:, first], known[:, first], yes[:, second], known[:, second])
        return np.stack(columns, axis=1).ravel()

    def table(self, counts: Vector) -> Table:
        """The table of these counts."""
        width = len(self.labels)
        return counts[: self.depth * width * PARTS].reshape(self.depth, width, PARTS)

    def quantities(self, start: int) -> tuple[TwoSample, ...]:
        """What is watched: each named group against the reference; the entry's weight is shared."""
        at = start + self.depth * len(self.labels) * PARTS
        labels = self.groups.labels
        names = [f"{self.name}/{labels[group]}" for group in self.compared]
        if self.both_ways:
            names = [f"{name} below" for name in names] + [f"{name} above" for name in names]
        return tuple(
            TwoSample(
                name,
                at + PAIR * self.depth * index,
                self.ratio,
                self.depth,
                self.min_group,
                weight=1 / len(names),
            )
            for index, name in enumerate(names)
        )


def group_tallies(
    specs: Sequence[BiasSpec],
    decision: Decision | None,
    fields: Mapping[str, FieldBaseline],
    favourable: bool = True,
    token: Token | None = None,
) -> list[GroupTally]:
    """The tallies of all entries: one per entry, and one more where legitimate features are named.

    `token` says what is counted in place of a concealed value. Raises ValueError.
    """
    tallies = []
    for number, spec in enumerate(specs):
        where = f"bias[{number}] ({spec.title[:40]})"
        try:
            outcome = parse_decision(spec.outcome or ("decision" if favourable else "not decision"), decision)
        except ValueError as error:
            raise ValueError(f"{where}: outcome: {error}") from error
        groups = slicing(spec.paths, fields, where, values=spec.groups)
        checked(len(groups.labels) > 1, where, "only one group: nothing to hold it against")
        reference = _reference(spec, groups, where)
        held = stratum(spec.stratum, fields, where) if spec.stratum else None
        alike = legitimate_bands(spec.legitimate, fields, where) if spec.legitimate else None
        if token is not None:
            outcome, groups = outcome.tokenised(token), groups.tokenised(token)
            held, alike = held and held.tokenised(token), alike and alike.tokenised(token)
        facts = (outcome, groups, reference)
        tallies.append(GroupTally(f"bias/{spec.title}", *facts, held, spec.ratio, spec.min_group))
        if alike is not None:
            name = f"information/{spec.title}"
            tallies.append(GroupTally(name, *facts, alike, spec.ratio, spec.min_group, both_ways=True))
    return tallies


def _reference(spec: BiasSpec, groups: Slicing, where: str) -> int:
    """The reference's place among the groups; those of the baseline begin with the largest."""
    if spec.reference is None:
        return 0
    parts = spec.reference if isinstance(spec.reference, tuple) else (spec.reference,)
    label = JOINT.join(given_label(part, f"{where}: reference") for part in parts)
    known = dict(zip(groups.values, range(len(groups.values)), strict=True))
    words = f"reference {label[:40]!r} is none of the groups {', '.join(groups.labels[:10])}"
    checked(label in known, where, words)
    return known[label]
