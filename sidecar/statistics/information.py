"""Does a protected attribute tell something of the decision that the legitimate features do not?

Rows are held alike by the bands of the declared legitimate features; within a
band the decision should not depend on the group. Two views of one table: the
conditional mutual information I(group; decision | band), with what chance
alone would show taken off, and its test; and, for continuous watching, the
group's rate against the reference's in both directions, band by band
(`GroupTally.both_ways`). Bands are coarse: what a feature tells within a band
may be told by the group too, so the baseline's own information stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.statistics.chi_square import upper_tail
from sidecar.statistics.groups import GroupTally, Table
from sidecar.statistics.tally import Vector


@dataclass(frozen=True, slots=True)
class Information:
    """What the group tells of the decision once the band is known."""

    rows: int
    nats: float
    """Conditional mutual information as counted; at least 0."""
    chance: float
    """What it would be on average if the group told nothing: degrees of freedom / 2 rows."""
    p: float
    """Of the G-test that it tells nothing."""
    explained: float | None
    """`nats` less `chance`, as a part of what there is to know of the decision within the bands."""
    strata: int
    """Bands that say something."""


def information(table: Table, least: int = 5) -> Information:
    """The information in counts by band, group and outcome (favourable, unfavourable, …).

    Groups of a band with fewer than `least` rows are left out there: the test's
    chi-square distribution does not hold for them.
    """
    nats = entropy = 0.0
    rows = freedom = strata = 0
    for band in np.asarray(table, dtype=np.float64)[:, :, :2]:
        kept = band[band.sum(axis=1) >= least]
        total, outcomes = float(kept.sum()), kept.sum(axis=0)
        if len(kept) < 2 or not outcomes.all():
            continue
        expected = kept.sum(axis=1, keepdims=True) * outcomes / total
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(kept > 0, kept * np.log(kept / expected), 0.0)
        nats += float(parts.sum())
        shares = outcomes / total
        entropy += total * float(-(shares * np.log(shares)).sum())
        rows, freedom, strata = rows + int(total), freedom + len(kept) - 1, strata + 1
    if not rows:
        return Information(0, 0.0, 0.0, 1.0, None, 0)
    chance = freedom / (2 * rows)
    nats = max(0.0, nats)
    explained = max(0.0, nats / rows - chance) / (entropy / rows)
    return Information(rows, nats / rows, chance, upper_tail(2 * nats, freedom), explained, strata)


def information_report(tally: GroupTally, counts: Vector) -> Information:
    """The information in a tally's counts, the named groups only."""
    return information(tally.table(counts)[:, : len(tally.groups.labels)])
