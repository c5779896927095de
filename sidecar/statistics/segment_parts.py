"""Which segments a quantity's change comes from, by the tallies that count by segment."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.statistics.alarm import SegmentPart
from sidecar.statistics.segments import SegmentTally, decision_contributions, mean_contributions
from sidecar.statistics.tally import Vector

MOST = 3


class SegmentParts:
    """Finds segments for the evaluator: `Evaluator(…, segments=SegmentParts(tallies))`."""

    def __init__(self, tallies: Sequence[tuple[SegmentTally, int]]) -> None:
        """Each tally with the place where its counts begin in a pane's vector."""
        self._tallies = tuple(tallies)

    def __call__(self, quantity: str, before: Vector, since: Vector) -> list[SegmentPart]:
        """Per segmentation the segment with the largest part; none for a quantity not counted by segment.

        Features by their means; bands and outputs by the share of yes of the
        model's decision.
        """
        found = []
        for tally, start in self._tallies:
            old, new = (vector[start : start + tally.size] for vector in (before, since))
            if quantity.startswith("inputs."):
                parts = mean_contributions(tally, quantity, old, new)
            elif tally.decision is not None and quantity.startswith(("band/", "outputs.")):
                parts = decision_contributions(tally, old, new)
            else:
                continue
            whole = sum(part.part for part in parts)
            if parts and whole:
                name = tally.name.removeprefix("segment/")
                largest = max(parts, key=lambda part: part.part / whole)
                found.append(
                    SegmentPart(
                        segment=f"{name} is {largest.segment}",
                        before=largest.before,
                        after=largest.after,
                        rows=largest.rows,
                        part=largest.part / whole,
                    )
                )
        return sorted(found, key=lambda part: -part.part)[:MOST]
