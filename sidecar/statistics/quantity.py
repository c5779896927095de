"""What one detector watches, and where its counts stand in a pane's vector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the panes that a baseline was made of differ from each other."""

    panes: int = 0
    """Clean panes that were compared; 0 when nothing is known (a training file has no time)."""
    kl: float = 0.0
    """Kullback-Leibler divergence of the whole from its least typical stretch, noise taken off, in nats."""
    dispersion: float = 1.0
    """Variance of a pane's counts over what independent rows would give."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Slot counts against the baseline's."""

    name: str
    start: int
    reference: tuple[int, ...]
    """The baseline's counts, one per slot; the pane's are `vector[start : start + len(reference)]`."""
    labels: tuple[str, ...]
    """What each slot counts, for people; one per slot."""
    ordered: int = 0
    """The first so many slots are in ascending order of the value (bins); 0 for categories."""
    centres: tuple[float, ...] = ()
    """A value that stands for each ordered slot, in baseline standard deviations from its mean."""
    spread: Spread = Spread()
    weight: float = 1.0
    under: int | None = None
    """The slot of values below the first ordered one, if there is one."""
    over: int | None = None
    """The slot of values above the last ordered one, if there is one."""
    mean: float | None = None
    """The baseline's mean in the field's own unit; without it sentences speak in standard deviations."""
    unit: float = 1.0
    """One baseline standard deviation in the field's own unit."""
    title: str = ""
    """What people call it; the name when empty."""
    hours: bytes = b""
    """The baseline's counts in each hour of the week, packed (`hours.py`); empty: one reference for all."""


@dataclass(frozen=True, slots=True)
class Band:
    """A share that must stay within bounds: `vector[start]` successes of `vector[start + 1]` trials."""

    name: str
    start: int
    low: float
    high: float
    spread: Spread = Spread()
    weight: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean that must stay within `expected` ± `tolerance`.

    `vector[start]` rows, then a fixed-point sum of the values' distance from
    `expected` in units of `scale`, rows without a number, then one fixed-point
    sum of logarithms per bet (see `means.py`).
    """

    name: str
    start: int
    expected: float
    tolerance: float
    """In the value's own unit, as `expected` and `scale`."""
    scale: float
    bets: tuple[float, ...]
    """Stakes per unit of `scale`: above 0 against a high mean, below 0 against a low one."""
    weight: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True)
class TwoSample:
    """A group's rate of favourable outcomes against the reference group's.

    `vector[start : start + 4 * strata]`: per stratum favourable and all of the
    reference group, favourable and all of the other.
    """

    name: str
    start: int
    ratio: float
    """The null: other's rate ≥ `ratio` × the reference's."""
    strata: int = 1
    minimum: int = 30
    """Rows of each group below which nothing is said."""
    weight: float = 1.0
    title: str = ""


Quantity = Distribution | Band | Mean | TwoSample
