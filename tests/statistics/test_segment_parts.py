"""An alarm says in which segment the change is."""

from __future__ import annotations

import numpy as np

from sidecar.statistics.alarm import SegmentPart
from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.budget import parse_budget
from sidecar.statistics.decision import parse_decision
from sidecar.statistics.evaluator import Evaluator
from sidecar.statistics.quantity import Band
from sidecar.statistics.segment_parts import SegmentParts
from sidecar.statistics.segments import HEAD, NO, ROWS, YES, SegmentTally, parse_segments, segment_tallies

PANE_US = 60_000_000


def tally() -> SegmentTally:
    specs = parse_segments([{"name": "region", "of": "inputs.region", "values": ["north", "south"]}])
    fields: dict[str, FieldBaseline] = {}
    return segment_tallies(specs, parse_decision("outputs.label == 1"), fields)[0]


def pane(counted: SegmentTally, rng: np.random.Generator, north: float, south: float) -> np.ndarray:
    """Successes and trials of a band, then the segments' counts."""
    table = np.zeros((counted.slices.size, counted.width), dtype=np.int64)
    assert counted.width == HEAD
    for row, share in ((0, north), (1, south)):
        yes = rng.binomial(50, share)
        table[row, [ROWS, YES, NO]] = (50, yes, 50 - yes)
    return np.concatenate([[table[:, YES].sum(), 100], table.ravel()])


def test_the_segment_that_moved_is_named_in_the_alarm_and_its_sentence() -> None:
    rng, counted = np.random.default_rng(1), tally()
    band = Band("band/rejections", 0, 0.5, 0.7)
    evaluator = Evaluator([band], parse_budget("1 per 30d"), PANE_US, segments=SegmentParts([(counted, 2)]))
    for number in range(60):
        shares = (0.6, 0.6) if number < 30 else (0.6, 0.99)
        evaluator.step(number * PANE_US, pane(counted, rng, *shares))
    [alarm] = evaluator.alarms()
    [segment] = alarm.segments
    assert segment.segment == "region is south"
    assert segment.part > 0.8
    assert segment.before is not None
    assert segment.after is not None
    assert segment.before < 0.65 < 0.95 < segment.after
    assert alarm.sentence.endswith("; mostly where region is south")


def test_a_quantity_that_is_not_counted_by_segment_has_none() -> None:
    counted = tally()
    nothing = np.zeros(2 + counted.size, dtype=np.int64)
    found: list[SegmentPart] = SegmentParts([(counted, 2)])("mean/income", nothing, nothing)
    assert found == []
    assert SegmentParts([(counted, 2)])("band/rejections", nothing, nothing) == []
