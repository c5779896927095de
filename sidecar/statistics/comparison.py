"""Two baselines side by side: what `sidecar baseline diff` shows, and what changed with a new model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import CONCEALED, INVALID, MISSING, TAIL, Baseline, FieldBaseline
from sidecar.statistics.psi import MAX_NOISE, psi, psi_noise

Floats = npt.NDArray[np.float64]


def compare(before: Baseline, after: Baseline) -> dict[str, Any]:
    """JSON-able: digests, fields only one of them has, and per common field how far it moved.

    PSI between bins of different baselines takes the after's rows as spread
    evenly within each of its bins: near enough to see what changed.
    """
    report: dict[str, Any] = {
        "before": before.digest,
        "after": after.digest,
        "rows": [before.rows, after.rows],
        "appeared": [],
        "vanished": [],
        "fields": {},
    }
    pairs = (("inputs", before.inputs, after.inputs), ("outputs", before.outputs, after.outputs))
    for side, olds, news in pairs:
        known = {field.name: field for field in olds}
        found = {field.name: field for field in news}
        report["appeared"] += [f"{side}.{name}" for name in found if name not in known]
        report["vanished"] += [f"{side}.{name}" for name in known if name not in found]
        for name in known:
            if name in found:
                report["fields"][f"{side}.{name}"] = _field(known[name], found[name])
    return report


def _field(before: FieldBaseline, after: FieldBaseline) -> dict[str, Any]:
    moved: dict[str, Any] = {
        "kind": [before.kind, after.kind],
        "missing": [_share(before, MISSING), _share(after, MISSING)],
        "invalid": [_share(before, INVALID), _share(after, INVALID)],
        "mean": None,
        "psi": None,
        "insufficient": False,
    }
    if before.kind in ("numeric", "array", "vector") and after.kind == before.kind:
        moved["mean"] = [before.mean, after.mean]
        moved["deviation"] = [before.scale, after.scale]
    tables = _tables(before, after)
    if tables is not None:
        reference, now = tables
        moved["insufficient"] = psi_noise(now, reference) > MAX_NOISE
        moved["psi"] = psi(now, reference)
    return moved


def _share(field: FieldBaseline, slot: int) -> float | None:
    total = sum(field.counts)
    return field.counts[field.own_slots + slot] / total if total else None


def _tables(
    before: FieldBaseline, after: FieldBaseline
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Counts of both over common slots; None if the kinds have none."""
    if before.edges or after.edges:
        if before.kind != after.kind or not (before.own_slots and after.own_slots):
            return None
        edges = _edges(before)
        own = [_between(field, edges) for field in (before, after)]
    else:
        olds, news = _labelled(before), _labelled(after)
        labels = sorted(set(olds) | set(news))
        own = [
            np.array([counts.get(label, 0) for label in labels], dtype=np.float64) for counts in (olds, news)
        ]
    tails = [np.array(field.counts[-TAIL:], dtype=np.float64) for field in (before, after)]
    joined = [np.rint(np.concatenate(pair)).astype(np.int64) for pair in zip(own, tails, strict=True)]
    return joined[0], joined[1]


def _labelled(field: FieldBaseline) -> dict[str, int]:
    """Counts by label; what has no text to compare by counts as one."""
    found: dict[str, int] = {}
    for label, count in zip(field.labels(), field.counts, strict=False):
        found[label] = found.get(label, 0) + count
    return found if CONCEALED not in found else {CONCEALED: sum(found.values())}


def _edges(field: FieldBaseline) -> Floats:
    if field.edges:
        return np.array(field.edges, dtype=np.float64)
    numbers = np.array(field.numbers, dtype=np.float64)
    middles = (numbers[:-1] + numbers[1:]) / 2
    return np.concatenate(([numbers[0] - 1.0], middles, [numbers[-1] + 1.0]))


def _between(field: FieldBaseline, edges: Floats) -> Floats:
    """Rows of the field below, between and above the edges, by its own distribution function."""
    own = np.array(field.counts[: field.own_slots], dtype=np.float64)
    cumulative = np.concatenate(([0.0], np.cumsum(own)))
    at = np.interp(edges, _edges(field), cumulative)
    return np.diff(np.concatenate(([0.0], at, [cumulative[-1]])))
