"""Bets on bands and means."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from sidecar.statistics.betting import BandBets, MeanBets, band_bets
from sidecar.statistics.field_path import parse_path
from sidecar.statistics.means import MeanTally, log_wealth
from sidecar.statistics.quantity import Band


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.75), (0.0, 0.02), (0.9, 1.0), (0.3, 0.3)])
def test_mean_of_a_pane_is_at_most_one_anywhere_in_the_band_and_one_at_its_edge(
    low: float, high: float
) -> None:
    ratios, sides, weights = band_bets(low, high)
    trials = 12
    won = np.arange(trials + 1)
    e = np.exp(np.stack([won, trials - won], axis=1) @ ratios.T)
    ways = np.array([comb(trials, int(k)) for k in won], dtype=float)
    for p in np.linspace(low, high, 9):
        mean = (ways * p**won * (1 - p) ** (trials - won)) @ e
        assert mean.max() <= 1 + 1e-6
    assert weights.sum() == pytest.approx(1.0)
    assert set(sides) == {sign for sign, edge in ((1.0, high), (-1.0, low)) if 0 < edge < 1}


def test_a_share_outside_the_band_wins_and_one_inside_loses() -> None:
    bets = BandBets(Band("b", 0, 0.5, 0.75), 1.0)
    outside, inside = np.array([900, 1000]), np.array([650, 1000])
    assert bets.log_e(outside).max() > 20
    assert bets.log_e(inside).max() < 0
    assert bets.distance(outside)[0] == pytest.approx(0.15)
    assert bets.distance(inside)[0] < 0


def mean_counts(tally: MeanTally, deviations: np.ndarray) -> np.ndarray:
    """A pane as the tally makes it."""
    tau = tally.tolerance / tally.scale
    head = [len(deviations), int(np.rint(deviations * 2**20).sum()), 0]
    return np.concatenate([head, log_wealth(deviations, tau, tally.bets)]).astype(np.int64)


def test_bets_on_a_mean_have_mean_one_at_most_at_the_bound_and_win_beyond_it() -> None:
    tally = MeanTally("mean/x", parse_path("inputs.x"), 5.0, 1.0, 1.0)
    bets = MeanBets(tally.quantities(0)[0], 1.0)
    rng = np.random.default_rng(1)
    at_bound = np.array(
        [bets.log_e(mean_counts(tally, rng.normal(1.0, 1.0, size=20))) for _ in range(20_000)]
    )
    e = np.exp(at_bound)
    assert (e.mean(axis=0) - 3 * e.std(axis=0) / np.sqrt(len(e)) <= 1).all()
    assert bets.log_e(mean_counts(tally, rng.normal(1.6, 1.0, size=2_000))).max() > 20
    assert bets.log_e(mean_counts(tally, rng.normal(0.0, 1.0, size=2_000))).max() < 0


def test_the_spread_of_a_mean_is_read_back_from_its_bets() -> None:
    tally = MeanTally("mean/x", parse_path("inputs.x"), 0.0, 2.0, 1.0)
    bets = MeanBets(tally.quantities(0)[0], 1.0)
    values = np.random.default_rng(2).normal(0.3, 1.0, size=5_000)
    distance, error = bets.distance(mean_counts(tally, values))
    assert distance == pytest.approx(abs(values.mean()) - 2.0, abs=1e-5)
    assert error == pytest.approx(values.std() / np.sqrt(5_000), rel=0.1)
