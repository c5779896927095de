"""The e-Shiryaev-Roberts detector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.statistics import e_detector
from sidecar.statistics.betting import band_bets

LOGS = st.lists(st.tuples(*[st.floats(-5, 3)] * 3), min_size=1, max_size=12)


@given(LOGS)
def test_the_value_is_the_sum_over_all_starts_of_the_products_since(logs: list[tuple[float, ...]]) -> None:
    m, rows = np.zeros(3), np.array(logs)
    for row in rows:
        m = e_detector.step(m, row)
    starts = [np.exp(rows[start:].sum(axis=0)) for start in range(len(rows))]
    assert m == pytest.approx(np.sum(starts, axis=0), rel=1e-9)


@given(LOGS, st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_the_mixture_is_the_weighted_mean_of_its_parts(
    logs: list[tuple[float, ...]], raw: list[float]
) -> None:
    weights = np.array(raw) / sum(raw)
    together, apart = np.zeros(3), [np.zeros(1) for _ in range(3)]
    for row in np.array(logs):
        together = e_detector.step(together, row)
        apart = [e_detector.step(m, row[k : k + 1]) for k, m in enumerate(apart)]
    expected = sum(w * float(m[0]) for w, m in zip(weights, apart, strict=True))
    assert float(e_detector.evidence(together, weights)) == pytest.approx(expected, rel=1e-9)


def test_the_value_stays_finite_however_strong_the_evidence() -> None:
    m = np.zeros(2)
    for _ in range(50):
        m = e_detector.step(m, np.array([1e6, -1e6]))
    assert m[0] == e_detector.HIGHEST
    assert m[1] == 0.0


def test_arrays_of_runs_step_as_each_run_alone() -> None:
    rng = np.random.default_rng(1)
    logs = rng.normal(size=(20, 4, 3))
    together, alone = np.zeros((4, 3)), [np.zeros(3) for _ in range(4)]
    for row in logs:
        e_detector.step(together, row, out=together)
        alone = [e_detector.step(m, row[run]) for run, m in enumerate(alone)]
    assert (together == np.array(alone)).all()


def test_the_average_run_length_at_a_band_s_edge_is_the_threshold_or_more() -> None:
    """At the very edge, where every bet on that side has mean 1 exactly."""
    rng = np.random.default_rng(2)
    ratios, _, weights = band_bets(0.5, 0.75)
    threshold, runs, rows = 100.0, 300, 20
    m, first = np.zeros((runs, len(weights))), np.zeros(runs)
    for pane in range(1, 4_001):
        won = rng.binomial(rows, 0.75, size=runs)
        e_detector.step(m, np.stack([won, rows - won], axis=1) @ ratios.T, out=m)
        first[(first == 0) & (e_detector.evidence(m, weights) >= threshold)] = pane
    seen = np.where(first == 0, 4_000, first)
    assert seen.mean() - 3 * seen.std() / np.sqrt(runs) > threshold
