"""Means that must stay near what is expected: `{of: inputs.income, expected: 5, tolerance: 2 sd}`.

A bet against the null "the mean is at most m" multiplies its wealth by
1 + λ(x − m) per row, 0 ≤ λ < 1 / (m − least x): non-negative, and of
expectation at most 1 (Waudby-Smith, Ramdas, *Estimating means of bounded
random variables by betting*, 2024). The logarithms of these factors add over
rows, so a pane holds their sum for each of a few λ in fixed point, and panes
of a fleet add. Values are winsorised to `REACH` standard deviations beyond the
tolerance, which bounds λ: what is promised is about the mean of the winsorised
values. Sums are rounded down row by row, so no e-value comes out too high.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import msgspec
import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.coding import REACH as SUM_REACH
from sidecar.statistics.coding import STEPS
from sidecar.statistics.field_path import FieldPath, parse_path
from sidecar.statistics.quantity import Mean
from sidecar.statistics.rows import Rows
from sidecar.statistics.section import checked, entries
from sidecar.statistics.slices import field_of
from sidecar.statistics.tally import Vector

REACH = 6.0
"""Standard deviations beyond the tolerance at which values are winsorised."""
LEAST_FACTOR = 0.1
"""The worst value leaves a bet this part of its wealth."""
FRACTIONS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""The grid of bets, as parts of the largest: from shifts of one deviation beyond the tolerance to 0.005."""
ROWS, SUM, ABSENT = range(3)
HEAD = 3
MAX_TOLERANCE_SD = 100.0
_TOLERANCE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(sd|σ)?\s*")


class MeanSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of `means`, as it is written."""

    of: str
    expected: float | None = None
    """Left out: the baseline's mean."""
    tolerance: str | float = "2 sd"
    name: str | None = None


def parse_means(section: object) -> tuple[MeanSpec, ...]:
    """The section's entries. Raises ValueError: one line that names the entry and the key."""
    specs = entries(section, MeanSpec, "means")
    for number, spec in enumerate(specs):
        where = f"means[{number}]"
        checked(spec.expected is None or isfinite(spec.expected), where, "expected must be a finite number")
        _tolerance(spec.tolerance, where)
        try:
            parse_path(spec.of)
        except ValueError as error:
            raise ValueError(f"{where}: of: {error}") from error
        checked(spec.name is None or "/" not in spec.name, where, "name must be a text without '/'")
    names = [_name(spec) for spec in specs]
    checked(len(set(names)) == len(names), "means", "two entries are of one field: give each a name")
    return specs


@dataclass(frozen=True, slots=True)
class MeanTally:
    """Rows, sum and bets of one field.

    `[rows, fixed-point sum of (x − expected) / scale, rows without a number,
    then one fixed-point sum of logarithms per bet]`, all in steps of 2^-20.
    """

    name: str
    path: FieldPath
    expected: float
    tolerance: float
    scale: float

    @property
    def bets(self) -> tuple[float, ...]:
        """Signed λ per unit `scale`: positive ones against a high mean, negative ones against a low one."""
        most = (1 - LEAST_FACTOR) / (2 * self._tau + REACH)
        high = [most * fraction for fraction in FRACTIONS]
        return (*high, *(-bet for bet in high))

    @property
    def size(self) -> int:
        return HEAD + 2 * len(FRACTIONS)

    @property
    def _tau(self) -> float:
        return self.tolerance / self.scale

    def count(self, rows: Rows) -> Vector:
        numbers = self.path.numbers(rows)
        present = ~np.isnan(numbers)
        with np.errstate(over="ignore"):
            deviations = (numbers[present] - self.expected) / self.scale
        counts = np.zeros(self.size, dtype=np.int64)
        counts[ROWS] = len(deviations)
        counts[SUM] = np.rint(np.clip(deviations, -SUM_REACH, SUM_REACH) * STEPS).astype(np.int64).sum()
        counts[ABSENT] = rows.count - len(deviations)
        counts[HEAD:] = log_wealth(deviations, self._tau, self.bets)
        return counts

    def quantities(self, start: int) -> tuple[Mean, ...]:
        """What is watched."""
        return (Mean(self.name, start, self.expected, self.tolerance, self.scale, self.bets),)

    def mean(self, counts: Vector) -> float | None:
        """The mean of the rows behind the counts; None of none."""
        if not counts[ROWS]:
            return None
        return self.expected + int(counts[SUM]) / STEPS * self.scale / int(counts[ROWS])


def log_wealth(deviations: npt.NDArray[np.float64], tau: float, bets: Sequence[float]) -> Vector:
    """Fixed-point sums of ln(1 + λ(w − m)) over rows, one per bet, each row rounded down.

    `deviations` are values' distances from the expected mean in standard
    deviations, w their winsorised form; m is +`tau` for λ > 0, −`tau` for λ < 0.
    """
    limit = tau + REACH
    winsorised = np.clip(deviations, -limit, limit)
    edges = np.sign(bets) * tau
    factors = 1 + np.asarray(bets)[:, None] * (winsorised[None, :] - edges[:, None])
    steps = np.floor(np.log(factors) * STEPS).astype(np.int64)
    return np.asarray(steps.sum(axis=1), dtype=np.int64)


def mean_tallies(specs: Sequence[MeanSpec], fields: Mapping[str, FieldBaseline]) -> list[MeanTally]:
    """A tally per entry. Raises ValueError where the baseline lacks what the entry leaves to it."""
    tallies = []
    for number, spec in enumerate(specs):
        where = f"means[{number}] ({spec.of[:40]})"
        path = parse_path(spec.of)
        amount, in_deviations = _tolerance(spec.tolerance, where)
        field = field_of(path, fields)
        known = field is not None and field.kind == "numeric" and bool(field.own_slots)
        if field is None or not known:
            checked(
                spec.expected is not None and not in_deviations,
                where,
                "the baseline has no numbers of this field: give expected and an absolute tolerance",
            )
            # Without a baseline the tolerance is the only length there is.
            scale, expected = amount, spec.expected or 0.0
        else:
            scale = field.scale
            expected = field.mean if spec.expected is None else spec.expected
        tolerance = amount * scale if in_deviations else amount
        checked(
            tolerance <= MAX_TOLERANCE_SD * scale, where, f"a tolerance above {MAX_TOLERANCE_SD:g} sd is none"
        )
        tallies.append(MeanTally(f"mean/{_name(spec)}", path, float(expected), float(tolerance), scale))
    return tallies


def _name(spec: MeanSpec) -> str:
    return spec.name or spec.of


def _tolerance(value: str | float, where: str) -> tuple[float, bool]:
    """The amount, and whether it is in standard deviations."""
    if isinstance(value, str):
        matched = _TOLERANCE.fullmatch(value)
        checked(
            matched, where, f"tolerance {value[:40]!r}: write '2 sd', or a number in the field's own unit"
        )
        assert matched is not None
        amount, in_deviations = float(matched[1]), matched[2] is not None
    else:
        amount, in_deviations = float(value), False
    checked(isfinite(amount) and amount > 0, where, "tolerance must be above 0: no mean is met exactly")
    return amount, in_deviations
