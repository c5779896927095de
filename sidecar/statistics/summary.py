"""Counts → what a person or a page reads: JSON-able, per field and window."""

from __future__ import annotations

from typing import Any

import numpy as np

from sidecar.statistics.baseline import INVALID, MISSING, NEW, OTHER, OVER, TAIL, UNDER, FieldBaseline
from sidecar.statistics.coding import mean_of
from sidecar.statistics.layout import ANSWERED_ROWS, EXCHANGES, ROWS, Layout, Vector
from sidecar.statistics.psi import MAX_NOISE, psi, psi_noise

TOP = 5
MAX_SHARES = 20
"""Outputs with at most that many known values carry the share of each: the decisions."""


def counts_summary(layout: Layout, vector: Vector) -> dict[str, Any]:
    """Exchanges, rows, and `features` and `outputs` by name, for one vector of counts."""
    watched = len(layout.baseline.inputs)
    fields = [_field(layout, vector, index) for index in range(len(layout.fields))]
    names = [field.name for field in layout.fields]
    return {
        "exchanges": int(vector[EXCHANGES]),
        "instances": int(vector[ROWS]),
        "answered_instances": int(vector[ANSWERED_ROWS]),
        "features": dict(zip(names[:watched], fields[:watched], strict=True)),
        "outputs": dict(zip(names[watched:], fields[watched:], strict=True)),
    }


def _field(layout: Layout, vector: Vector, index: int) -> dict[str, Any]:
    field = layout.fields[index]
    slots = layout.slots(vector, index)
    reference = np.array(field.counts, dtype=np.int64)
    own = field.own_slots
    noise = psi_noise(slots, reference)
    insufficient = noise > MAX_NOISE
    valid = int(slots.sum() - slots[own + MISSING] - slots[own + INVALID])
    summary: dict[str, Any] = {
        "kind": field.kind,
        "count": valid,
        "missing": int(slots[own + MISSING]),
        "invalid": int(slots[own + INVALID]),
        "psi": None if insufficient else psi(slots, reference),
        "insufficient": insufficient,
        "psi_noise": noise if np.isfinite(noise) else None,
    }
    if field.kind in ("numeric", "array"):
        summary["under"] = int(slots[own + UNDER])
        summary["over"] = int(slots[own + OVER])
        summary["mean"] = mean_of(field, layout.fixed_sum(vector, index), valid)
        summary["baseline_mean"] = field.mean if reference[: own + OTHER].sum() else None
        summary["baseline_deviation"] = field.scale
    if not field.edges:
        summary["new"] = int(slots[own + NEW])
        summary["other"] = int(slots[own + OTHER])
        summary["top"] = _top(field, slots, reference)
        if index >= len(layout.baseline.inputs) and 0 < own <= MAX_SHARES:
            summary["shares"] = _shares(field, slots)
            summary["baseline_shares"] = _shares(field, reference)
    return summary


def _top(field: FieldBaseline, slots: Vector, reference: Vector) -> list[dict[str, Any]]:
    """The most frequent known values now, most frequent first."""
    own = slots[: field.own_slots]
    now, before = _parts(slots), _parts(reference)
    labels = field.labels()
    ranked = sorted(range(len(own)), key=lambda slot: (-int(own[slot]), slot))
    return [
        {"value": labels[slot], "share": now[slot], "baseline_share": before[slot]}
        for slot in ranked[:TOP]
        if own[slot]
    ]


def _shares(field: FieldBaseline, slots: Vector) -> dict[str, float | None]:
    """The share of each known value among the valid ones; `new` for all others if there are any."""
    parts = _parts(slots)
    shares: dict[str, float | None] = dict(zip(field.labels(), parts, strict=False))
    own = field.own_slots
    strange = int(slots[own : own + MISSING].sum())
    if strange:
        shares["(new)"] = strange / int(slots[: own + MISSING].sum())
    return shares


def _parts(slots: Vector) -> list[float | None]:
    valid = int(slots[: len(slots) - TAIL + MISSING].sum())
    return [int(count) / valid if valid else None for count in slots[: len(slots) - TAIL]]
