"""Monitors: exact however the samples are cut or stored, closed by time, bounded."""

from __future__ import annotations

import gc
import random
import tracemalloc
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.records import Observation, Sample
from sidecar.statistics.baseline import Baseline
from sidecar.statistics.monitor import Monitor, MonitorSettings
from sidecar.statistics.panes import HOT, HOUR_US, Folds
from tests.statistics.observations import observations, one

streams = st.lists(st.one_of(observations(), st.none()), max_size=40)
SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US // HOUR_US * HOUR_US


def at(observation: Observation | None, t_us: int, number: int = 1) -> Sample:
    return Sample(f"boot.r.{number}", START_US + t_us, 200 if observation else 500, 0, 1500, observation)


def every(stream: list[Any], step_us: int = SECOND_US) -> list[Sample]:
    """One exchange each `step_us`."""
    return [at(each, number * step_us, number) for number, each in enumerate(stream)]


def monitor_of(wanted: int = 1000, baseline: Baseline | None = None, **told: Any) -> Monitor:
    defaults = {"pane_us": 5 * SECOND_US, "watermark_us": 2 * SECOND_US}
    return Monitor(MonitorSettings(wanted, **(defaults | told)), baseline)


def cut(stream: list[Any], points: list[int]) -> list[list[Any]]:
    edges = [0, *sorted(min(point, len(stream)) for point in points), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def frozen(stream: list[Observation]) -> Baseline:
    monitor = monitor_of(max(1, len(stream)))
    monitor.add(every([*stream, *[one({}, {"p": 1})] * max(1, len(stream))]))
    baseline = monitor.baseline
    assert baseline is not None
    return baseline


def totals(monitor: Monitor) -> Any:
    """What was counted, without the records that are named as examples."""
    summary = monitor.summary()
    return {name: summary[name] for name in ("exchanges", "instances", "features", "outputs", "exchange")}


@given(stream=streams, points=st.lists(st.integers(0, 40), max_size=5), wanted=st.integers(1, 12))
def test_batches_make_no_difference_to_any_count(stream: list[Any], points: list[int], wanted: int) -> None:
    samples = every(stream)
    whole, parts = monitor_of(wanted), monitor_of(wanted)
    whole.add(samples)
    for part in cut(samples, points):
        parts.add(part)
    assert totals(parts) == totals(whole)
    assert parts.summary()["window"] == whole.summary()["window"]


@given(stream=streams, where=st.integers(0, 40), wanted=st.integers(1, 12))
def test_a_restored_monitor_goes_on_as_if_nothing_had_happened(
    stream: list[Any], where: int, wanted: int
) -> None:
    samples = every(stream)
    whole = monitor_of(wanted, ships=True)
    first = monitor_of(wanted, ships=True)
    for monitor in (whole, first):
        monitor.add(samples[:where])
        monitor.advance(START_US + where * SECOND_US)
    second = Monitor.restore(first.state())
    assert second.state() == first.state()
    for monitor in (whole, second):
        monitor.add(samples[where:])
        monitor.advance(START_US + 60 * SECOND_US)
    assert second.plan is None or [
        (pane.start_us, pane.late, pane.vector.tolist()) for pane in second.take_closed()
    ] == [(pane.start_us, pane.late, pane.vector.tolist()) for pane in whole.take_closed()]
    assert totals(second) == totals(whole)


@settings(max_examples=60, deadline=None)
@given(
    reference=st.lists(observations(), max_size=20),
    stream=st.lists(st.tuples(st.one_of(observations(), st.none()), st.integers(0, 30)), max_size=40),
    order=st.randoms(use_true_random=False),
    late=st.booleans(),
)
def test_panes_of_any_split_add_up_to_the_whole(
    reference: list[Observation], stream: list[tuple[Any, int]], order: random.Random, late: bool
) -> None:
    baseline = frozen(reference)

    def panes(pairs: list[tuple[Any, int]], early: bool) -> Any:
        monitor = monitor_of(10, baseline, ships=True)
        taken = []
        for observation, second in pairs:
            monitor.add([at(observation, second * SECOND_US)])
            if early:
                monitor.advance(START_US + second * SECOND_US)
        monitor.advance(START_US + HOUR_US)
        taken = monitor.take_closed()
        assert monitor.take_closed() == []
        return sum((pane.vector for pane in taken), np.zeros(baseline_size(baseline), dtype=np.int64))

    whole = panes(stream, False)
    order.shuffle(stream)
    parts = [panes([stream[i] for i in range(len(stream)) if i % 3 == third], late) for third in range(3)]
    assert sum(parts).tolist() == whole.tolist()


def baseline_size(baseline: Baseline) -> int:
    plan = monitor_of(1, baseline).plan
    assert plan is not None
    return plan.size


@settings(max_examples=30)
@given(stream=streams)
def test_the_input_is_left_as_it_was(stream: list[Any]) -> None:
    before = deepcopy(stream)
    monitor_of(3).add(every(stream))
    assert repr(stream) == repr(before)


@settings(max_examples=50)
@given(stream=streams)
def test_a_summary_can_always_be_written_as_json(stream: list[Any]) -> None:
    monitor = monitor_of(3)
    samples = every(stream)
    for part in (samples[:2], samples[2:]):
        monitor.add(part)
        monitor.advance(START_US + 100 * SECOND_US)
        assert orjson.loads(orjson.dumps(monitor.summary())) == monitor.summary()


def normal(mean: float, rows: int, seed: int, denied: float = 0.1) -> list[Observation]:
    source = np.random.default_rng(seed)
    values = source.normal(mean, 2, rows).tolist()
    decisions = (source.random(rows) < denied).astype(int).tolist()
    words = source.choice(["yes", "no"], rows, p=[0.2, 0.8]).tolist()
    return [
        one({"x": value, "word": word}, {"deny": decision})
        for value, word, decision in zip(values, words, decisions, strict=True)
    ]


def test_counts_means_shares_and_psi_are_those_of_numpy_on_the_raw_data() -> None:
    reference, traffic = normal(5, 997, 1), normal(6, 3000, 2, denied=0.3)
    monitor = monitor_of(997)
    monitor.add(every(reference + traffic, 1000))
    summary = monitor.summary()
    baseline = monitor.baseline
    assert baseline is not None
    x_edges = baseline.inputs[0].edges
    before = np.array([item.inputs["x"][0] for item in reference])
    now = np.array([item.inputs["x"][0] for item in traffic])
    # A prime number of rows, or numpy's float ranks miss the exact ones.
    edges = np.quantile(before, np.linspace(0, 1, len(x_edges)), method="inverted_cdf")
    assert x_edges == edges.tolist()
    # Mirrored, because numpy's bins are closed below and ours above.
    binned = [np.histogram(-sample, bins=[-np.inf, *-edges[::-1], np.inf])[0] for sample in (now, before)]
    binned[0][-2], binned[0][-1] = (
        binned[0][-2] + (now == edges[0]).sum(),
        binned[0][-1] - (now == edges[0]).sum(),
    )
    binned[1][-2], binned[1][-1] = binned[1][-2] + 1, binned[1][-1] - 1
    used = (binned[0] > 0) | (binned[1] > 0)
    p, q = ((counts[used] + 0.5) / (counts[used] + 0.5).sum() for counts in binned)
    x = summary["features"]["x"]
    assert x["psi"] == pytest.approx(float(((p - q) * np.log(p / q)).sum()), abs=1e-12)
    assert (x["count"], x["missing"], x["invalid"]) == (3000, 0, 0)
    assert (x["under"], x["over"]) == ((now < edges[0]).sum(), (now > edges[-1]).sum())
    assert x["mean"] == pytest.approx(now.mean(), abs=1e-5)
    assert x["baseline_mean"] == pytest.approx(before.mean())
    denied = np.mean([item.outputs["deny"][0] for item in traffic])
    deny = summary["outputs"]["deny"]
    assert deny["shares"] == {"0": pytest.approx(1 - denied), "1": pytest.approx(denied)}
    assert deny["psi"] > 0.1 > summary["features"]["word"]["psi"]
    words = summary["features"]["word"]["top"]
    assert [entry["value"] for entry in words] == ["no", "yes"]
    assert words[0]["share"] == np.mean([item.inputs["word"][0] == "no" for item in traffic])


def test_without_a_shift_nothing_looks_like_one() -> None:
    monitor = monitor_of(1000)
    samples = every(normal(5, 6000, 3), 100_000)
    monitor.add(samples)
    monitor.advance(samples[-1].t_us + 60 * SECOND_US)
    summary = monitor.summary()
    for field in (*summary["features"].values(), *summary["outputs"].values()):
        assert field["psi"] < 0.1
    assert summary["alarms"] == []


def test_a_shift_raises_an_alarm_that_says_what_moved_and_resolves_when_it_is_over() -> None:
    monitor = monitor_of(1000)
    stream = normal(5, 4000, 4) + normal(7, 1500, 5, denied=0.1) + normal(5, 30_000, 6)
    changed = []
    for number, observation in enumerate(stream):
        monitor.add([at(observation, number * 50_000, number)])
        if number % 100 == 99:
            changed += monitor.advance(START_US + number * 50_000)
    opened = [alarm for alarm in monitor.alarms() if alarm.quantity == "inputs.x"]
    assert len(opened) == 1
    alarm = opened[0]
    assert alarm.state == "resolved"
    assert "x moved up" in alarm.sentence
    shift_us = START_US + 4000 * 50_000
    assert abs(alarm.since_us - shift_us) < 30 * SECOND_US
    assert len(alarm.record_ids) == 3
    assert all(4000 <= int(name.rpartition(".")[2]) < 5500 for name in alarm.record_ids)
    assert "word" not in {each.quantity for each in monitor.alarms()}


def test_what_comes_behind_the_watermark_is_counted_apart_and_ships_by_hour() -> None:
    monitor = monitor_of(1, ships=True)
    item = one({"x": 1}, {"p": 1})
    monitor.add([at(item, 0)])
    monitor.add([at(item, second * SECOND_US) for second in (1, 11, 12)])
    monitor.advance(START_US + 20 * SECOND_US)
    monitor.add([at(item, 2 * SECOND_US), at(item, 19 * SECOND_US)])
    summary = monitor.summary()
    assert (summary["exchanges"], summary["late_exchanges"]) == (5, 1)
    taken = monitor.take_closed()
    assert [(pane.start_us - START_US, pane.late, pane.exchanges) for pane in taken] == [
        (0, False, 1),
        (10 * SECOND_US, False, 2),
        (0, True, 1),
    ]


def test_failed_and_undecoded_exchanges_are_counted_too() -> None:
    monitor = monitor_of(100)
    monitor.add(every([one({"x": index / 3}, {"p": 1}) for index in range(100)]))
    monitor.add([at(None, 200 * SECOND_US + index) for index in range(7)])
    summary = monitor.summary()
    assert (summary["exchanges"], summary["instances"]) == (7, 0)


def test_too_few_rows_give_no_psi_but_say_so() -> None:
    monitor = monitor_of(1000)
    monitor.add(every(normal(5, 1100, 6)))
    x = monitor.summary()["features"]["x"]
    assert (x["psi"], x["insufficient"], x["count"]) == (None, True, 100)


def test_missing_and_invalid_values_are_counted_not_dropped() -> None:
    monitor = monitor_of(100)
    monitor.add(every([one({"x": index / 3, "y": "a"}, {"p": 1}) for index in range(100)]))
    monitor.add(
        every(
            [
                one({"x": None, "y": 5}, {"p": 1}),
                one({"y": "b"}, {"p": 1}),
                one({"x": float("nan")}, {"p": 2}),
            ]
        )
    )
    features = monitor.summary()["features"]
    assert (features["x"]["count"], features["x"]["missing"], features["x"]["invalid"]) == (0, 2, 1)
    assert (features["y"]["new"], features["y"]["missing"], features["y"]["invalid"]) == (1, 1, 1)
    assert monitor.summary()["outputs"]["p"]["shares"] == {"1": 2 / 3, "(new)": 1 / 3}


def test_a_model_that_never_answers_gets_a_baseline_in_the_end() -> None:
    monitor = monitor_of(10)
    monitor.add(every([one({"x": 1})] * 39))
    assert monitor.summary()["state"] == "warming_up"
    monitor.add(every([one({"x": 1})]))
    assert monitor.summary()["state"] == "watching"


def test_fields_beyond_the_limits_are_counted_not_watched() -> None:
    wide = one({f"f{index}": 1 for index in range(510)}, {f"o{index}": 1 for index in range(53)})
    monitor = monitor_of(2)
    monitor.add(every([wide, wide]))
    baseline = monitor.baseline
    assert baseline is not None
    assert (len(baseline.inputs), len(baseline.outputs)) == (500, 50)
    monitor.add(every([wide, one({"late": 1, "n" * 5000: 2}, {"o1": 1})]))
    assert monitor.summary()["unwatched"] == {"features": 12, "outputs": 3}


def test_a_hundred_features_take_less_than_four_mebibytes_however_long_it_runs() -> None:
    source = np.random.default_rng(1)
    names = [f"f{index}" for index in range(100)]
    stream = [
        one(dict(zip(names, row, strict=True)), {"p": int(row[0] > 1)})
        for row in source.normal(size=(2000, 100)).tolist()
    ]
    # What is imported on first use is no statistics.
    warm = monitor_of(1000)
    warm.add(every(stream))
    warm.advance(START_US + HOUR_US)
    del warm
    gc.collect()
    tracemalloc.start()
    try:
        monitor = monitor_of(1000, pane_us=60 * SECOND_US)
        monitor.add(every(stream[:1000]))
        for pane in range(100):
            # A pane an hour, so that hours and days have something in them too.
            monitor.add([at(each, pane * HOUR_US) for each in stream[1000 + 10 * pane :][:10]])
            monitor.advance(START_US + (pane + 1) * HOUR_US)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 << 20, held


def test_folds_stay_within_their_memory_and_lose_the_finest_first() -> None:
    source = np.random.default_rng(2)
    folds = Folds(3500, most_bytes=650_000)
    for pane in range(3000):
        folds.add(pane * 600 * SECOND_US, source.poisson(0.5, 3500).astype(np.int64))
    held = sum(series.held_bytes for series in folds.levels.values())
    hot = HOT * 3500 * 8 * len(folds.levels)
    assert held <= 650_000 + hot
    assert len(folds.levels["minutes"]) < len(folds.levels["days"]) == 21


def test_values_held_for_the_baseline_are_bounded() -> None:
    monitor = monitor_of(10**6)
    batch = Observation("test", 100_000, {f"f{index}": [1.5] * 100_000 for index in range(11)}, {})
    monitor.add([at(batch, 0)])
    assert monitor.baseline is not None


def test_a_field_of_uneven_length_is_refused() -> None:
    monitor = monitor_of(1)
    monitor.add([at(one({"x": 1}, {"p": 1}), 0)])
    with pytest.raises(ValueError, match="'x' has 2 values for 1 instances"):
        monitor.add([at(Observation("test", 1, {"x": [1, 2]}, {"p": [1]}), 0)])


def test_the_same_observations_freeze_the_same_baseline() -> None:
    first, second = (frozen(normal(5, 500, 7)) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != frozen(normal(5, 500, 8)).digest
    assert Baseline.decode(first.encode()) == first


def test_a_new_model_is_compared_with_the_one_before() -> None:
    first = frozen(normal(5, 600, 1))
    monitor = monitor_of(600)
    monitor.follow(first)
    monitor.add(every(normal(9, 601, 2)))
    switch = monitor.summary()["switch"]
    assert switch is not None
    assert "x" in str(switch)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x99" + b"\x00" * 9])
def test_what_is_no_state_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Monitor.restore(data)


def test_a_damaged_state_is_refused_at_every_cut() -> None:
    monitor = monitor_of(2)
    monitor.add(every([one({"x": 1}, {"p": 1})] * 3))
    state = monitor.state()
    for end in range(0, len(state), 7):
        with pytest.raises(ValueError):
            Monitor.restore(state[:end])


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        monitor_of(0)
