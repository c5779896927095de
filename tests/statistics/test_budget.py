"""Budgets of false alarms."""

from __future__ import annotations

import pytest

from sidecar.statistics.budget import Budget, parse_budget, thresholds

DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("text", "alarms", "period_us", "words"),
    [
        ("1 per 30d", 1, 30 * DAY, "at most 1 false alarm per 30 days"),
        ("2 per w", 2, 7 * DAY, "at most 2 false alarms per 7 days"),
        ("0.5 per 12h", 0.5, DAY // 2, "at most 0.5 false alarms per 12 hours"),
        (" 1  per d ", 1, DAY, "at most 1 false alarm per day"),
    ],
)
def test_a_budget_is_read_and_said(text: str, alarms: float, period_us: int, words: str) -> None:
    budget = parse_budget(text)
    assert budget == Budget(alarms, period_us)
    assert budget.words() == words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p < 0.05",
        "1",
        "1 per 30",
        "1 per 30y",
        "-1 per 3d",
        "0 per 3d",
        "1 per 0d",
        f"1 per {'9' * 400}d",
        f"{'9' * 400} per d",
        "1 per 0.0000001s",
        "1 per 99999w",
    ],
)
def test_what_is_no_budget_is_refused_in_one_line_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"for example 1 per 30d") as raised:
        parse_budget(text)
    assert "\n" not in str(raised.value)


def test_thresholds_divide_the_budget_by_weight() -> None:
    levels = thresholds(parse_budget("1 per 30d"), 60_000_000, [1, 1, 2])
    assert levels.tolist() == [43_200 * 4, 43_200 * 4, 43_200 * 2]
    assert (1 / levels).sum() == pytest.approx(1 / 43_200)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_quantity_without_weight_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="leave a quantity out"):
        thresholds(parse_budget("1 per d"), 1_000_000, [1.0, weight])
