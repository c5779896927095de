"""Glue: ground truth in a drift report: figures of the span, and by stretch of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sidecar.label_alarms import LabelRun
from sidecar.label_panes import Found
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.evaluator import Vector
from sidecar.statistics.label_bands import label_quantities
from sidecar.statistics.label_figures import figures


@dataclass(slots=True)
class LabelReport:
    """One series' ground truth over the span."""

    run: LabelRun
    bucket_us: int
    found: Found
    """Of all series that were looked for together."""
    alarms: list[Alarm]

    @property
    def figures(self) -> dict[str, Any]:
        return self.run.figures()

    def buckets(self) -> dict[int, Vector]:
        """Counts by stretch of the span, in the order of time."""
        sums: dict[int, Vector] = {}
        for start_us, counts in sorted(self.run.panes.panes.items()):
            at = start_us // self.bucket_us * self.bucket_us
            sums[at] = sums[at] + counts if at in sums else counts
        return sums

    def over_time(self) -> list[tuple[int, dict[str, Any]]]:
        """Figures by stretch of the span."""
        tally = self.run.panes.tally
        return [(start_us, figures(tally, counts)) for start_us, counts in self.buckets().items()]


def as_json(labels: LabelReport) -> dict[str, Any]:
    """JSON-able."""
    promises = {promise.quantity: promise.words for promise in labels.run.evaluator.promises()}
    over_time = []
    for start_us, told in labels.over_time():
        if told.get("score"):
            told["score"].pop("bins")
        over_time.append({"start_us": start_us, **told})
    return {
        "pane_us": labels.run.panes.span_us,
        "figures": labels.figures,
        "bucket_us": labels.bucket_us,
        "buckets": over_time,
        "bands": [
            {"quantity": band.name, "low": band.low, "high": band.high, "promise": promises[band.name]}
            for band in label_quantities(labels.run.run.plan.watch)
        ],
        "records": labels.found.records,
        "undecoded": labels.found.undecoded,
        "encrypted": labels.found.encrypted,
        "other_number_of_instances": labels.found.other_number,
        "unplaced": labels.found.unplaced,
    }
