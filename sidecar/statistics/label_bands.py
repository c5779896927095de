"""Figures of ground truth that are to stay within bounds: as bands over counts of labels."""

from __future__ import annotations

import numpy as np

from sidecar.statistics.evaluator import Evaluator
from sidecar.statistics.labels import FN, FP, RIGHT, TN, TP, WRONG, LabelBand, LabelTally
from sidecar.statistics.quantity import Band
from sidecar.statistics.tally import Vector
from sidecar.statistics.watch_spec import WatchSpec

_BINARY = {
    "accuracy": ((TP, TN), (TP, TN, FP, FN)),
    "error_rate": ((FP, FN), (TP, TN, FP, FN)),
    "precision": ((TP,), (TP, FP)),
    "recall": ((TP,), (TP, FN)),
    "false_positive_rate": ((FP,), (FP, TN)),
    "false_negative_rate": ((FN,), (FN, TP)),
}
_CLASSES = {"accuracy": ((RIGHT,), (RIGHT, WRONG)), "error_rate": ((WRONG,), (RIGHT, WRONG))}


def label_quantities(watch: WatchSpec) -> list[Band]:
    """The bands of the section `labels`, each with its place in the vector of `band_counts`."""
    bands = () if watch.labels is None else watch.labels.bands
    return [
        Band(
            band.name,
            2 * place,
            band.low,
            band.high,
            weight=watch.weights.get(band.name, 1.0),
            title=_title(band),
        )
        for place, band in enumerate(bands)
    ]


def _title(band: LabelBand) -> str:
    group = "" if band.group is None else f" of group {band.group}"
    return f"{band.figure.replace('_', ' ')}{group}, by the labels that came,"


def band_counts(tally: LabelTally, counts: Vector) -> Vector:
    """Successes and trials of every band, shape (2 · bands,)."""
    figures = _BINARY if tally.spec.kind == "binary" else _CLASSES
    table = tally.table(counts)
    found = np.zeros(2 * len(tally.spec.bands), dtype=np.int64)
    for place, band in enumerate(tally.spec.bands):
        row = table.sum(axis=0) if band.group is None else table[tally.group(band.group)]
        won, trials = figures[band.figure]
        found[2 * place] = row[list(won)].sum()
        found[2 * place + 1] = row[list(trials)].sum()
    return found


def part_for_labels(watch: WatchSpec, evaluator: Evaluator) -> float:
    """The part of the budget that the bands of labels have beside all else that is watched."""
    own = sum(band.weight for band in label_quantities(watch))
    return own / (own + evaluator.weight) if own else 0.0
