"""A stream that moves is not called dependent, and one that is dependent is, whatever its alarms say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sidecar.statistics.evaluator import Evaluator
from sidecar.statistics.judgement import CHANGES, REMEMBERED, Judgement
from sidecar.statistics.quantity import Spread
from tests.statistics.test_evaluator import BUDGET, PANE_US, START_US, numeric, slots

CLEAN = 100
ROWS = 60


def evaluator(spread: Spread = Spread(panes=100)) -> Evaluator:  # noqa: B008
    return Evaluator([numeric("x", 0, spread=spread)], BUDGET, PANE_US)


def run(made: Evaluator, mean: Callable[[int], float], first: int, last: int, rows: int = ROWS) -> list[str]:
    """The promise in words after each pane."""
    rng = np.random.default_rng([5, first])
    said = []
    for pane in range(first, last):
        made.step(START_US + pane * PANE_US, slots(rng.normal(mean(pane), 1.0, size=rows)))
        said.append(made.promises()[0].words)
    return said


@pytest.mark.parametrize(
    ("name", "mean", "rows"),
    [
        ("a step", lambda t: 1.0, ROWS),
        ("a ramp over ten hours", lambda t: min(1.0, t / 600), ROWS),
        ("a ramp with many rows", lambda t: min(1.0, t / 60), 600),
        ("up fast", lambda t: min(2.0, t / 5), ROWS),
    ],
)
def test_a_stream_that_shifts_keeps_its_promise_during_the_alarm_and_after_it(
    name: str, mean: Callable[[int], float], rows: int
) -> None:
    made = evaluator()
    assert run(made, lambda pane: 0.0, 0, CLEAN, rows)[-1] == "kept"
    during = run(made, lambda pane: mean(pane - CLEAN), CLEAN, CLEAN + 800, rows)
    after = run(made, lambda pane: 0.0, CLEAN + 800, CLEAN + 1_200, rows)
    opened = [alarm for alarm in made.alarms() if alarm.opened_us < START_US + (CLEAN + 800) * PANE_US]
    assert opened
    assert {alarm.promise for alarm in opened} == {"at most 1 false alarm per 30 days for this model"}
    first = min(alarm.opened_us for alarm in opened) // PANE_US - START_US // PANE_US
    assert set(during[first - CLEAN :]) == {"kept"}
    assert set(after) == {"kept"}


def test_a_dependent_stream_is_called_so_by_every_alarm_and_all_the_time() -> None:
    """Each pane has a mean of its own: it varies sixteen times as much as independent rows would."""
    drawn = np.random.default_rng(6).normal(0.0, 0.5, size=2_000)
    made = evaluator()
    said = run(made, lambda pane: float(drawn[pane]), 0, 2_000)
    known = next(at for at, words in enumerate(said) if "depend" in words)
    assert known < 40
    assert all("depend" in words for words in said[known:])
    late = [alarm for alarm in made.alarms() if alarm.since_us > START_US + known * PANE_US]
    assert all("depend" in alarm.promise for alarm in late)


def test_a_stream_that_comes_and_goes_is_dependent_after_some_alarms() -> None:
    made = evaluator()
    run(made, lambda pane: 0.0, 0, CLEAN)
    said = run(made, lambda pane: 1.0 * ((pane - CLEAN) // 30 % 2 == 0), CLEAN, CLEAN + 600)
    assert said[30] == "kept"
    assert "depend" in said[-1]
    assert sum("depend" in alarm.promise for alarm in made.alarms()) >= len(made.alarms()) - CHANGES - 1


def test_panes_of_the_change_itself_are_no_clean_panes() -> None:
    made = evaluator(Spread())
    run(made, lambda pane: 0.0, 0, 10)
    said = run(made, lambda pane: 1.0, 10, 80)
    assert said[-1].startswith("not proven yet: ")
    clean = int(said[-1].removeprefix("not proven yet: ").partition(" ")[0])
    assert clean <= 12


def test_the_estimate_from_before_is_forgotten_when_the_running_one_has_forgotten_the_change() -> None:
    judgement = Judgement(1.0)
    judgement.note(0, 1.5, 1, False)
    judgement.open(10, 40, 5)
    assert judgement.judged(9.0, 1.0, 50) == (1.5, 35)
    assert judgement.judged(9.0, 4.0, 50) == (4.0, 35)
    judgement.note(20, 9.0, 40 + REMEMBERED, False)
    assert judgement.judged(9.0, 1.0, 50) == (1.5, 35)
    judgement.note(30, 2.0, 41 + REMEMBERED, False)
    assert judgement.judged(2.0, 1.0, 60) == (2.0, 60)
    kept = Judgement(1.0)
    kept.load(judgement.state())
    assert kept.state() == judgement.state()
