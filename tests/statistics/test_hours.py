"""Baselines by hour of the week: packed exactly, compared with the right hours, and detectors that follow them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sidecar.statistics.budget import parse_budget
from sidecar.statistics.evaluator import Evaluator
from sidecar.statistics.hourly_bets import HourlyBets
from sidecar.statistics.hours import (
    HOUR_US,
    HOURS,
    WEEK_US,
    between,
    cycles,
    expected,
    hour_of,
    packed,
    unpacked,
)
from sidecar.statistics.quantity import Distribution
from sidecar.statistics.spreading import stretches_of
from tests.statistics.test_evaluator import numeric, slots

PANE_US = 60_000_000
MONDAY_US = 1_764_547_200_000_000
"""2025-12-01, a Monday."""
BUDGET = parse_budget("1 per 30d")
ROWS = 60


@given(st.integers(0, 4_000_000_000))
def test_the_hour_of_the_week_is_the_calendars(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert hour_of(seconds * 1_000_000) == moment.weekday() * 24 + moment.hour


@given(arrays(np.int64, (HOURS, 5), elements=st.integers(0, 2**32 - 1)))
def test_packed_counts_come_back_exactly(counts: np.ndarray) -> None:
    assert unpacked(packed(counts)).tolist() == counts.tolist()


def test_what_is_expected_of_a_time_is_the_sum_of_its_hours() -> None:
    counts = np.arange(HOURS * 16).reshape(HOURS, 16)
    quantity = replace(numeric("x", 0), hours=packed(counts))
    start = MONDAY_US + 5 * HOUR_US
    assert expected(quantity, start, start + 3 * HOUR_US).tolist() == counts[5:8].sum(axis=0).tolist()
    assert expected(quantity, start + 7, start + 8).tolist() == counts[5].tolist()
    whole = counts.sum(axis=0) * 2 + counts[5]
    assert expected(quantity, start, start + 2 * WEEK_US + 1).tolist() == whole.tolist()
    assert between(quantity, start, start + 1).reference == tuple(counts[5].tolist())
    assert expected(numeric("x", 0), start, start + 1).tolist() == list(numeric("x", 0).reference)


def test_whole_weeks_are_counted() -> None:
    hours = np.arange(3 * HOURS, dtype=np.int64) * HOUR_US
    assert cycles(hours) == 3
    assert cycles(hours[:-1]) == 2
    assert cycles(hours[:0]) == 0


def mean_at(pane: int) -> float:
    """A day and a night, 2 σ apart; the weekend is 0.5 σ lower."""
    hour = pane // 60
    return float(np.sin(2 * np.pi * (hour % 24) / 24) - 0.5 * (hour // 24 % 7 >= 5))


def values(rng: np.random.Generator, pane: int, shift: float = 0.0) -> np.ndarray:
    return rng.normal(mean_at(pane) + shift, 1.0, size=ROWS)


@pytest.fixture(scope="module")
def cyclic() -> tuple[Distribution, Distribution]:
    """Of three weeks: one baseline for all hours, and one by hour of the week."""
    rng = np.random.default_rng(1)
    panes = np.array([slots(values(rng, pane)) for pane in range(3 * 7 * 24 * 60)])
    codes = np.repeat(np.tile(np.arange(16), len(panes)), panes.ravel())
    times = MONDAY_US + np.repeat(np.arange(len(panes)), panes.sum(axis=1)) * PANE_US
    plain = replace(numeric("x", 0), reference=tuple(panes.sum(axis=0).tolist()))
    flat = replace(plain, spread=stretches_of(times, PANE_US).spread(codes, plain))
    hourly = stretches_of(times, PANE_US, by_hour=True)
    by_hour = replace(plain, spread=hourly.spread(codes, plain), hours=hourly.hours(codes, 16))
    return flat, by_hour


def run(evaluator: Evaluator, first: int, last: int, seed: int, shift: float = 0.0) -> list[tuple[int, str]]:
    rng = np.random.default_rng(seed)
    return [
        (pane, alarm.state)
        for pane in range(first, last)
        for alarm in evaluator.step(MONDAY_US + pane * PANE_US, slots(values(rng, pane, shift)))
    ]


def test_a_cyclic_stream_that_is_not_proven_keeps_its_promise_with_hours(
    cyclic: tuple[Distribution, Distribution],
) -> None:
    flat, by_hour = cyclic
    plain, hourly = Evaluator([flat], BUDGET, PANE_US), Evaluator([by_hour], BUDGET, PANE_US)
    assert not plain.promises()[0].kept
    assert run(hourly, 0, 5_000, 2) == []
    assert hourly.promises()[0].kept
    assert by_hour.spread.kl < 0.01 < flat.spread.kl


def test_a_shift_is_found_against_its_hour_and_told_against_it(
    cyclic: tuple[Distribution, Distribution],
) -> None:
    """At night the shifted mean is what the whole baseline's mean is: without hours nothing would show."""
    evaluator = Evaluator([cyclic[1]], BUDGET, PANE_US)
    night = 16 * 60
    assert run(evaluator, 0, night, 3) == []
    found = run(evaluator, night, night + 60, 4, shift=0.9)
    assert found[0][1] == "open"
    assert found[0][0] <= night + 5
    [alarm] = evaluator.alarms()
    assert alarm.effect.w1_sigma is not None
    assert 0.4 <= alarm.effect.w1_sigma <= 1.1
    assert alarm.before.numbers["mean_sigma"] < -0.4 < alarm.after.numbers["mean_sigma"]
    assert run(evaluator, night + 60, night + 400, 5)[-1][1] == "resolved"


def test_no_bets_e_value_is_above_one_on_average_in_any_hour(
    cyclic: tuple[Distribution, Distribution],
) -> None:
    bets = HourlyBets(cyclic[1], 0.01)
    shares = unpacked(cyclic[1].hours) / unpacked(cyclic[1].hours).sum(axis=1, keepdims=True)
    rng = np.random.default_rng(6)
    informative = 0
    for hour in (0, 6, 18, 100, 167):
        bets.turn_to(MONDAY_US + hour * HOUR_US)
        bets.learn(slots(values(rng, hour * 60, 0.8)))
        ratios = np.exp(bets.log_ratios.astype(np.float64))
        assert (ratios @ shares[hour]).max() <= 1.0
        informative += int((ratios.max(axis=1) > 1.05).sum())
    assert informative > 50


def test_an_hour_that_the_baseline_has_not_seen_is_no_alarm() -> None:
    counts = np.zeros((HOURS, 16), dtype=np.int64)
    counts[:5] = numeric("x", 0).reference
    quantity = replace(numeric("x", 0), hours=packed(counts))
    evaluator = Evaluator([quantity], BUDGET, PANE_US)
    assert run(evaluator, 6 * 60, 8 * 60, 7, shift=3.0) == []
    assert run(evaluator, 7 * 24 * 60, 7 * 24 * 60 + 10, 8, shift=3.0) != []


@pytest.mark.parametrize("cut", [1, 59, 60, 930, 1000])
def test_a_restart_at_any_time_changes_nothing(cyclic: tuple[Distribution, Distribution], cut: int) -> None:
    quantity = cyclic[1]
    rng = np.random.default_rng(9)
    panes = [slots(values(rng, pane, 0.6 if pane > 900 else 0.0)) for pane in range(1_040)]
    whole, first = Evaluator([quantity], BUDGET, PANE_US), Evaluator([quantity], BUDGET, PANE_US)
    for pane, counts in enumerate(panes):
        whole.step(MONDAY_US + pane * PANE_US, counts)
    for pane, counts in enumerate(panes[:cut]):
        first.step(MONDAY_US + pane * PANE_US, counts)
    second = Evaluator.restore([quantity], BUDGET, PANE_US, first.state())
    for pane, counts in enumerate(panes[cut:], cut):
        second.step(MONDAY_US + pane * PANE_US, counts)
    assert second.alarms() == whole.alarms() != []
    assert second.state() == whole.state()
