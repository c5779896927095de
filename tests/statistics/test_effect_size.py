"""Effect sizes beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from scipy.spatial import distance  # type: ignore[import-untyped]

from sidecar.statistics.effect_size import jensen_shannon, kolmogorov_smirnov, wasserstein_sigma

COUNTS = st.integers(2, 20).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 60), min_size=n, max_size=n).filter(any)] * 2)
)


@given(COUNTS)
def test_jensen_shannon_is_scipy_s(pair: tuple[list[int], list[int]]) -> None:
    now, before = map(np.array, pair)
    assert jensen_shannon(now, before) == pytest.approx(distance.jensenshannon(now, before, base=2), abs=1e-6)


@given(COUNTS)
def test_wasserstein_is_scipy_s_on_the_centres(pair: tuple[list[int], list[int]]) -> None:
    now, before = map(np.array, pair)
    centres = np.cumsum(np.arange(1, len(now) + 1)) / 7.0
    expected = stats.wasserstein_distance(centres, centres, now, before)
    assert wasserstein_sigma(now, before, centres.tolist()) == pytest.approx(expected, abs=1e-9)


@given(COUNTS)
def test_kolmogorov_smirnov_is_scipy_s_on_the_grid(pair: tuple[list[int], list[int]]) -> None:
    now, before = map(np.array, pair)
    slots = np.arange(len(now))
    expected = stats.ks_2samp(np.repeat(slots, now), np.repeat(slots, before)).statistic
    assert kolmogorov_smirnov(now, before) == pytest.approx(expected, abs=1e-9)


def test_an_empty_side_has_no_effect() -> None:
    nothing, something = np.zeros(3, dtype=np.int64), np.array([1, 2, 3])
    assert jensen_shannon(nothing, something) == 0
    assert kolmogorov_smirnov(something, nothing) == 0
    assert wasserstein_sigma(nothing, something, [0.0, 1.0, 2.0]) == 0
