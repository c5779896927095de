"""Counts of labels → accuracy, precision, recall, AUC, calibration and errors, over all and by group."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from sidecar.statistics.coding import STEPS
from sidecar.statistics.labels import (
    BINS,
    FN,
    FP,
    NO_LABEL_NO,
    NO_LABEL_YES,
    RIGHT,
    TN,
    TP,
    WRONG,
    LabelTally,
)
from sidecar.statistics.rates import Estimate, rate
from sidecar.statistics.tally import Vector

SHARES = (
    "accuracy", "precision", "recall", "false_positive_rate", "false_negative_rate", "selection_rate",
)  # fmt: skip
ERRORS = ("mean_error", "mean_absolute_error", "root_mean_square_error")
SCORE = ("auc", "calibration_error")
"""Names of the figures that are numbers: with an interval, of errors, and of a score."""


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Scores that are alike: what they said on average, and how often it was true."""

    low: float
    high: float
    rows: int
    mean_score: float
    positive: Estimate


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well a score tells the classes apart, and how far it may be taken at its word."""

    auc: float | None
    """Area under the ROC curve, scores in one bin of 0.02 taken for equal; None for one class."""
    auc_uncertainty: float | None
    """How far the exact area may lie from that, at most."""
    calibration_error: float | None
    """Expected calibration error: mean distance of score and truth over the bins, by rows."""
    bins: tuple[CalibrationBin, ...]


def figures(tally: LabelTally, counts: Vector) -> dict[str, Any]:
    """JSON-able figures: `kind`, those of all rows, `groups`, and `score` where there is one."""
    table = tally.table(counts)
    of = {"binary": _binary, "classes": _classes, "number": _number}[tally.spec.kind]
    unit = tally.spec.unit or 1.0
    found: dict[str, Any] = {"kind": tally.spec.kind, **of(table.sum(axis=0), unit)}
    if tally.spec.by:
        pairs = zip(tally.labels, table, strict=True)
        found["by"] = tally.spec.by
        found["groups"] = {label: of(row, unit) for label, row in pairs if row.any()}
    if tally.spec.kind == "binary" and tally.spec.score:
        found["score"] = _ranking_json(ranking(tally, counts))
    if tally.spec.kind == "classes":
        names = [*tally.classes, "other"]
        found["confusion"] = {"true_by_predicted": _matrix(tally, counts).tolist(), "classes": names}
    return found


def value_of(told: dict[str, Any], name: str) -> float | None:
    """One figure as a number."""
    found = (told.get("score") or {}).get(name) if name in SCORE else told.get(name)
    value = found["value"] if isinstance(found, dict) else found
    return None if value is None else float(value)


def ranking(tally: LabelTally, counts: Vector) -> Ranking:
    """The figures of a score; of a tally of two classes that has one."""
    negative, positive, sums = counts[len(tally.labels) * len(tally.table(counts)[0]) :].reshape(3, BINS)
    auc = uncertainty = None
    pairs = int(negative.sum()) * int(positive.sum())
    if pairs:
        below = np.concatenate([[0], np.cumsum(negative)[:-1]])
        ties = float((positive * negative).sum())
        auc = (float((positive * below).sum()) + ties / 2) / pairs
        uncertainty = ties / 2 / pairs
    bins = []
    distance = 0.0
    for place in range(BINS):
        rows = int(negative[place] + positive[place])
        if not rows:
            continue
        mean, share = int(sums[place]) / STEPS / rows, rate(int(positive[place]), rows)
        assert share.value is not None
        distance += rows * abs(share.value - mean)
        bins.append(CalibrationBin(place / BINS, (place + 1) / BINS, rows, mean, share))
    rows = int(negative.sum() + positive.sum())
    return Ranking(auc, uncertainty, distance / rows if rows else None, tuple(bins))


def _binary(row: Vector, unit: float) -> dict[str, Any]:
    tp, fp, fn, tn = (int(row[place]) for place in (TP, FP, FN, TN))
    rows = tp + fp + fn + tn
    yes = tp + fp + int(row[NO_LABEL_YES])
    decided = rows + int(row[NO_LABEL_YES]) + int(row[NO_LABEL_NO])
    return {
        "rows": rows,
        "without_label_or_prediction": int(row.sum()) - rows,
        "confusion": {"tp": tp, "fp": fp, "fn": fn, "tn": tn},
        "accuracy": _json(rate(tp + tn, rows)),
        "precision": _json(rate(tp, tp + fp)),
        "recall": _json(rate(tp, tp + fn)),
        "false_positive_rate": _json(rate(fp, fp + tn)),
        "false_negative_rate": _json(rate(fn, fn + tp)),
        "selection_rate": _json(rate(yes, decided)),
    }


def _classes(row: Vector, unit: float) -> dict[str, Any]:
    right, wrong = int(row[RIGHT]), int(row[WRONG])
    return {
        "rows": right + wrong,
        "without_label_or_prediction": int(row.sum()) - right - wrong,
        "accuracy": _json(rate(right, right + wrong)),
    }


def _number(row: Vector, unit: float) -> dict[str, Any]:
    rows, without, total, size, squares = (int(each) for each in row)
    found: dict[str, Any] = {"rows": rows, "without_label_or_prediction": without}
    if not rows:
        return found | {"mean_error": None, "mean_absolute_error": None, "root_mean_square_error": None}
    return found | {
        "mean_error": total / STEPS * unit / rows,
        "mean_absolute_error": size / STEPS * unit / rows,
        "root_mean_square_error": sqrt(squares / STEPS / rows) * unit,
    }


def _matrix(tally: LabelTally, counts: Vector) -> Vector:
    width = len(tally.classes) + 1
    return counts[-width * width :].reshape(width, width)


def _json(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _ranking_json(found: Ranking) -> dict[str, Any]:
    return {
        "auc": found.auc,
        "auc_uncertainty": found.auc_uncertainty,
        "calibration_error": found.calibration_error,
        "bins": [
            {
                "low": each.low,
                "high": each.high,
                "rows": each.rows,
                "mean_score": each.mean_score,
                "positive": _json(each.positive),
            }
            for each in found.bins
        ],
    }
