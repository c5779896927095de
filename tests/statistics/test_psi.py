"""PSI against its formula, written another way, and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.statistics.psi import MAX_NOISE, psi, psi_noise

counts = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=30)


@given(counts)
def test_it_is_the_smoothed_sum_over_used_slots(pairs: list[tuple[int, int]]) -> None:
    used = [(n, m) for n, m in pairs if n or m]
    total_n, total_m = sum(n for n, _ in used) + 0.5 * len(used), sum(m for _, m in used) + 0.5 * len(used)
    expected = 0.0
    for n, m in used:
        p, q = (n + 0.5) / total_n, (m + 0.5) / total_m
        expected += (p - q) * math.log(p / q)
    now, reference = np.array(pairs, dtype=np.int64).T
    assert psi(now, reference) == pytest.approx(expected, abs=1e-9, rel=1e-9)
    assert psi(now, reference) == pytest.approx(psi(reference, now))
    assert psi(now, now) == 0


def test_slots_that_nobody_used_change_nothing() -> None:
    now, reference = np.array([10, 20, 0, 0]), np.array([30, 5, 0, 0])
    assert psi(now, reference) == psi(now[:2], reference[:2])


@pytest.mark.parametrize(("bins", "rows", "reference_rows"), [(20, 700, 1000), (5, 200, 1000), (2, 50, 300)])
def test_the_noise_is_about_what_samples_of_one_distribution_show(
    bins: int, rows: int, reference_rows: int
) -> None:
    source = np.random.default_rng(5)
    shares = np.full(bins, 1 / bins)
    pairs = [
        (source.multinomial(rows, shares), source.multinomial(reference_rows, shares)) for _ in range(400)
    ]
    observed = float(np.mean([psi(now, reference) for now, reference in pairs]))
    assert observed == pytest.approx(psi_noise(*pairs[0]), rel=0.15)


def test_200_rows_in_20_bins_are_not_enough_and_1000_are() -> None:
    reference = np.full(20, 50)
    assert psi_noise(np.full(20, 10), reference) > MAX_NOISE
    assert psi_noise(np.full(20, 50), reference) <= MAX_NOISE


def test_an_empty_side_is_never_enough() -> None:
    assert psi_noise(np.zeros(3, dtype=np.int64), np.array([1, 2, 3])) == math.inf
    assert psi_noise(np.array([1, 2, 3]), np.zeros(3, dtype=np.int64)) == math.inf
