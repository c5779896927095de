"""Counts by group → what can be said of bias, and what cannot.

Every statement is on the rows that were counted, with its interval; below the
minimum group size, or where the interval holds both answers, the answer is
"insufficient evidence". A low ratio shows unequal outcomes, not their cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sidecar.statistics import rates
from sidecar.statistics.chi_square import upper_tail
from sidecar.statistics.fisher import fisher_exact
from sidecar.statistics.groups import FAVOURABLE, OPEN, UNFAVOURABLE, GroupTally, Table
from sidecar.statistics.rates import Estimate
from sidecar.statistics.stratified import MantelHaenszel, mantel_haenszel
from sidecar.statistics.tally import Vector

Verdict = Literal["reference", "below", "within", "insufficient evidence"]


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """One group against the reference group."""

    group: str
    favourable: int
    rows: int
    """With a known outcome."""
    unknown: int
    selection_rate: Estimate
    impact_ratio: Estimate
    rate_difference: Estimate
    odds_ratio: Estimate
    fisher_p: float | None
    conditional: MantelHaenszel | None
    """Within the strata, where there are any."""
    verdict: Verdict

    def sentence(self, reference: str, ratio: float) -> str:
        """The verdict in plain words."""
        rate, impact = self.selection_rate, self.impact_ratio
        if rate.value is None:
            return f"{self.group}: no decision yet"
        said = f"{self.group}: {rate.value:.1%} of {self.rows:,} favourable"
        if self.verdict == "reference":
            return f"{said}; the others are held against this group"
        if impact.value is None or impact.low is None or impact.high is None:
            return f"{said}; {reference} has no favourable outcome to compare with"
        said += f", {impact.value:.2f} of {reference}'s rate"
        said += f" (95 % interval {impact.low:.2f} to {impact.high:.2f})"
        return {
            "below": f"{said}: below {ratio:g}",
            "within": f"{said}: not below {ratio:g}",
        }.get(self.verdict, f"{said}: insufficient evidence on which side of {ratio:g} it is")


@dataclass(frozen=True, slots=True)
class BiasReport:
    """All groups of one entry."""

    name: str
    reference: str
    ratio: float
    min_group: int
    groups: tuple[GroupFigures, ...]
    least_ratio: float | None
    """The lowest selection rate over the highest, among groups of the minimum size (fairlearn's ratio)."""
    chi_square: float | None
    """Pearson's statistic that all groups of the minimum size have one rate."""
    chi_square_p: float | None
    other: int
    missing: int
    """Rows of groups that are not told apart, and rows without a group."""

    def sentences(self) -> list[str]:
        """One line per group."""
        return [each.sentence(self.reference, self.ratio) for each in self.groups]


def bias_report(tally: GroupTally, counts: Vector) -> BiasReport:
    """The figures of a tally's counts, of one pane or of any sum of them."""
    table = tally.table(counts)
    named = tally.groups.labels
    groups = tuple(_figures(tally, table, group) for group in range(len(named)))
    large = [each for each in groups if each.rows >= tally.min_group]
    found = [each.selection_rate.value for each in large if each.selection_rate.value is not None]
    statistic, p = _pearson([(each.favourable, each.rows) for each in large])
    totals = table.sum(axis=(0, 2))
    return BiasReport(
        tally.name.partition("/")[2],
        named[tally.reference],
        tally.ratio,
        tally.min_group,
        groups,
        min(found) / max(found) if len(found) > 1 and max(found) > 0 else None,
        statistic,
        p,
        int(totals[-2]),
        int(totals[-1]),
    )


def _figures(tally: GroupTally, table: Table, group: int) -> GroupFigures:
    reference = tally.reference
    yes, no, unknown = (int(table[:, group, part].sum()) for part in (FAVOURABLE, UNFAVOURABLE, OPEN))
    yes_reference = int(table[:, reference, FAVOURABLE].sum())
    no_reference = int(table[:, reference, UNFAVOURABLE].sum())
    rows, rows_reference = yes + no, yes_reference + no_reference
    pair = (yes, rows, yes_reference, rows_reference)
    is_reference = group == reference
    impact = rates.NOTHING if is_reference else rates.ratio(*pair)
    conditional = None
    if tally.depth > 1 and not is_reference:
        cells = [(*map(int, row[group, :OPEN]), *map(int, row[reference, :OPEN])) for row in table]
        conditional = mantel_haenszel(cells)  # type: ignore[arg-type]
    enough = min(rows, rows_reference) >= tally.min_group
    return GroupFigures(
        tally.groups.labels[group],
        yes,
        rows,
        unknown,
        rates.rate(yes, rows),
        impact,
        rates.NOTHING if is_reference else rates.difference(*pair),
        rates.NOTHING if is_reference else rates.odds_ratio(*pair),
        None
        if is_reference or not rows or not rows_reference
        else fisher_exact(yes, no, yes_reference, no_reference),
        conditional,
        "reference" if is_reference else _verdict(impact, tally.ratio, enough),
    )


def _verdict(impact: Estimate, ratio: float, enough: bool) -> Verdict:
    if not enough or impact.value is None or impact.low is None or impact.high is None:
        return "insufficient evidence"
    if impact.high < ratio:
        return "below"
    return "within" if impact.low >= ratio else "insufficient evidence"


def _pearson(groups: list[tuple[int, int]]) -> tuple[float | None, float | None]:
    rows = sum(n for _, n in groups)
    yes = sum(k for k, _ in groups)
    if len(groups) < 2 or not 0 < yes < rows:
        return None, None
    share = yes / rows
    statistic = sum((k - n * share) ** 2 / (n * share * (1 - share)) for k, n in groups)
    return statistic, upper_tail(statistic, len(groups) - 1)
