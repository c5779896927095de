"""Means: additive bets that stay fair at the edge of the tolerance and grow beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.records import Sample
from sidecar.statistics.baseline import FieldBaseline
from sidecar.statistics.coding import STEPS
from sidecar.statistics.means import HEAD, REACH, MeanTally, mean_tallies, parse_means
from tests.statistics.row_samples import assert_adds, field, streams, table


def baseline(values: list[Any]) -> dict[str, FieldBaseline]:
    mean, scale = float(np.mean(values)), float(np.std(values))
    return {"inputs.x": field("x", "numeric", [min(values), mean, max(values)], mean=mean, scale=scale)}


def tally(
    tolerance: Any = 1.0, expected: float | None = 0.5, fields: dict[str, FieldBaseline] | None = None
) -> MeanTally:
    entry = {"of": "inputs.x", "tolerance": tolerance} | ({} if expected is None else {"expected": expected})
    return mean_tallies(parse_means([entry]), fields or {})[0]


@given(stream=streams, at=st.integers(0, 12), tolerance=st.sampled_from([0.1, 2.0]))
def test_counts_of_parts_add(stream: list[Sample], at: int, tolerance: float) -> None:
    assert_adds(tally(tolerance), stream, at)


@given(st.lists(st.none() | st.just("x") | st.floats(-1e9, 1e9), max_size=40))
def test_sums_are_those_of_plain_arithmetic(values: list[Any]) -> None:
    found = tally(0.5)
    counts = found.count(table({"x": values}))
    numbers = [value for value in values if isinstance(value, float)]
    assert counts[:HEAD].tolist()[::2] == [len(numbers), len(values) - len(numbers)]
    scaled = [(number - 0.5) / 0.5 for number in numbers]
    for bet, total in zip(found.bets, counts[HEAD:].tolist(), strict=True):
        limit = 1 + REACH
        winsorised = [min(max(z, -limit), limit) for z in scaled]
        exact = sum(np.log(1 + bet * (w - np.sign(bet))) for w in winsorised)
        assert exact - len(numbers) / STEPS - 1e-9 <= total / STEPS <= exact + 1e-9


def test_the_baseline_gives_the_mean_and_the_unit() -> None:
    values = [float(number) for number in range(1000)]
    found = tally("2 sd", None, baseline(values))
    assert found.expected == pytest.approx(499.5)
    assert found.tolerance == pytest.approx(2 * np.std(values))
    assert found.mean(found.count(table({"x": [600.0, 700.0]}))) == pytest.approx(650, abs=1e-3)
    assert found.quantities(7)[0].start == 7


@pytest.mark.parametrize("tolerance", ["0.1 sd", "2 sd"])
@pytest.mark.parametrize("draw", ["normal", "two_points", "skewed"])
def test_no_bet_gains_on_average_at_the_edge_of_the_tolerance(tolerance: str, draw: str) -> None:
    rng = np.random.default_rng(5)
    base = rng.normal(size=4000)
    found = tally(tolerance, None, baseline(list(base)))
    tau = found.tolerance / found.scale
    n = 400_000
    z = {
        "normal": rng.normal(size=n),
        "two_points": rng.choice([-1.0, 1.0], n),
        "skewed": np.clip(rng.exponential(size=n), 0, 5),
    }[draw]
    z += tau - z.mean()
    values = found.expected + found.scale * z
    limit = tau + REACH
    winsorised = np.clip((values - found.expected) / found.scale, -limit, limit)
    for bet in found.bets[: len(found.bets) // 2]:
        factors = 1 + bet * (winsorised - tau)
        assert factors.min() > 0
        assert factors.mean() <= 1 + 1e-9


def test_beyond_the_tolerance_wealth_grows_on_the_right_side_only() -> None:
    rng = np.random.default_rng(6)
    found = tally("0.1 sd", None, baseline(list(rng.normal(size=4000))))
    values = rng.normal(0.5, 1, 500)
    counts = found.count(table({"x": values.tolist()}))
    half = len(found.bets) // 2
    assert max(counts[HEAD : HEAD + half]) / STEPS > 20
    assert max(counts[HEAD + half :]) < 0


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"of": "inputs.x", "tolerance": "2 sigma"}, "write '2 sd'"),
        ({"of": "inputs.x", "tolerance": 0}, "above 0"),
        ({"of": "x"}, r"means\[0\]: of: .*no path"),
        ({"of": "inputs.x", "toleranc": 1}, "unknown key 'toleranc'"),
    ],
)
def test_a_wrong_entry_is_one_line(entry: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_means([entry])


def test_deviations_of_an_unknown_field_are_refused() -> None:
    with pytest.raises(ValueError, match="give expected and an absolute tolerance"):
        tally("2 sd")
