"""Projections, tolerances and the e-values they make."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats  # type: ignore[import-untyped]

from sidecar.statistics.alternatives import directions_of, smoothed, tilts
from sidecar.statistics.distribution import DistributionBets
from sidecar.statistics.projection import divergence, project
from sidecar.statistics.quantity import Distribution, Spread
from sidecar.statistics.tolerance import chi_square_quantile, tolerance

SHARES = st.lists(st.integers(1, 1000), min_size=2, max_size=8)


def shares(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, dtype=np.float64) / sum(numbers)


@given(SHARES, st.integers(0, 2**32), st.floats(1e-5, 0.5))
def test_the_projection_lies_on_the_edge_of_the_tolerance_or_is_the_point_itself(
    numbers: list[int], seed: int, radius: float
) -> None:
    centre = shares(numbers)
    q = np.random.default_rng(seed).dirichlet(np.ones(len(numbers))) * 0.999 + 0.001 / len(numbers)
    found = project(q, centre, radius)
    assert found.sum() == pytest.approx(1.0)
    if divergence(centre, q) <= radius:
        assert found == pytest.approx(q)
    else:
        assert divergence(centre, found) == pytest.approx(radius, rel=1e-7)
        assert divergence(centre, found) >= radius


@given(SHARES, st.integers(0, 2**32), st.floats(1e-4, 0.3))
def test_no_member_of_the_tolerance_gives_the_ratio_a_mean_above_one(
    numbers: list[int], seed: int, radius: float
) -> None:
    centre, rng = shares(numbers), np.random.default_rng(seed)
    q = rng.dirichlet(np.ones(len(numbers))) * 0.999 + 0.001 / len(numbers)
    ratio = q / project(q, centre, radius)
    others = rng.dirichlet(np.full(len(numbers), 0.5), size=200) + 1e-9
    edge = project(others / others.sum(axis=1, keepdims=True), centre, radius)
    # From points that all but lack a slot the search ends a little too far out, on the safe side for an e-value.
    edge = edge[divergence(centre, edge) <= radius * (1 + 1e-8)]
    assert len(edge) > 50
    inside = rng.random((len(edge), 1)) * (edge - centre) + centre
    assert (edge @ ratio).max() <= 1 + 1e-7
    assert (inside @ ratio).max() <= 1 + 1e-9


def test_slots_that_the_baseline_never_used_cost_no_validity() -> None:
    centre = np.array([0.6, 0.4, 0.0])
    q = np.array([0.5, 0.3, 0.2])
    ratio = q / project(q, centre, 0.01)
    # All mass that the tolerance allows in the empty slot: −ln(1 − p) = radius.
    most = 1 - np.exp(-0.01)
    assert np.append(centre[:2] * (1 - most), most) @ ratio <= 1 + 1e-12
    assert centre @ ratio < 1


@pytest.mark.parametrize("seed", range(5))
def test_nothing_in_the_tolerance_is_nearer_than_the_projection(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, q, radius = rng.dirichlet(np.ones(5) * 5), rng.dirichlet(np.ones(5) * 5), 0.01
    found = divergence(q, project(q, centre, radius))

    def unpacked(logits: np.ndarray) -> np.ndarray:
        raw = np.exp(logits - logits.max())
        return np.asarray(raw / raw.sum())

    best = optimize.minimize(
        lambda x: float(divergence(q, unpacked(x))),
        np.log(centre),
        constraints=[{"type": "ineq", "fun": lambda x: radius - float(divergence(centre, unpacked(x)))}],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found == pytest.approx(best.fun, rel=1e-4)


def test_mean_of_a_pane_by_exact_enumeration_is_at_most_one_at_the_edge() -> None:
    quantity = Distribution("x", 0, (300, 500, 200), ("a", "b", "c"))
    bets = DistributionBets(quantity, 1.0)
    rows = 6
    for k, alternative in enumerate(bets.alternatives().shares):
        edge = project(alternative, bets.centre, bets.tolerance.direction)
        for p in (edge, bets.centre):
            mean = 0.0
            for n in product(range(rows + 1), repeat=2):
                if sum(n) <= rows:
                    counts = np.array([*n, rows - sum(n)])
                    ways = comb(rows, n[0]) * comb(rows - n[0], n[1])
                    mean += ways * float(np.prod(p**counts)) * float(np.exp(counts @ bets.log_ratios[k]))
            assert mean <= 1 + 1e-9
            assert p is not edge or mean == pytest.approx(1.0)


@pytest.mark.parametrize("degrees", [1, 5, 25, 100])
@pytest.mark.parametrize("level", [0.99, 0.9999, 0.999999])
def test_chi_square_quantile_is_scipy_s(degrees: int, level: float) -> None:
    assert chi_square_quantile(degrees, level) == pytest.approx(stats.chi2.ppf(level, degrees), rel=1e-6)


def test_the_whole_tolerance_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    truth, rows = np.full(26, 1 / 26), 5_000
    radius = tolerance(rows, 26, 1, 1.0, Spread()).whole
    missed = np.mean(divergence(rng.multinomial(rows, truth, size=20_000) / rows, truth) > radius)
    assert missed <= 0.013


def test_fixed_bets_hold_against_the_truth_as_often_as_they_say() -> None:
    """Over baselines drawn anew, some bet has a mean above 1 under the truth in at most 1 %."""
    rng = np.random.default_rng(4)
    truth = np.append(np.full(10, 0.0999), 0.001)
    failed = 0
    for _ in range(400):
        counts = rng.multinomial(2_000, truth)
        labels = tuple(map(str, range(11)))
        quantity = Distribution("x", 0, tuple(map(int, counts)), labels, 10, tuple(np.linspace(-2, 2, 10)))
        bets = DistributionBets(quantity, 1.0)
        failed += bool((np.exp(bets.log_ratios[:-1]) @ truth).max() > 1.0)
    assert failed <= 9


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 500), min_size=3, max_size=12).filter(lambda n: sum(n) >= 20), st.integers(0, 12)
)
def test_alternatives_are_distributions_outside_the_tolerance(counts: list[int], ordered: int) -> None:
    ordered = min(ordered, len(counts))
    centres = tuple(float(i) for i in range(ordered))
    quantity = Distribution("x", 0, tuple(counts), tuple(map(str, counts)), ordered, centres)
    directions = directions_of(quantity)
    radius = tolerance(sum(counts), len(counts), 100, 1.0, Spread()).direction
    found = tilts(quantity, directions, radius)
    assert found.shares.shape == (len(found.names), len(counts))
    assert found.weights.sum() < 1
    if len(found.names):
        assert found.shares.sum(axis=1) == pytest.approx(np.ones(len(found.names)))
        assert found.shares.min() > 0
        assert (divergence(np.array(counts) / sum(counts), found.shares) >= radius).all()
    for direction in directions:
        p = smoothed(counts)
        assert p @ direction.score == pytest.approx(0, abs=1e-9)
        assert p @ direction.score**2 == pytest.approx(1)


def test_dependent_rows_and_differing_stretches_widen_the_tolerance() -> None:
    plain = tolerance(10_000, 26, 40, 0.01, Spread())
    assert tolerance(10_000, 26, 40, 0.01, Spread(dispersion=10.0)).direction == pytest.approx(
        10 * plain.direction
    )
    wide = tolerance(10_000, 26, 40, 0.01, Spread(kl=0.03))
    assert wide.direction > 0.03 + plain.direction
    assert "inside the tolerance" in wide.words()
