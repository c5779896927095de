"""The parts of one model's budget: never more than the whole at any time, and the promise that follows."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.pane_file import Series
from sidecar.fleet.shares import LINGER_US, Shares
from sidecar.statistics.e_detector import reweighed, step

MINUTE_US = 60_000_000
A, B, C = (Series("m", "d", plan, MINUTE_US) for plan in "abc")


def panes(series: Series, shares: Shares, first: int, last: int) -> list[float]:
    for number in (first, last):
        shares.note(series, number * MINUTE_US)
    return [shares.of(series, number * MINUTE_US) for number in range(first, last + 1)]


def test_one_series_alone_has_the_whole_and_two_have_halves() -> None:
    shares = Shares()
    assert panes(A, shares, 1, 3) == [1.0] * 3
    for number in (4, 5):
        shares.note(A, number * MINUTE_US)
        shares.note(B, number * MINUTE_US)
    found = {(s.plan, n): shares.of(s, n * MINUTE_US) for n in (4, 5) for s in (A, B)}
    assert set(found.values()) == {0.5}


def test_a_series_heard_of_late_gets_nothing_of_time_that_the_others_have_had() -> None:
    shares = Shares()
    panes(A, shares, 1, 10)
    assert panes(B, shares, 8, 12) == [0.0, 0.0, 0.0, 0.5, 0.5]
    assert panes(A, shares, 11, 13) == [0.5] * 3


def test_what_one_that_ended_had_goes_to_those_that_run() -> None:
    shares = Shares()
    linger = LINGER_US // MINUTE_US
    shares.note(B, MINUTE_US)
    found = panes(A, shares, 1, linger + 3)
    assert found[: linger + 1] == [0.5] * (linger + 1)
    assert found[linger + 1 :] == [1.0, 1.0]
    assert shares.of(B, MINUTE_US) == 0.5
    assert panes(B, shares, linger + 2, linger + 4) == [0.0, 0.0, 0.5]


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.integers(1, 60), st.integers(0, 30)), min_size=1, max_size=30
    ),
    st.integers(0, 29),
)
def test_the_parts_of_no_time_are_more_than_the_whole(
    arrivals: list[tuple[Series, int, int]], restart: int
) -> None:
    """Whatever comes when, each series' panes in the order of time, over a restart."""
    shares = Shares()
    stepped: dict[Series, int] = defaultdict(int)
    given_out: dict[int, float] = defaultdict(float)
    for number, (series, first, length) in enumerate(arrivals):
        # Far apart, so that series end too.
        hours = [hour for hour in range(first, first + length + 1) if hour > stepped[series]]
        for hour in hours:
            shares.note(series, hour * 3_600_000_000)
        for hour in hours:
            given_out[hour] += shares.of(series, hour * 3_600_000_000)
            stepped[series] = hour
        if number == restart:
            shares = msgspec.msgpack.decode(msgspec.msgpack.encode(shares), type=Shares)
    assert max(given_out.values(), default=0.0) <= 1.0 + 1e-12


LEVEL = 62.0
"""After six wins in a row M is 126, so that this bet's average run length is hardly more than its level."""
PANES = 6_000
RUNS = 30


def false_alarms(whole_budgets: bool) -> float:
    """Mean number over all plans of one model: one from the start, two more later, the first ends."""
    lives = {A: (0, 4_000), B: (1_000, PANES), C: (2_000, PANES)}
    alarms = 0
    for run in range(RUNS):
        rng = np.random.default_rng([7, run])
        shares, m, had = Shares(), dict.fromkeys(lives, np.zeros(1)), dict.fromkeys(lives, 1.0)
        for pane in range(1, PANES):
            running = [series for series, (first, last) in lives.items() if first <= pane < last]
            for series in running:
                shares.note(series, pane * MINUTE_US)
            for series in running:
                share = 1.0 if whole_budgets else shares.of(series, pane * MINUTE_US)
                m[series] = reweighed(m[series], had[series], share)
                had[series] = share
                with np.errstate(divide="ignore"):
                    m[series] = step(m[series], np.log(np.array([2.0 * rng.integers(2)])))
                if share and m[series][0] >= LEVEL / share:
                    alarms += 1
                    m[series] = np.zeros(1)
    return alarms / RUNS


def test_several_plans_of_one_model_keep_one_budget_together() -> None:
    """E-values of mean 1 exactly. With a whole budget for each plan there are twice as many as are allowed."""
    allowed = PANES / LEVEL
    noise = 3.0 * np.sqrt(allowed / RUNS)
    assert false_alarms(whole_budgets=False) <= allowed + noise
    assert false_alarms(whole_budgets=True) > 1.5 * allowed


@pytest.mark.parametrize(("before", "after", "kept"), [(0.5, 1.0, 0.5), (1.0, 0.5, 1.0), (0.0, 1.0, 0.0)])
def test_evidence_times_part_never_grows_with_the_part(before: float, after: float, kept: float) -> None:
    assert reweighed(np.array([8.0]), before, after)[0] == 8.0 * kept
