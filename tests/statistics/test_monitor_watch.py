"""What a watch file asks for, as a monitor's summary shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sidecar.records import Observation
from sidecar.statistics.baseline import Baseline
from sidecar.statistics.monitor import Monitor, MonitorSettings
from sidecar.statistics.watch_spec import parse_watch
from tests.statistics.observations import one
from tests.statistics.test_monitor import every

BASELINE = 400


def traffic(rows: int, seed: int = 1, **more: Any) -> list[Observation]:
    """Applications of which a third are of the group `yes`, with half the approvals of the others."""
    rng = np.random.default_rng(seed)
    found = []
    for black, score, luck in zip(
        rng.random(rows) < 1 / 3, rng.normal(size=rows), rng.random(rows), strict=True
    ):
        approved = int(luck < (0.4 if black else 0.8))
        inputs = {"black": "yes" if black else "no", "score": float(score), "other": float(score + luck)}
        found.append(one(inputs | more, {"approved": approved}))
    return found


def watching(document: dict[str, Any], baseline: Baseline | None = None) -> Monitor:
    """A monitor whose baseline is frozen."""
    monitor = Monitor(MonitorSettings(BASELINE, watch=parse_watch(document)), baseline)
    if baseline is None:
        monitor.add(every(traffic(BASELINE)))
    assert monitor.plan is not None
    return monitor


def given_baseline() -> Baseline:
    baseline = watching({}).baseline
    assert baseline is not None
    return baseline


def test_the_figures_of_bias_and_their_words_are_in_totals_and_window() -> None:
    entry = {"protected": "inputs.black", "reference": "no", "legitimate": ["inputs.score"]}
    monitor = watching({"decision": "outputs.approved == 1", "bias": [entry]})
    monitor.add(every(traffic(1500, 2)))
    summary = monitor.summary()
    for shown in (summary, summary["window"]):
        bias = shown["bias"]["inputs.black"]
        reference, group = bias["groups"]
        assert (reference["verdict"], group["verdict"]) == ("reference", "below")
        assert group["selection_rate"]["value"] == pytest.approx(0.4, abs=0.06)
        assert group["impact_ratio"]["high"] < 0.8
        assert group["fisher_p"] < 1e-9
        assert "yes: " in bias["sentences"][1]
        assert bias["sentences"][1].endswith("below 0.8")
        assert shown["information"]["inputs.black"]["p"] < 1e-9


@pytest.mark.parametrize("known", [False, True], ids=["first exchanges", "given baseline"])
def test_features_that_are_named_are_watched_and_no_others(known: bool) -> None:
    monitor = watching({"features": ["inputs.score"]}, given_baseline() if known else None)
    monitor.add(every(traffic(50)))
    summary = monitor.summary()
    assert list(summary["features"]) == ["score"]
    assert list(summary["outputs"]) == ["approved"]
    assert summary["joint"] == {}
    assert summary["unwatched"] == {"features": 100, "outputs": 0}
    assert summary["events"] == []


def test_a_restart_with_other_features_watches_those() -> None:
    before = watching({})
    assert before.plan is not None
    assert {"joint/projection-0", "joint/inputs.score*inputs.other"} <= {
        each.name for each in before.plan.quantities
    }
    settings = MonitorSettings(
        BASELINE, watch=parse_watch({"features": ["inputs.score", "outputs.approved"]})
    )
    after = Monitor.restore(before.state(), settings)
    after.add(every(traffic(50)))
    assert before.baseline == after.baseline
    assert list(after.summary()["features"]) == ["score"]
    assert after.plan is not None
    assert not [each for each in after.plan.quantities if "other" in each.name or "projection" in each.name]


def test_a_new_column_is_told_of_and_not_one_that_nobody_named() -> None:
    for features, told in (([], ["inputs.age"]), (["inputs.age"], ["inputs.age"]), (["inputs.score"], [])):
        monitor = watching({"features": features}, given_baseline())
        monitor.add(every(traffic(10, age=7)))
        assert [each["column"] for each in monitor.summary()["events"]] == told


def test_new_columns_are_told_of_up_to_a_limit() -> None:
    monitor = watching({}, given_baseline())
    monitor.add(every(traffic(2, **{f"new{number:04}": 1 for number in range(500)})))
    events = monitor.summary()["events"]
    assert [each["column"] for each in events] == [f"inputs.new{number:04}" for number in range(64)]


def test_what_the_baseline_does_not_have_is_said_and_the_rest_is_watched() -> None:
    monitor = watching(
        {"features": ["inputs.score"], "bias": [{"protected": "inputs.race", "outcome": "outputs.approved"}]}
    )
    monitor.add(every(traffic(20)))
    summary = monitor.summary()
    assert "the baseline has no inputs.race" in summary["trouble"]
    assert (list(summary["features"]), summary["bias"], summary["exchanges"]) == (["score"], {}, 20)


def test_alarms_of_traffic_that_has_stopped_are_over_after_a_day() -> None:
    monitor = watching({"decision": "outputs.approved == 1", "bands": [{"name": "approvals", "high": 0.5}]})
    minute_us, day_us = 60_000_000, 24 * 3_600_000_000
    moved = every(traffic(2000, 2), step_us=minute_us // 20)
    monitor.add(moved)
    end_us = moved[-1].t_us + 3 * minute_us
    monitor.advance(end_us)
    assert any(alarm.active for alarm in monitor.alarms())
    assert monitor.advance(end_us + day_us - 10 * minute_us) == []
    ended = monitor.advance(end_us + day_us + 10 * minute_us)
    assert ended
    assert {alarm.state for alarm in monitor.alarms()} == {"resolved"}
