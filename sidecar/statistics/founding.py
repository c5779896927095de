"""Columns of values → a whole baseline: fields, exchanges, what holds between fields, and the spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import NEW, OTHER, TAIL, Baseline, FieldBaseline
from sidecar.statistics.coding import Codes
from sidecar.statistics.exchange import RESULTS
from sidecar.statistics.field_counter import Counted, FieldCounter
from sidecar.statistics.field_tally import Span
from sidecar.statistics.freezing import counted, freeze_field
from sidecar.statistics.joint import PairTally, ProjectionTally, freeze_pairs, freeze_projections, projected
from sidecar.statistics.spreading import Stretches, stretches_of

LATENCY_KL = 0.12
"""Nats, about half a standard deviation: latency follows the load, and smaller shifts are no news."""

Times = npt.NDArray[np.int64]
Cut = Callable[[Times | None], Stretches]


class Side(NamedTuple):
    """Columns by name, and the wall clock of each row; without times, None."""

    columns: Mapping[str, Sequence[Any]]
    times_us: Times | None

    @property
    def rows(self) -> int:
        if self.times_us is not None:
            return len(self.times_us)
        return max(map(len, self.columns.values()), default=0)


def found_baseline(
    inputs: Side,
    outputs: Side,
    *,
    answered: npt.NDArray[np.bool_] | None = None,
    exchange: Side | None = None,
    coarse: bool = False,
    pane_us: int = 0,
    source: str = "",
    epochs: Mapping[str, str] = MappingProxyType({}),
    by_hour: bool = False,
) -> Baseline:
    """The baseline of these columns.

    `answered` says which rows of the inputs the outputs are of (all, if None).
    With `coarse`, no number is told exactly. `pane_us` is the pane whose
    spread is looked at; 0 leaves it unknown. `epochs` gives, by path, the unit
    of numbers that are moments. With `by_hour` each hour of the week has counts of its own: rows have times.
    """
    cut = partial(stretches_of, pane_us=pane_us, by_hour=by_hour)
    if answered is None:
        answered = np.ones(inputs.rows, dtype=bool) if outputs.columns else np.zeros(inputs.rows, dtype=bool)
    units = [
        {path.removeprefix(side): unit for path, unit in epochs.items() if path.startswith(side)}
        for side in ("inputs.", "outputs.")
    ]
    side_in, coded_in = _fields(inputs, coarse, cut, units[0])
    side_out, coded_out = _fields(outputs, coarse, cut, units[1])
    projections = freeze_projections(side_in, coded_in)
    spread_in, spread_out = cut(inputs.times_us), cut(outputs.times_us)
    for at, projection in enumerate(projections):
        deviations = [
            found for name in projection.inputs if (found := coded_in[name].main.deviations) is not None
        ]
        tally = ProjectionTally(projection)
        slots = tally.slots(projected(projection.weights, deviations))
        spread = spread_in.spread(slots, tally.quantity(0))
        hours = spread_in.hours(slots, len(projection.counts))
        projections[at] = msgspec.structs.replace(projection, spread=spread, hours=hours)
    fields, codes = _answered(side_in, coded_in, side_out, coded_out, answered)
    pairs = []
    for pair in freeze_pairs(fields, codes):
        first, second = np.array(pair.first_groups), np.array(pair.second_groups)
        slots = first[codes[pair.first]] * len(pair.second_labels) + second[codes[pair.second]]
        spread = spread_out.spread(slots, PairTally(pair).quantity(0))
        hours = spread_out.hours(slots, len(pair.counts))
        pairs.append(msgspec.structs.replace(pair, spread=spread, hours=hours))
    times = exchange.times_us if exchange else inputs.times_us
    timed = times is not None and len(times) > 0
    return Baseline(
        exchanges=exchange.rows if exchange else inputs.rows,
        rows=inputs.rows,
        answered_rows=int(answered.sum()),
        inputs=side_in,
        outputs=side_out,
        exchange=_exchange(exchange, cut) if exchange else [],
        projections=projections,
        pairs=pairs,
        t_from_us=int(times.min()) if timed and times is not None else 0,
        t_to_us=int(times.max()) if timed and times is not None else 0,
        source=source,
    )


def _fields(
    side: Side, coarse: bool, cut: Cut, epochs: Mapping[str, str]
) -> tuple[list[FieldBaseline], dict[str, Counted]]:
    stretches = cut(side.times_us)
    fields, coded = [], {}
    for name, values in side.columns.items():
        field = freeze_field(name, values, side.times_us, coarse, epochs.get(name, ""))
        found = FieldCounter(field).counted(values, side.times_us, brief=True)
        coded[name] = found
        fields.append(_spread(field, found, stretches))
    return fields, coded


def _spread(field: FieldBaseline, found: Counted, stretches: Stretches) -> FieldBaseline:
    aspects = [
        _with_spread(aspect, stretches.at(found.places), coded.codes)
        for aspect, coded in zip(field.aspects, found.aspects, strict=True)
    ]
    return msgspec.structs.replace(_with_spread(field, stretches, found.main.codes), aspects=aspects)


def _with_spread(field: FieldBaseline, stretches: Stretches, codes: Codes) -> FieldBaseline:
    """Looked for as the field will be watched: slot by slot a dependence shows at half its size."""
    watched = Span("", field, 0).quantity(1.0)
    own = field.own_slots
    hours = stretches.hours(codes, len(field.counts), (own + OTHER, own + NEW, field.singletons))
    return msgspec.structs.replace(field, spread=stretches.spread(codes, watched), hours=hours)


def _exchange(side: Side, cut: Cut) -> list[FieldBaseline]:
    stretches = cut(side.times_us)
    fields = []
    for name, values in side.columns.items():
        if name == "result":
            bare = FieldBaseline(
                name, "categorical", [], [], RESULTS, b"", [0] * (len(RESULTS) + TAIL), 0.0, 1.0
            )
            field = counted(bare, values)
        else:
            field = freeze_field(name, values)
        field = _spread(field, FieldCounter(field).counted(values, brief=True), stretches)
        if name == "latency_ms":
            spread = replace(field.spread, kl=max(field.spread.kl, LATENCY_KL))
            field = msgspec.structs.replace(field, spread=spread)
        fields.append(field)
    return fields


def _answered(
    side_in: list[FieldBaseline],
    coded_in: Mapping[str, Counted],
    side_out: list[FieldBaseline],
    coded_out: Mapping[str, Counted],
    answered: npt.NDArray[np.bool_],
) -> tuple[dict[str, FieldBaseline], dict[str, Codes]]:
    """Fields and codes of both sides over the rows that were answered, by path."""
    fields: dict[str, FieldBaseline] = {}
    codes: dict[str, Codes] = {}
    for field in side_in:
        fields[f"inputs.{field.name}"] = field
        codes[f"inputs.{field.name}"] = coded_in[field.name].main.codes[answered]
    for field in side_out:
        fields[f"outputs.{field.name}"] = field
        codes[f"outputs.{field.name}"] = coded_out[field.name].main.codes
    return fields, codes
