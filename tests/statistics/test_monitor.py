"""Monitors: exact however the observations are cut, merged or stored."""

from __future__ import annotations

import random
from copy import deepcopy
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.records import Observation
from sidecar.statistics.baseline import Baseline
from sidecar.statistics.monitor import Monitor
from tests.statistics.observations import observations, one

streams = st.lists(observations(), max_size=40)


def cut(stream: list[Observation], points: list[int]) -> list[list[Observation]]:
    edges = [0, *sorted(min(point, len(stream)) for point in points), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def frozen(stream: list[Observation]) -> Baseline:
    monitor = Monitor(max(1, len(stream)))
    monitor.add([*stream, *[one({}, {"p": 1})] * max(1, len(stream))])
    baseline = monitor.baseline
    assert baseline is not None
    return baseline


@given(stream=streams, points=st.lists(st.integers(0, 40), max_size=5), wanted=st.integers(1, 12))
def test_batches_make_no_difference(stream: list[Observation], points: list[int], wanted: int) -> None:
    whole = Monitor(wanted, pane_exchanges=3, window_panes=2)
    whole.add(stream)
    parts = Monitor(wanted, pane_exchanges=3, window_panes=2)
    for part in cut(stream, points):
        parts.add(part)
    assert parts.state() == whole.state()
    assert parts.summary() == whole.summary()


@given(stream=streams, at=st.integers(0, 40), wanted=st.integers(1, 12))
def test_a_restored_monitor_goes_on_as_if_nothing_had_happened(
    stream: list[Observation], at: int, wanted: int
) -> None:
    times = [1_000_000 * index for index in range(len(stream))]
    whole = Monitor(wanted, pane_s=5, window_panes=2)
    whole.add(stream, times)
    first = Monitor(wanted, pane_s=5, window_panes=2)
    first.add(stream[:at], times[:at])
    second = Monitor.restore(first.state())
    assert second.state() == first.state()
    second.add(stream[at:], times[at:])
    assert second.state() == whole.state()


@settings(max_examples=60)
@given(
    reference=streams,
    stream=st.lists(st.tuples(observations(), st.integers(0, 30)), max_size=40),
    points=st.lists(st.integers(0, 40), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_parts_merged_in_any_order_are_the_whole(
    reference: list[Observation],
    stream: list[tuple[Observation, int]],
    points: list[int],
    order: random.Random,
) -> None:
    baseline = frozen(reference)

    def counting(pairs: list[tuple[Observation, int]]) -> Monitor:
        monitor = Monitor(10, baseline=baseline, pane_s=4, window_panes=3)
        monitor.add([observation for observation, _ in pairs], [second * 1_000_000 for _, second in pairs])
        return monitor

    whole = counting(stream)
    order.shuffle(stream)
    parts = [counting([stream[at] for at in range(len(stream)) if at % 3 == third]) for third in range(3)]
    edges = [0, *sorted(min(point, len(stream)) for point in points), len(stream)]
    parts_in_a_row = [counting(stream[a:b]) for a, b in pairwise(edges)]
    for group in (parts, parts_in_a_row):
        order.shuffle(group)
        merged = group[0]
        for part in group[1:]:
            merged.merge(part)
        assert merged.state() == whole.state()


@settings(max_examples=30)
@given(stream=streams)
def test_the_input_is_left_as_it_was(stream: list[Observation]) -> None:
    before = deepcopy(stream)
    Monitor(3).add(stream)
    assert repr(stream) == repr(before)


@settings(max_examples=50)
@given(stream=streams)
def test_a_summary_can_always_be_written_as_json(stream: list[Observation]) -> None:
    monitor = Monitor(3)
    for part in (stream[:2], stream[2:]):
        monitor.add(part)
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
    monitor = Monitor(997)
    monitor.add(reference + traffic)
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
    monitor = Monitor(1000)
    monitor.add(normal(5, 6000, 3))
    summary = monitor.summary()
    for field in (*summary["features"].values(), *summary["outputs"].values()):
        assert field["psi"] < 0.1
    for field in (*summary["window"]["features"].values(), *summary["window"]["outputs"].values()):
        assert field["psi"] < 0.1


def test_the_window_shows_a_shift_that_the_totals_still_hide() -> None:
    monitor = Monitor(1000, pane_s=2, window_panes=3)
    stream = normal(5, 21_000, 4) + normal(9, 1000, 5, denied=0.5)
    monitor.add(stream, [index * 6000 for index in range(len(stream))])
    summary = monitor.summary()
    assert summary["features"]["x"]["psi"] < 0.1 < summary["window"]["features"]["x"]["psi"]
    window = summary["window"]
    assert window["outputs"]["deny"]["shares"]["1"] == pytest.approx(0.5, abs=0.06)
    assert window["t_to_us"] - window["t_from_us"] == 6_000_000
    assert window["exchanges"] <= 1000


def test_too_few_rows_give_no_psi_but_say_so() -> None:
    monitor = Monitor(1000)
    monitor.add(normal(5, 1100, 6))
    x = monitor.summary()["features"]["x"]
    assert (x["psi"], x["insufficient"], x["count"]) == (None, True, 100)


def test_missing_and_invalid_values_are_counted_not_dropped() -> None:
    monitor = Monitor(100)
    monitor.add([one({"x": index / 3, "y": "a"}, {"p": 1}) for index in range(100)])
    monitor.add(
        [one({"x": None, "y": 5}, {"p": 1}), one({"y": "b"}, {"p": 1}), one({"x": float("nan")}, {"p": 2})]
    )
    features = monitor.summary()["features"]
    assert (features["x"]["count"], features["x"]["missing"], features["x"]["invalid"]) == (0, 2, 1)
    assert (features["y"]["new"], features["y"]["missing"], features["y"]["invalid"]) == (1, 1, 1)
    assert monitor.summary()["outputs"]["p"]["shares"] == {"1": 2 / 3, "(new)": 1 / 3}


def test_errors_bring_no_outputs_and_do_not_count_towards_the_baseline() -> None:
    monitor = Monitor(3)
    good, bad = one({"x": 1}, {"p": 1}), one({"x": 1})
    monitor.add([good, bad, bad, good, bad])
    assert monitor.summary()["state"] == "warming_up"
    monitor.add([good, bad, good])
    assert monitor.baseline is not None
    assert (monitor.baseline.rows, monitor.baseline.answered_rows) == (6, 3)
    summary = monitor.summary()
    assert (summary["exchanges"], summary["answered_instances"]) == (2, 1)
    assert (summary["outputs"]["p"]["count"], summary["outputs"]["p"]["missing"]) == (1, 0)


def test_a_model_that_never_answers_gets_a_baseline_in_the_end() -> None:
    monitor = Monitor(10)
    monitor.add([one({"x": 1})] * 39)
    assert monitor.summary()["state"] == "warming_up"
    monitor.add([one({"x": 1})])
    assert monitor.summary()["state"] == "watching"


def test_fields_beyond_the_limits_are_counted_not_watched() -> None:
    wide = one({f"f{index}": 1 for index in range(510)}, {f"o{index}": 1 for index in range(53)})
    monitor = Monitor(2)
    monitor.add([wide, wide])
    baseline = monitor.baseline
    assert baseline is not None
    assert (len(baseline.inputs), len(baseline.outputs)) == (500, 50)
    monitor.add([wide, one({"late": 1, "n" * 5000: 2}, {"o1": 1})])
    assert monitor.summary()["unwatched"] == {"features": 12, "outputs": 3}


def test_memory_stays_bounded_whatever_comes() -> None:
    source = random.Random(1)
    monitor = Monitor(50, pane_s=1, window_panes=4)
    sizes = []
    for second in range(20):
        batch = [
            one(
                {"id": f"{source.random()}" * 40, f"f{source.randrange(10**9)}": 1, "x": source.random()},
                {"p": "a"},
            )
            for _ in range(200)
        ]
        monitor.add(batch, [second * 1_000_000] * 200)
        sizes.append(len(monitor.state()))
    assert max(sizes[4:]) < 1.05 * min(sizes[4:]) < 200_000


def test_values_held_for_the_baseline_are_bounded() -> None:
    monitor = Monitor(10**6)
    batch = Observation("test", 100_000, {f"f{index}": [1.5] * 100_000 for index in range(11)}, {})
    monitor.add([batch])
    assert monitor.baseline is not None


def test_arrays_held_for_the_baseline_take_no_more_than_their_length() -> None:
    monitor = Monitor(500)
    monitor.add([one({"x": [0.5] * 4096}, {"p": 1})] * 499)
    assert len(monitor.state()) < 10_000
    restored = Monitor.restore(monitor.state())
    restored.add([one({"x": [0.5] * 4096}, {"p": 1})] * 30)
    assert restored.summary()["features"]["x"]["top"] == [
        {"value": "4096", "share": 1.0, "baseline_share": 1.0}
    ]


def test_a_field_of_uneven_length_is_refused() -> None:
    monitor = Monitor(1)
    monitor.add([one({"x": 1}, {"p": 1})])
    with pytest.raises(ValueError, match="'x' has 2 values for 1 instances"):
        monitor.add([Observation("test", 1, {"x": [1, 2]}, {"p": [1]})])


def test_a_late_pane_counts_in_the_totals_only() -> None:
    monitor = Monitor(1, pane_s=1, window_panes=2)
    item = one({"x": 1}, {"p": 1})
    monitor.add([item] * 4, [0, 10_000_000, 9_000_000, 8_999_999])
    summary = monitor.summary()
    assert (summary["exchanges"], summary["window"]["exchanges"]) == (3, 2)


def test_the_same_observations_freeze_the_same_baseline() -> None:
    first, second = (frozen(normal(5, 500, 7)) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != frozen(normal(5, 500, 8)).digest


def test_monitors_that_cannot_be_added_say_why() -> None:
    one_baseline, another = frozen(normal(5, 50, 1)), frozen(normal(5, 50, 2))
    with pytest.raises(ValueError, match="without a frozen baseline"):
        Monitor(5).merge(Monitor(5))
    with pytest.raises(ValueError, match="different baselines"):
        Monitor(5, baseline=one_baseline).merge(Monitor(5, baseline=another))
    with pytest.raises(ValueError, match="different panes"):
        Monitor(5, baseline=another, pane_s=1).merge(Monitor(5, baseline=another))


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x90", b"\x99" + b"\x00" * 9, b"\x99\x63\x01\xc0\x01\x01\xc0\xc0\xc4\x00\x90"]
)
def test_what_is_no_state_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Monitor.restore(data)


def test_a_damaged_state_is_refused_at_every_cut() -> None:
    monitor = Monitor(2)
    monitor.add([one({"x": 1}, {"p": 1})] * 3)
    state = monitor.state()
    for end in range(len(state)):
        with pytest.raises(ValueError):
            Monitor.restore(state[:end])


def test_panes_in_seconds_need_times() -> None:
    with pytest.raises(ValueError, match="one time per observation"):
        Monitor(1, pane_s=1).add([one({"x": 1})])
    with pytest.raises(ValueError, match="must be positive"):
        Monitor(0)
