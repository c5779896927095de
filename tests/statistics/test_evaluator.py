"""The evaluator: alarms open, escalate and end; its state is all there is to it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from sidecar.statistics.alarm import TRANSITIONS, Alarm, alarm_id, decode_alarm
from sidecar.statistics.budget import parse_budget
from sidecar.statistics.evaluator import Evaluator
from sidecar.statistics.means import log_wealth
from sidecar.statistics.quantity import Band, Distribution, Mean, Quantity, Spread, TwoSample

PANE_US = 60_000_000
START_US = 1_764_079_200_000_000
BUDGET = parse_budget("1 per 30d")
BINS = 10
TAIL = ("under", "over", "new", "other", "missing", "invalid")
EDGES = np.array([-9.0, *np.linspace(-1.6, 1.6, BINS - 1), 9.0])


def numeric(name: str, start: int, rows: int = 20_000, spread: Spread = Spread(panes=100)) -> Distribution:  # noqa: B008
    values = np.random.default_rng(0).normal(size=rows)
    counts = slots(values)
    codes = np.searchsorted(EDGES[1:-1], values)
    centres = tuple(float(values[codes == slot].mean()) for slot in range(BINS))
    labels = (*(f"{a:.2g}..{b:.2g}" for a, b in pairwise(EDGES)), *TAIL)
    return Distribution(
        name, start, tuple(map(int, counts)), labels, BINS, centres, spread, under=BINS, over=BINS + 1,
        mean=0.74, unit=0.18, title="loan-to-value",
    )  # fmt: skip


def slots(values: np.ndarray, missing: int = 0) -> np.ndarray:
    counts = np.bincount(np.searchsorted(EDGES[1:-1], values), minlength=BINS + len(TAIL))
    counts[BINS + TAIL.index("missing")] += missing
    return counts


STAKES = (0.05, 0.1, -0.05, -0.1)
NUMERIC = numeric("inputs.lvr", 0)
BAND = Band("band/rejections", 16, 0.5, 0.75)
MEAN = Mean("mean/income", 18, 5.0, 1.0, 2.0, STAKES)
GROUPS = TwoSample("bias/black", 25, 0.8)
ALL: tuple[Quantity, ...] = (NUMERIC, BAND, MEAN, GROUPS)


def pane(
    rng: np.random.Generator,
    shift: float = 0.0,
    share: float = 0.65,
    mean: float = 0.0,
    other: float = 0.6,
    rows: int = 60,
) -> np.ndarray:
    """One pane's vector of the four quantities."""
    deviations = rng.normal(mean, 1.0, size=rows)
    sums = [rows, int(np.rint(deviations * 2**20).sum()), 0, *log_wealth(deviations, 0.5, STAKES)]
    half = rows // 2
    groups = [rng.binomial(half, 0.6), half, rng.binomial(half, other), half]
    values = slots(rng.normal(shift, 1.0, size=rows))
    return np.array([*values, rng.binomial(rows, share), rows, *sums, *groups], dtype=np.int64)


def run(evaluator: Evaluator, panes: Sequence[np.ndarray], first: int = 0) -> list[tuple[int, str, str]]:
    """Number of the pane, quantity and state of every change."""
    found: list[tuple[int, str, str]] = []
    for number, vector in enumerate(panes, first):
        for alarm in evaluator.step(
            START_US + number * PANE_US, vector, {"inputs.lvr": ["a", "b", "c", "d"]}
        ):
            found.append((number, alarm.quantity, alarm.state))
    return found


def test_nothing_alarms_while_nothing_changes() -> None:
    rng = np.random.default_rng(1)
    evaluator = Evaluator(ALL, BUDGET, PANE_US)
    assert run(evaluator, [pane(rng) for _ in range(1_500)]) == []
    assert evaluator.alarms() == []
    assert all(promise.kept for promise in evaluator.promises())


@pytest.mark.parametrize(
    ("changed", "quantity"),
    [
        ({"shift": 0.5}, "inputs.lvr"),
        ({"share": 0.9}, "band/rejections"),
        ({"mean": 1.2}, "mean/income"),
        ({"other": 0.25}, "bias/black"),
    ],
)
def test_each_kind_alarms_alone_soon_after_its_change_and_resolves_after_its_return(
    changed: dict[str, Any], quantity: str
) -> None:
    rng = np.random.default_rng(2)
    evaluator = Evaluator(ALL, BUDGET, PANE_US)
    assert run(evaluator, [pane(rng) for _ in range(100)]) == []
    changes = run(evaluator, [pane(rng, **changed) for _ in range(40)], 100)
    assert changes[0][1:] == (quantity, "open")
    assert changes[0][0] < 130
    assert {name for _, name, _ in changes} == {quantity}
    [alarm] = evaluator.alarms()
    assert abs(alarm.since_us - (START_US + 100 * PANE_US)) <= 5 * PANE_US
    changes = run(evaluator, [pane(rng) for _ in range(200)], 140)
    assert [change[1:] for change in changes] == [(quantity, "resolved")]
    assert [alarm.state for alarm in evaluator.alarms()] == ["resolved"]


def test_a_sentence_says_what_moved_from_what_to_what_since_when_and_how_sure() -> None:
    rng = np.random.default_rng(3)
    evaluator = Evaluator([NUMERIC], BUDGET, PANE_US, advisory=True)
    run(evaluator, [pane(rng) for _ in range(60)])
    run(evaluator, [pane(rng, shift=0.7) for _ in range(10)], 60)
    [alarm] = evaluator.alarms()
    assert alarm.sentence.startswith("loan-to-value moved up: mean 0.740 → 0.8")
    assert "σ) since about 15:00 UTC; chance alone would do this less than once in" in alarm.sentence
    assert "range" in alarm.sentence
    assert alarm.record_ids == ["a", "b", "c"]
    assert alarm.promise == (
        "at most 1 false alarm per 30 days for this model; advisory: of what this one sidecar has seen"
    )
    assert alarm.log_evidence >= alarm.threshold == pytest.approx(np.log(43_200))
    assert alarm.effect.psi is not None
    assert alarm.effect.psi > 0.1
    assert 1 <= len(alarm.contributions) <= 3
    assert alarm.before.rows == 20_000


def test_missing_values_are_named_and_not_the_mean() -> None:
    rng = np.random.default_rng(4)
    evaluator = Evaluator([NUMERIC], BUDGET, PANE_US)
    run(evaluator, [slots(rng.normal(size=60)) for _ in range(40)])
    run(evaluator, [slots(rng.normal(size=57), missing=3) for _ in range(20)], 40)
    [alarm] = evaluator.alarms()
    assert alarm.sentence.startswith("loan-to-value has more “missing”: 0 % → ")
    assert alarm.contributions[0].what == "missing"


def test_an_alarm_that_grows_escalates_and_an_acknowledged_one_stays_quiet() -> None:
    for acknowledged in (False, True):
        rng = np.random.default_rng(5)
        evaluator = Evaluator([NUMERIC], BUDGET, PANE_US)
        run(evaluator, [pane(rng) for _ in range(40)])
        run(evaluator, [pane(rng, shift=0.3) for _ in range(60)], 40)
        [alarm] = evaluator.alarms()
        assert (alarm.state, alarm.severity) == ("open", "warning")
        if acknowledged:
            assert evaluator.acknowledge(alarm.id) is alarm
        changes = run(evaluator, [pane(rng, shift=1.2) for _ in range(60)], 100)
        assert changes == [] if acknowledged else changes[0][2] == "escalated"
        assert alarm.state == ("acknowledged" if acknowledged else "escalated")
        if not acknowledged:
            assert alarm.severity == "critical"
        assert run(evaluator, [pane(rng) for _ in range(100)], 160)[-1][2] == "resolved"


def test_acknowledging_what_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Evaluator([NUMERIC], BUDGET, PANE_US).acknowledge("0" * 16)


@pytest.mark.parametrize("cut", [0, 1, 57, 120, 139])
def test_a_restored_evaluator_goes_on_exactly_as_the_first_would(cut: int) -> None:
    rng = np.random.default_rng(6)
    panes = [pane(rng) for _ in range(100)] + [pane(rng, shift=0.6, share=0.9, other=0.2) for _ in range(40)]
    whole = Evaluator(ALL, BUDGET, PANE_US)
    expected = run(whole, panes)
    first = Evaluator(ALL, BUDGET, PANE_US)
    found = run(first, panes[:cut])
    second = Evaluator.restore(ALL, BUDGET, PANE_US, first.state())
    found += run(second, panes[cut:], cut)
    assert found == expected
    assert found
    assert second.state() == whole.state()
    assert second.alarms() == whole.alarms()


def test_a_state_of_other_detectors_is_refused_in_one_line() -> None:
    evaluator = Evaluator([BAND], BUDGET, PANE_US)
    with pytest.raises(ValueError, match="is no state of these detectors"):
        Evaluator.restore(ALL, BUDGET, PANE_US, evaluator.state())
    with pytest.raises(ValueError, match="is no state of these detectors"):
        Evaluator.restore(ALL, BUDGET, PANE_US, b"rubbish")
    old = msgspec.msgpack.encode({"version": 0})
    with pytest.raises(ValueError, match="version 0, this build reads 1"):
        Evaluator.restore(ALL, BUDGET, PANE_US, old)


def test_the_state_does_not_grow_with_time() -> None:
    rng = np.random.default_rng(7)
    evaluator = Evaluator(ALL, BUDGET, PANE_US)
    run(evaluator, [pane(rng) for _ in range(200)])
    size = len(evaluator.state())
    run(evaluator, [pane(rng) for _ in range(400)], 200)
    assert len(evaluator.state()) < 1.1 * size


def test_panes_come_in_order_and_empty_ones_change_no_evidence() -> None:
    rng = np.random.default_rng(8)
    evaluator = Evaluator([NUMERIC], BUDGET, PANE_US)
    run(evaluator, [pane(rng) for _ in range(20)])
    before = evaluator.watches[0].evidence
    run(evaluator, [np.zeros_like(pane(rng))] * 5, 20)
    assert evaluator.watches[0].evidence == before
    with pytest.raises(ValueError, match="is not after"):
        evaluator.step(START_US, pane(rng))


def test_one_weight_more_is_a_lower_threshold() -> None:
    heavy = Band("band/heavy", 16, 0.5, 0.75, weight=3.0)
    evaluator = Evaluator([NUMERIC, heavy], BUDGET, PANE_US)
    assert [watch.threshold for watch in evaluator.watches] == pytest.approx([43_200 * 4, 43_200 * 4 / 3])


def test_what_cannot_be_watched_is_said_and_takes_no_budget() -> None:
    empty = Distribution("inputs.none", 0, (0, 0), ("a", "b"))
    evaluator = Evaluator([empty, BAND], BUDGET, PANE_US)
    assert evaluator.promises()[0].words == "not watched: its baseline has no rows"
    assert evaluator.watches[0].threshold == 43_200


def test_two_quantities_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Evaluator([BAND, BAND], BUDGET, PANE_US)


def test_autocorrelated_rows_are_declared_with_the_measured_figure() -> None:
    rng = np.random.default_rng(9)
    evaluator = Evaluator([NUMERIC], BUDGET, PANE_US)
    value, panes = 0.0, []
    for _ in range(300):
        rows = []
        for _ in range(60):
            value = 0.9 * value + rng.normal() * np.sqrt(1 - 0.81)
            rows.append(value)
        panes.append(slots(np.array(rows)))
    run(evaluator, panes)
    [promise] = evaluator.promises()
    assert not promise.kept
    assert "rows depend on each other" in promise.words
    assert 8 < promise.figures["dispersion"] < 40


def test_unknown_and_wide_spreads_are_declared() -> None:
    unknown, wide = (
        numeric("unknown", 0, spread=Spread()),
        numeric("wide", 0, spread=Spread(panes=500, kl=0.2)),
    )
    promises = Evaluator([unknown, wide], BUDGET, PANE_US).promises()
    assert [promise.kept for promise in promises] == [False, False]
    assert promises[0].words.startswith("not proven yet: 0 clean panes")
    assert "differ by up to 0.63 σ" in promises[1].words


def test_every_move_of_an_alarm_is_in_the_table_and_nothing_follows_its_end() -> None:
    assert {state for state, _ in TRANSITIONS} == {"open", "escalated", "acknowledged"}
    rng = np.random.default_rng(10)
    evaluator = Evaluator([BAND], BUDGET, PANE_US)
    run(evaluator, [pane(rng, share=0.95) for _ in range(10)])
    [alarm] = evaluator.alarms()
    for event in ("grew", "acknowledge", "grew"):
        alarm.move(event, START_US)
    assert not alarm.loud
    assert alarm.move("returned", START_US)
    assert alarm.resolved_us == START_US
    with pytest.raises(ValueError, match="nothing follows"):
        alarm.move("grew", START_US)


def test_an_alarm_survives_json_and_another_version_is_refused() -> None:
    rng = np.random.default_rng(11)
    evaluator = Evaluator([NUMERIC], BUDGET, PANE_US)
    run(evaluator, [pane(rng, shift=1.0) for _ in range(5)])
    [alarm] = evaluator.alarms()
    assert isinstance(alarm, Alarm)
    text = msgspec.json.encode(alarm)
    assert decode_alarm(text) == alarm
    assert alarm.id == alarm_id(alarm.quantity, alarm.opened_us)
    with pytest.raises(ValueError, match="version 9"):
        decode_alarm(text.replace(b'"version":1', b'"version":9'))
    with pytest.raises(ValueError, match="is no alarm"):
        decode_alarm(b"[]")


def test_panes_of_two_pods_added_give_the_evaluation_of_the_whole() -> None:
    rng = np.random.default_rng(12)
    pods = [[pane(rng, shift=0.4 if t > 30 else 0.0, rows=30) for _ in range(2)] for t in range(60)]
    whole = Evaluator(ALL, BUDGET, PANE_US)
    run(whole, [a + b for a, b in pods])
    other = Evaluator(ALL, BUDGET, PANE_US)
    run(other, [b + a for a, b in pods])
    assert whole.state() == other.state()


def test_a_group_too_small_to_judge_is_insufficient_evidence_and_no_alarm() -> None:
    quantity = TwoSample("bias/rare", 0, 0.8)
    evaluator = Evaluator([quantity], BUDGET, PANE_US)
    few = np.array([100, 100, 0, 1], dtype=np.int64)
    assert run(evaluator, [few] * 29) == []
    [promise] = evaluator.promises()
    assert promise.words == (
        "insufficient evidence: 2,900 rows of the reference group and 29 of the other, 30 of each are needed"
    )
    assert [change[1:] for change in run(evaluator, [few] * 3, 29)] == [("bias/rare", "open")]


def test_a_part_of_the_budget_is_a_higher_threshold_and_a_larger_one_brings_no_evidence() -> None:
    rng = np.random.default_rng(12)
    evaluator = Evaluator([NUMERIC], BUDGET, PANE_US)
    [watch] = evaluator.watches
    whole = watch.threshold
    evaluator.give(0.25)
    run(evaluator, [pane(rng) for _ in range(30)])
    before = watch.evidence
    evaluator.give(0.125)
    assert (watch.threshold, watch.evidence) == (8 * whole, before)
    evaluator.give(0.5)
    assert watch.threshold == 2 * whole
    assert watch.evidence == pytest.approx(before / 4)
    restored = Evaluator.restore([NUMERIC], BUDGET, PANE_US, evaluator.state())
    assert (restored.share, restored.watches[0].threshold) == (0.5, 2 * whole)
    panes = [pane(rng, shift=0.6) for _ in range(10)]
    assert run(restored, panes, 30) == run(evaluator, panes, 30) != []


def test_without_a_part_of_the_budget_nothing_alarms_and_nothing_is_carried_over() -> None:
    rng = np.random.default_rng(13)
    evaluator = Evaluator([NUMERIC], BUDGET, PANE_US)
    evaluator.give(0.0)
    assert run(evaluator, [pane(rng, shift=1.0) for _ in range(30)]) == []
    evaluator.give(1.0)
    assert evaluator.watches[0].evidence == 0.0
    assert run(evaluator, [pane(rng, shift=1.0) for _ in range(5)], 30) != []
