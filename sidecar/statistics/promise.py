"""On which quantities the false-alarm rate is proven, and why not on the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

from sidecar.statistics.bets import Bets
from sidecar.statistics.quantity import Distribution, Quantity
from sidecar.statistics.two_sample import TwoSampleBets

CLEAN_PANES = 30
"""Panes, of the baseline or seen since, below which nobody knows how much clean panes differ."""
MOST_DISPERSION = 3.0
"""Beyond it panes vary so much more than independent rows would that quasi-likelihood is a guess."""
WIDEST_SPREAD = 0.5
"""A spread between clean stretches, as a mean's shift in σ, beyond which hardly a shift stands out."""


@dataclass(frozen=True, slots=True)
class Promise:
    """Kept or not, the reason in words, and the figures behind it."""

    quantity: str
    kept: bool
    words: str
    figures: dict[str, float] = field(default_factory=dict)


def promise_of(quantity: Quantity, bets: Bets, panes: int, rows: int, dispersion: float) -> Promise:
    """The promise of one quantity after so many panes that are no part of a change, and rows in all."""
    figures = {"dispersion": dispersion, "panes": float(panes), "rows": float(rows)}
    if dispersion > MOST_DISPERSION:
        return Promise(
            quantity.name,
            False,
            f"not proven: its rows depend on each other; panes vary {dispersion:.2g} times as much as those "
            "of independent rows would",
            figures,
        )
    if isinstance(bets, TwoSampleBets) and not bets.enough():
        reference, other = bets.seen_rows
        return Promise(
            quantity.name,
            False,
            f"insufficient evidence: {reference:,.0f} rows of the reference group and {other:,.0f} of the "
            f"other, {bets.quantity.minimum} of each are needed",
            figures | {"reference_rows": reference, "other_rows": other},
        )
    clean = panes
    if isinstance(quantity, Distribution):
        clean += quantity.spread.panes
        spread = sqrt(2.0 * quantity.spread.kl)
        figures |= {"clean_panes": float(clean), "spread_sigma": spread}
        if spread > WIDEST_SPREAD:
            return Promise(
                quantity.name,
                False,
                f"not proven: the baseline's own clean stretches differ by up to {spread:.2g} σ "
                "(day and night, perhaps)",
                figures,
            )
    if clean < CLEAN_PANES:
        return Promise(
            quantity.name,
            False,
            f"not proven yet: {clean} clean panes are known, of {CLEAN_PANES} that it takes to see how "
            "much they differ",
            figures,
        )
    return Promise(quantity.name, True, "kept", figures)
