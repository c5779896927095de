"""Counts → what a person or a page reads: JSON-able, per field and window."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from sidecar.statistics.baseline import (
    CONCEALED,
    DETAIL_LABELS,
    INVALID,
    MISSING,
    NEW,
    OTHER,
    OVER,
    TAIL,
    UNDER,
    FieldBaseline,
)
from sidecar.statistics.bias import bias_report
from sidecar.statistics.coding import mean_of
from sidecar.statistics.field_tally import ANSWERED_ROWS, EXCHANGES, ROWS, Span
from sidecar.statistics.hours import expected
from sidecar.statistics.information import information_report
from sidecar.statistics.plan import Plan
from sidecar.statistics.psi import MAX_NOISE, psi, psi_noise
from sidecar.statistics.segments import SegmentTally
from sidecar.statistics.tally import Vector
from sidecar.statistics.warmup import Warmup

TOP = 5
MAX_SHARES = 20
"""Outputs with at most that many known values carry the share of each: the decisions."""


def counts_summary(plan: Plan, vector: Vector, from_us: int = 0, to_us: int = 0) -> dict[str, Any]:
    """Exchanges, rows, and by name all that the plan counts, for one vector: a pane's or any sum of them.

    Where the times are told, distances are from what those hours of the week were in the baseline.
    """
    summary: dict[str, Any] = {
        "exchanges": int(vector[EXCHANGES]),
        "instances": int(vector[ROWS]),
        "answered_instances": int(vector[ANSWERED_ROWS]),
        "features": {},
        "outputs": {},
        "exchange": {},
    }
    sides = {"inputs": summary["features"], "outputs": summary["outputs"], "exchange": summary["exchange"]}
    for span in plan.spans:
        side, _, name = span.label.partition(".")
        reference = expected(span.quantity(1.0), from_us, to_us)
        found = _field(span, vector, side == "outputs", reference)
        if span.field.aspect:
            sides[side][span.field.name].setdefault("aspects", {})[span.field.aspect] = found
        else:
            sides[side][name] = found
    summary["joint"] = {
        joint.name.removeprefix("joint/"): _distance(
            plan.part(vector, joint.name), expected(joint.quantity(0), from_us, to_us)
        )
        | {"count": int(plan.part(vector, joint.name).sum())}
        for joint in plan.joint
    }
    summary["bands"] = {band.spec.name: band.shares(plan.part(vector, band.name)) for band in plan.bands}
    summary["means"] = {
        mean.name.removeprefix("mean/"): mean.mean(plan.part(vector, mean.name)) for mean in plan.means
    }
    summary["segments"] = {
        tally.name.removeprefix("segment/"): _segments(tally, plan.part(vector, tally.name))
        for tally in plan.segments
    }
    return summary | bias_summary(plan, vector)


def bias_summary(plan: Plan, vector: Vector) -> dict[str, Any]:
    """`bias` and `information` by entry of the watch file: figures, and of bias a sentence per group."""
    found: dict[str, Any] = {"bias": {}, "information": {}}
    for tally in plan.groups:
        kind, _, name = tally.name.partition("/")
        counts = plan.part(vector, tally.name)
        if kind == "bias":
            report = bias_report(tally, counts)
            found[kind][name] = msgspec.to_builtins(report) | {"sentences": report.sentences()}
        else:
            found[kind][name] = msgspec.to_builtins(information_report(tally, counts))
    return found


def _segments(tally: SegmentTally, counts: Vector) -> list[dict[str, Any]]:
    rows = tally.table(counts)[:, 0].tolist()
    labels = (*tally.labels, "other", "missing") if len(tally.labels) + 2 == len(rows) else tally.labels
    return [
        {"segment": label, "rows": count, "yes_share": rate}
        for label, count, rate in zip(labels, rows, tally.rates(counts), strict=True)
    ]


def _field(span: Span, vector: Vector, output: bool, reference: Vector) -> dict[str, Any]:
    field, slots = span.field, span.slots(vector)
    own = field.own_slots
    valid = int(slots.sum() - slots[own + MISSING] - slots[own + INVALID])
    summary: dict[str, Any] = {
        "kind": field.kind,
        "count": valid,
        "missing": int(slots[own + MISSING]),
        "invalid": int(slots[own + INVALID]),
        **_distance(slots, reference),
    }
    if summary["invalid"]:
        details = zip(DETAIL_LABELS, span.details(vector).tolist(), strict=True)
        summary["invalid_by"] = {name: count for name, count in details if count}
    if field.kind in ("numeric", "array", "vector"):
        summary["under"] = int(slots[own + UNDER])
        summary["over"] = int(slots[own + OVER])
        summary["mean"] = mean_of(field, int(vector[span.sum_at]), valid)
        summary["baseline_mean"] = field.mean if reference[: own + OTHER].sum() else None
        summary["baseline_deviation"] = field.scale
    if not field.edges:
        summary["new"] = int(slots[own + NEW])
        summary["other"] = int(slots[own + OTHER])
        summary["top"] = _top(field, slots, np.array(field.counts, dtype=np.int64))
        if output and 0 < own <= MAX_SHARES:
            summary["shares"] = _shares(field, slots)
            summary["baseline_shares"] = _shares(field, np.array(field.counts, dtype=np.int64))
    if field.concealed:
        summary["redacted"] = True
    return summary


def _distance(slots: Vector, reference: Vector) -> dict[str, Any]:
    noise = psi_noise(slots, reference)
    insufficient = noise > MAX_NOISE
    return {
        "psi": None if insufficient else psi(slots, reference),
        "insufficient": insufficient,
        "psi_noise": noise if np.isfinite(noise) else None,
    }


def _top(field: FieldBaseline, slots: Vector, reference: Vector) -> list[dict[str, Any]]:
    """The most frequent known values now, most frequent first; redacted ones are left out."""
    own = slots[: field.own_slots]
    now, before = _parts(slots), _parts(reference)
    labels = field.labels()
    ranked = sorted(range(len(own)), key=lambda slot: (-int(own[slot]), slot))
    return [
        {"value": labels[slot], "share": now[slot], "baseline_share": before[slot]}
        for slot in ranked[:TOP]
        if own[slot] and labels[slot] != CONCEALED
    ]


def _shares(field: FieldBaseline, slots: Vector) -> dict[str, float | None]:
    """The share of each known value among the valid ones; `new` for all others if there are any."""
    pairs = zip(field.labels(), _parts(slots), strict=False)
    shares: dict[str, float | None] = {label: part for label, part in pairs if label != CONCEALED}
    own = field.own_slots
    strange = int(slots[own : own + MISSING].sum())
    if strange:
        shares["(new)"] = strange / int(slots[: own + MISSING].sum())
    return shares


def _parts(slots: Vector) -> list[float | None]:
    valid = int(slots[: len(slots) - TAIL + MISSING].sum())
    return [int(count) / valid if valid else None for count in slots[: len(slots) - TAIL]]


def warmup_summary(warmup: Warmup | None, wanted: int) -> dict[str, Any]:
    """The same before there is a baseline: how far it is."""
    taken = (warmup.answered, warmup.inputs.rows) if warmup else (0, 0)
    unwatched = (warmup.inputs.unwatched, warmup.outputs.unwatched) if warmup else (0, 0)
    empty: dict[str, Any] = {}
    return {
        "state": "warming_up",
        "plan": None,
        "baseline": {
            "digest": None,
            "source": None,
            "exchanges": taken[0],
            "instances": taken[1],
            "wanted": wanted,
        },
        "unwatched": {"features": unwatched[0], "outputs": unwatched[1]},
        "exchanges": 0,
        "instances": 0,
        "answered_instances": 0,
        "features": empty,
        "outputs": empty,
        "exchange": empty,
        "window": None,
        "events": [],
        "alarms": [],
        "promises": [],
    }
