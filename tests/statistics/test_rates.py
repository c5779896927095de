"""Two rates side by side: published examples, scipy, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from sidecar.statistics import rates
from sidecar.statistics.chi_square import upper_tail
from sidecar.statistics.fisher import fisher_exact
from sidecar.statistics.stratified import mantel_haenszel

CELLS = st.integers(0, 60) | st.integers(0, 3000)
BERKELEY = [
    (512, 313, 89, 19),
    (353, 207, 17, 8),
    (120, 205, 202, 391),
    (138, 279, 131, 244),
    (53, 138, 94, 299),
    (22, 351, 24, 317),
]
"""Admitted and rejected men, then women, in six departments (Bickel, Hammel, O'Connell, Science, 1975)."""


@given(statistic=st.floats(1e-6, 3000), freedom=st.integers(1, 900))
def test_the_chi_square_tail_is_scipys(statistic: float, freedom: int) -> None:
    expected = float(stats.chi2.sf(statistic, freedom))
    assert upper_tail(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-280)


@given(CELLS, CELLS, CELLS, CELLS)
def test_fishers_p_is_scipys(a: int, b: int, c: int, d: int) -> None:
    expected = float(stats.fisher_exact([[a, b], [c, d]])[1])
    assert fisher_exact(a, b, c, d) == pytest.approx(expected, rel=1e-9, abs=1e-290)


def test_fishers_p_of_millions_of_rows() -> None:
    cells = (1_000_000, 2_000_000, 1_001_000, 1_999_000)
    expected = float(stats.fisher_exact([cells[:2], cells[2:]])[1])
    assert fisher_exact(*cells) == pytest.approx(expected, rel=1e-8)
    assert fisher_exact(10**9, 10**9, 10**9, 10**9) == pytest.approx(1.0)
    assert fisher_exact(10**9, 0, 0, 10**9) == 0.0


def test_fishers_p_of_the_mortgage_data() -> None:
    assert fisher_exact(243, 96, 1852, 189) == pytest.approx(2.303e-19, rel=1e-3)


@given(st.integers(0, 200), st.integers(0, 200), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(yes: int, no: int, level: float) -> None:
    found = rates.rate(yes, yes + no, level)
    if yes + no == 0:
        assert found == rates.NOTHING
        return
    expected = stats.binomtest(yes, yes + no).proportion_ci(level, "wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((6, 7, 2, 7), 0.0582, 0.8062),
    ],
)
def test_newcombes_interval_is_the_published_one(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = rates.difference(*counts)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 500), st.integers(0, 500), st.integers(1, 500), st.integers(0, 500))
def test_katzs_interval_is_scipys(a: int, b: int, c: int, d: int) -> None:
    found = rates.ratio(a, a + b, c, c + d)
    expected = stats.contingency.relative_risk(a, a + b, c, c + d)
    assert found.value == pytest.approx(expected.relative_risk)
    if b or d:
        interval = expected.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_woolfs_interval_is_scipys(a: int, b: int, c: int, d: int) -> None:
    found = rates.odds_ratio(a, a + b, c, c + d)
    expected = stats.contingency.odds_ratio([[a, b], [c, d]], kind="sample")
    interval = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(expected.statistic)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@given(CELLS, CELLS, CELLS, CELLS)
def test_intervals_hold_their_estimates_and_stand_for_any_counts(a: int, b: int, c: int, d: int) -> None:
    for found in (
        rates.rate(a, a + b),
        rates.ratio(a, a + b, c, c + d),
        rates.difference(a, a + b, c, c + d),
        rates.odds_ratio(a, a + b, c, c + d),
    ):
        if found.value is not None:
            assert found.low is not None
            assert found.high is not None
            assert found.low <= found.high
            if 0 not in (a, b, c, d):
                assert found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_the_ratios_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for yes, reference in zip(rng.binomial(200, 0.4, 2000), rng.binomial(600, 0.5, 2000), strict=True):
        found = rates.ratio(int(yes), 200, int(reference), 600)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.8 <= found.high
    assert 0.935 < covered / 2000 < 0.965


def test_mantel_haenszel_on_the_berkeley_admissions_is_the_published_one() -> None:
    found = mantel_haenszel(BERKELEY)
    assert found is not None
    assert found.statistic == pytest.approx(1.4269, abs=5e-5)
    assert found.p == pytest.approx(0.2323, abs=5e-5)
    assert found.odds.value == pytest.approx(0.9046968, abs=1e-7)
    assert (found.odds.low, found.odds.high) == pytest.approx((0.7719074, 1.0603298), abs=1e-7)
    assert found.agreement == pytest.approx(0.002071, abs=1e-6)


def test_one_stratum_is_the_corrected_chi_square_of_its_table_but_for_one_row() -> None:
    found = mantel_haenszel([(20, 30, 45, 25), (0, 0, 5, 5), (3, 0, 4, 0)])
    assert found is not None
    assert found.strata == 1
    expected = stats.chi2_contingency([[20, 30], [45, 25]], correction=True).statistic
    assert found.statistic == pytest.approx(expected * 119 / 120)


def test_no_stratum_that_speaks_is_no_test() -> None:
    assert mantel_haenszel([(0, 0, 3, 4), (5, 0, 5, 0)]) is None
