"""A whole baseline made of columns: how much its own panes differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal  # type: ignore[import-untyped]

from sidecar.statistics.baseline import Baseline
from sidecar.statistics.founding import Side, found_baseline

SECOND_US = 1_000_000
PANE_US = 60 * SECOND_US
ROWS = 10_000


def founded(rho: float) -> Baseline:
    """Two inputs of first-order autoregression from row to row, a row a second."""
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(2, ROWS)) * np.sqrt(1 - rho**2)
    first, second = signal.lfilter([1.0], [1.0, -rho], noise)
    times = np.arange(ROWS, dtype=np.int64) * SECOND_US
    inputs = Side({"a": first.tolist(), "b": second.tolist()}, times)
    return found_baseline(inputs, Side({}, times), pane_us=PANE_US)


def test_dependent_rows_are_seen_at_their_size_along_what_will_be_watched() -> None:
    """19 − 3 for means of 60 rows of ρ = 0.9, less 1.5 for their neighbours; slot by slot it would be 6."""
    made = founded(0.9)
    spreads = [field.spread for field in made.inputs] + [joint.spread for joint in made.projections]
    assert len(spreads) == 5
    for spread in spreads:
        assert spread.dispersion == pytest.approx(14.5, rel=0.25)
        assert spread.panes == 167


def test_independent_rows_have_no_spread() -> None:
    made = founded(0.0)
    assert {(each.spread.kl, each.spread.dispersion) for each in made.inputs} == {(0.0, 1.0)}
