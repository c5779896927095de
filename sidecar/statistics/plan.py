"""Baseline + watch specification → the tallies, their places in one vector, and what is watched.

A plan is named by the SHA-256 of its canonical bytes; panes counted anywhere
under one plan add, number by number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import msgspec
import numpy as np

from sidecar.errors import UsageError
from sidecar.statistics.bands import BandTally, band_tallies
from sidecar.statistics.baseline import Baseline, FieldBaseline
from sidecar.statistics.decision import Token
from sidecar.statistics.field_counter import Counted, FieldCounter, coded
from sidecar.statistics.field_tally import ExchangeTally, FieldTally, HeadTally, Span
from sidecar.statistics.groups import GroupTally, group_tallies
from sidecar.statistics.joint import PairTally, ProjectionTally
from sidecar.statistics.means import MeanTally, mean_tallies
from sidecar.statistics.quantity import Quantity
from sidecar.statistics.rows import Rows
from sidecar.statistics.rule_tally import Checks, RuleTally
from sidecar.statistics.segment_parts import SegmentParts
from sidecar.statistics.segments import segment_tallies
from sidecar.statistics.slices import fields_by_path
from sidecar.statistics.tally import Tally, Vector
from sidecar.statistics.watch_spec import WatchSpec

FORMAT = 2


class _Document(msgspec.Struct, frozen=True):
    format: int
    baseline: Baseline
    watch: WatchSpec


def _check_times(times: Mapping[str, str], fields: Mapping[str, FieldBaseline]) -> None:
    """Raises ValueError where a baseline has made other than such moments of a field."""
    for path, unit in times.items():
        known = fields.get(path)
        if known is not None and (known.kind, known.epoch) != ("timestamp", unit):
            made = f"moments in {known.epoch}" if known.epoch else known.kind
            raise ValueError(
                f"times: {path[:60]} is {made} in the baseline: make it with "
                f"`sidecar baseline create --epoch {path[:60]}={unit}`"
            )


@dataclass(frozen=True)
class Place:
    """A tally and where its counts begin."""

    tally: Tally
    start: int


class Plan:
    """What is counted under one baseline and one specification."""

    def __init__(
        self,
        baseline: Baseline,
        watch: WatchSpec | None = None,
        token: Token | None = None,
        checks: Checks | None = None,
    ) -> None:
        """`token` gives what is counted in place of a concealed value, where any is.

        `checks` are what `watch.rules` stand for; without them such a plan reads counts and makes none.
        Raises ValueError where the specification asks for what the baseline does not have.
        """
        self.baseline = baseline
        self.watch = watch or WatchSpec()
        fields: list[tuple[str, FieldBaseline]] = []
        self.names: dict[str, frozenset[str]] = {}
        """The watched fields of `inputs` and of `outputs`."""
        for side, known in (("inputs", baseline.inputs), ("outputs", baseline.outputs)):
            named = self.watch.named(side)
            watched = [field for field in known if not named or field.name in named]
            fields += [(f"{side}.{field.name}", field) for field in watched]
            self.names[side] = frozenset(field.name for field in watched)
        self._counters = {path: FieldCounter(field) for path, field in fields}
        self.fields = [FieldTally(path, field, self.coded) for path, field in fields]
        self.exchange = [
            ExchangeTally(f"exchange.{field.name}", field, FieldCounter(field)) for field in baseline.exchange
        ]
        head = HeadTally(self.names["inputs"], self.names["outputs"])
        by_path: dict[str, FieldBaseline] = fields_by_path(baseline)
        _check_times(self.watch.times, by_path)
        rule = self.watch.rule
        self.bands = band_tallies(self.watch.bands, rule, by_path, token)
        self.means = mean_tallies(self.watch.means, by_path)
        self.segments = segment_tallies(self.watch.segments, rule, by_path, token)
        self.groups = group_tallies(self.watch.bias, rule, by_path, self.watch.favourable, token=token)
        self.joint = self._joint()
        rules = self.watch.rules
        self.rules = [RuleTally(rules, checks)] if rules is not None and rules.rules else []
        """One tally for all data-quality rules, if there are any."""
        self.tallies: list[Tally] = [
            head,
            *self.fields,
            *self.exchange,
            *self.joint,
            *self.bands,
            *self.means,
            *self.segments,
            *self.groups,
            *self.rules,
        ]
        self.places: dict[str, Place] = {}
        at = 0
        for tally in self.tallies:
            if tally.name in self.places:
                raise ValueError(f"two things to count are called {tally.name[:80]}: name them differently")
            self.places[tally.name] = Place(tally, at)
            at += tally.size
        self.size = at

    def _joint(self) -> list[ProjectionTally | PairTally]:
        """What is counted of fields together, where all of them are watched."""
        projections = (
            ProjectionTally(each, self.coded)
            for each in self.baseline.projections
            if self.names["inputs"].issuperset(each.inputs)
        )
        pairs = (
            PairTally(each, self.coded)
            for each in self.baseline.pairs
            if {each.first, each.second} <= self._counters.keys()
        )
        return [*projections, *pairs]

    def empty(self) -> Vector:
        """A vector of zeros."""
        return np.zeros(self.size, dtype=np.int64)

    def count(self, rows: Rows) -> Vector:
        """The vector of these rows."""
        return np.concatenate([tally.count(rows) for tally in self.tallies])

    def part(self, vector: Vector, name: str) -> Vector:
        """The counts of the tally of that name."""
        place = self.places[name]
        return vector[place.start : place.start + place.tally.size]

    def coded(self, rows: Rows, path: str) -> Counted:
        """A field's column as slots, made once per batch."""
        return coded(rows, path, self._counters[path])

    @cached_property
    def spans(self) -> list[Span]:
        """Every field, aspect and value of an exchange, with its place."""
        tallies: Sequence[FieldTally | ExchangeTally] = [*self.fields, *self.exchange]
        return [span for tally in tallies for span in tally.spans(self.places[tally.name].start)]

    @cached_property
    def quantities(self) -> list[Quantity]:
        """All that is watched under the model's budget of false alarms, with their weights."""
        found: list[Quantity] = [span.quantity(1.0) for span in self.spans if sum(span.field.counts)]
        found += [joint.quantity(self.places[joint.name].start) for joint in self.joint]
        watched: Sequence[BandTally | MeanTally | GroupTally] = [*self.bands, *self.means, *self.groups]
        for tally in watched:
            found += tally.quantities(self.places[tally.name].start)
        for rules in self.rules:
            found += rules.quantities(self.places[rules.name].start)
        return [self._weighed(quantity) for quantity in found]

    def segment_parts(self) -> SegmentParts:
        """What tells an alarm the segments that its change comes from."""
        return SegmentParts([(tally, self.places[tally.name].start) for tally in self.segments])

    def quantity(self, name: str) -> Quantity:
        """The quantity of that name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Quantity]:
        return {quantity.name: quantity for quantity in self.quantities}

    def _weighed(self, quantity: Quantity) -> Quantity:
        """With the weight that the specification gives it, its tally's path or its field's."""
        weights = self.watch.weights
        for name in (quantity.name, quantity.name.partition("#")[0]):
            if name in weights:
                return replace(quantity, weight=quantity.weight * weights[name])
        return quantity

    def encode(self) -> bytes:
        """Canonical bytes (JSON); equal plans have equal bytes."""
        # Made anew each time: it is seldom asked for, and as large as all that it is made of.
        return msgspec.json.encode(_Document(FORMAT, self.baseline, self.watch))

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of `encode()`, the plan's name."""
        return sha256(self.encode()).hexdigest()

    @classmethod
    def decode(cls, data: bytes, token: Token | None = None, checks: Checks | None = None) -> Plan:
        """The plan with these bytes. Raises UsageError, phrased to follow its name."""
        try:
            document = msgspec.json.decode(data, type=_Document)
            if document.format != FORMAT:
                raise UsageError(f"is a plan of format {document.format}, this build reads {FORMAT}")
            plan = cls(document.baseline, document.watch, token, checks)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise UsageError(f"is no plan of statistics: {error}") from error
        if plan.encode() != data:
            raise UsageError("is a plan of another build: its bytes are not those that this build writes")
        return plan
