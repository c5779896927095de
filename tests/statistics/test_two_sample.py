"""Two groups' rates: the nearest point of the null, e-values by enumeration, verdicts over time."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize  # type: ignore[import-untyped]

from sidecar.statistics.quantity import TwoSample
from sidecar.statistics.two_sample import TwoSampleBets, bets, log_e, nearest

RATE = st.floats(0.02, 0.98)
SIZE = st.integers(1, 60)


def bernoulli_kl(q: float, p: float) -> float:
    return float(q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)))


@given(RATE, RATE, SIZE, SIZE, st.floats(0.3, 1.0))
def test_the_nearest_point_is_what_a_numeric_search_finds(
    q_a: float, q_b: float, n_a: int, n_b: int, ratio: float
) -> None:
    sizes = np.array(float(n_a)), np.array(float(n_b))
    theta_a, theta_b = (float(x) for x in nearest(np.array(q_a), np.array(q_b), *sizes, ratio))
    assert theta_b >= ratio * theta_a - 1e-9
    if q_b >= ratio * q_a:
        assert (theta_a, theta_b) == (q_a, q_b)
        return
    found = optimize.minimize_scalar(
        lambda t: n_a * bernoulli_kl(q_a, t) + n_b * bernoulli_kl(q_b, ratio * t),
        bounds=(1e-6, 1 - 1e-6),
        method="bounded",
    )
    value = n_a * bernoulli_kl(q_a, theta_a) + n_b * bernoulli_kl(q_b, theta_b)
    assert value <= found.fun + 1e-6


@pytest.mark.parametrize("ratio", [0.8, 1.0])
@pytest.mark.parametrize(("n_a", "n_b"), [(1, 1), (5, 2), (2, 6)])
def test_mean_of_a_block_by_exact_enumeration_is_at_most_one_on_the_null(
    ratio: float, n_a: int, n_b: int
) -> None:
    q_a, q_b = np.array(0.6), np.array(0.25)
    blocks = np.array([(s_a, n_a, s_b, n_b) for s_a, s_b in product(range(n_a + 1), range(n_b + 1))])
    e = np.exp(log_e(blocks, q_a, q_b, ratio))
    for theta_a in np.linspace(0.01, 0.99, 40):
        for theta_b in np.linspace(ratio * theta_a, 0.999, 20):
            mean = sum(
                comb(n_a, int(s_a)) * theta_a**s_a * (1 - theta_a) ** (n_a - s_a)
                * comb(n_b, int(s_b)) * theta_b**s_b * (1 - theta_b) ** (n_b - s_b) * value
                for (s_a, _, s_b, _), value in zip(blocks, e, strict=True)
            )  # fmt: skip
            assert mean <= 1 + 1e-9


def test_nothing_is_bet_before_anything_was_seen() -> None:
    q_a, q_b = bets(np.zeros((1, 4)), 0.8)
    assert log_e(np.array([[3, 5, 0, 5]])[:, None, :], q_a, q_b, 0.8)[0, -1] == pytest.approx(0.0)


@pytest.mark.parametrize("strata", [1, 3])
def test_a_group_that_is_held_back_is_found_and_equal_groups_are_not(strata: int) -> None:
    quantity = TwoSample("bias", 0, 0.8, strata)
    totals = {}
    for name, rate in (("equal", 0.6), ("held back", 0.36)):
        rng, watched = np.random.default_rng(5), TwoSampleBets(quantity, 1.0)
        wealth = np.zeros(len(watched.weights))
        for _ in range(120):
            n = np.full(strata, 20 // strata)
            table = np.stack([rng.binomial(n, 0.6), n, rng.binomial(n, rate), n], axis=1)
            wealth += watched.log_e(table.reshape(-1).astype(np.int64))
            watched.learn(table.reshape(-1).astype(np.int64))
        totals[name] = wealth.max()
        assert watched.enough()
    assert totals["held back"] > 10
    assert totals["equal"] < 3
