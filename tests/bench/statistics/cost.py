"""What counting costs: processor time from bytes to panes, beside whylogs; memory; and the panes themselves.

The analyst's part is decoding the two bodies, coding every value, panes,
detectors and folds. whylogs gets the same rows as a finished data frame, so
without any decoding, in batches of the same size.
"""

from __future__ import annotations

import gc
import importlib.util
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from sidecar.decode.registry import Decoding
from sidecar.records import Message, Sample
from sidecar.statistics.baseline import INVALID, MISSING, NEW, OVER, UNDER, Baseline
from sidecar.statistics.hours import HOURS, packed
from sidecar.statistics.monitor import Monitor, MonitorSettings
from tests.bench.statistics.row import Row

SEED = 113
BATCH = 512
PANE_US = 1_000_000
RATE = 10_000
"""Exchanges a second."""
BASELINE = 2_000
HOURLY_ROWS = 1_000
SETTINGS = MonitorSettings(BASELINE, PANE_US, PANE_US, ships=True)
COST, MEMORY, SUSTAINED, EXACT = (
    "Cost: processor time per exchange, decode to panes",
    "Cost: memory of a monitor",
    "Cost: a stream in real time",
    "Panes against numpy on the raw data",
)

Pair = tuple[Message, Message]


def run(quick: bool) -> list[Row]:
    count = 20_480 if quick else 102_400
    # As the analyst does; whylogs has the good of it too.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return [
        *_costs(20, 40.0, count),
        *_costs(100, 100.0, count // 2),
        _memory(),
        _memory(HOURLY_ROWS),
        _sustained(5.0 if quick else 20.0),
        _exact(20 if quick else 200),
    ]


def _rows(features: int, count: int, seed: int) -> list[dict[str, Any]]:
    """Requests as a tabular model gets them: mostly numbers, some categories and booleans."""
    rng = np.random.default_rng(seed)
    categories, flags = features // 8, features // 16
    numbers = features - categories - flags
    table = rng.normal(size=(count, numbers)).round(4).tolist()
    words = rng.choice([f"value {index}" for index in range(12)], (count, categories)).tolist()
    switches = (rng.random((count, flags)) < 0.3).tolist()
    names = [f"feature_{index}" for index in range(features)]
    return [
        dict(zip(names, (*a, *b, *c), strict=True)) for a, b, c in zip(table, words, switches, strict=True)
    ]


def _bodies(rows: Sequence[dict[str, Any]], seed: int) -> list[Pair]:
    scores = np.random.default_rng(seed).random(len(rows)).round(4).tolist()
    head = b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    return [
        (
            Message(head, orjson.dumps(row)),
            Message(answer, orjson.dumps({"score": score, "deny": score > 0.8})),
        )
        for row, score in zip(rows, scores, strict=True)
    ]


def _sample(decoding: Decoding, pair: Pair, number: int, t_us: int) -> Sample:
    observation = decoding.observe("/predict", *pair)
    return Sample(f"boot.default.{number}", t_us, 200, 0, 1_500, observation)


def _warm(decoding: Decoding, features: int) -> Monitor:
    monitor = Monitor(SETTINGS)
    pairs = _bodies(_rows(features, BASELINE, SEED), SEED)
    monitor.add([_sample(decoding, pair, n, n * 1_000_000 // RATE) for n, pair in enumerate(pairs)])
    assert monitor.plan is not None
    return monitor


def _costs(features: int, goal_us: float, count: int) -> list[Row]:
    rows = _rows(features, count, SEED + 1)
    pairs = _bodies(rows, SEED + 1)
    decoding = Decoding()
    monitor = _warm(decoding, features)

    def ours() -> None:
        for start in range(0, count, BATCH):
            batch = [
                _sample(decoding, pair, number, 10_000_000 + number * 1_000_000 // RATE)
                for number, pair in enumerate(pairs[start : start + BATCH], start)
            ]
            monitor.add(batch)
            monitor.advance(batch[-1].t_us)

    def decode_alone() -> None:
        for start in range(0, count, BATCH):
            for number, pair in enumerate(pairs[start : start + BATCH], start):
                _sample(decoding, pair, number, 0)

    whole_us = _cpu(ours) / count * 1e6
    decode_us = _cpu(decode_alone) / count * 1e6
    name = f"Sidecar, {features} features"
    figures: dict[str, str | float | int | None] = {"µs": whole_us, "of it decoding": decode_us}
    found = [Row(COST, name, figures, f"≤ {goal_us:g} µs", whole_us <= goal_us)]
    peer_us = _whylogs(rows)
    if peer_us is not None:
        found.append(Row(COST, f"whylogs, {features} features", {"µs": peer_us, "of it decoding": None}))
        ratio = whole_us / peer_us
        figures = {"µs": None, "of it decoding": None, "ratio": ratio}
        goal = "≤ 0.5" if features == 20 else ""
        found.append(
            Row(
                COST, f"Sidecar / whylogs, {features} features", figures, goal, ratio <= 0.5 if goal else None
            )
        )
    return found


def _whylogs(rows: Sequence[dict[str, Any]]) -> float | None:
    if importlib.util.find_spec("whylogs") is None:
        return None
    why = importlib.import_module("whylogs")
    pandas = importlib.import_module("pandas")
    frames = [
        pandas.DataFrame(rows[start : start + BATCH]) for start in range(0, min(len(rows), 10_240), BATCH)
    ]
    why.log(frames[0])

    def log() -> None:
        for frame in frames:
            why.log(frame)

    return _cpu(log) / sum(map(len, frames)) * 1e6


def _cpu(work: Callable[[], None]) -> float:
    """Processor seconds of this process."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def _by_hour(monitor: Monitor, rows: int) -> bytes:
    """The monitor's baseline as if each hour of the week had had so many rows."""
    rng = np.random.default_rng(SEED)

    def hourly(each: Any) -> Any:
        counts = np.array(each.counts, dtype=np.float64)
        drawn = rng.poisson(np.tile(counts * rows / max(1.0, counts.sum()), (HOURS, 1))).astype(np.int64)
        return msgspec.structs.replace(each, hours=packed(drawn))

    assert monitor.plan is not None
    known = monitor.plan.baseline
    parts = {name: [hourly(each) for each in getattr(known, name)] for name in _PARTS}
    return msgspec.structs.replace(known, **parts).encode()


_PARTS = ("inputs", "outputs", "exchange", "projections", "pairs")


def _memory(hourly_rows: int = 0) -> Row:
    decoding = Decoding()
    made = _warm(decoding, 100)
    data = _by_hour(made, hourly_rows) if hourly_rows else b""
    del made
    gc.collect()
    tracemalloc.start()
    try:
        monitor = Monitor(SETTINGS, Baseline.decode(data)) if data else _warm(decoding, 100)
        pairs = _bodies(_rows(100, 6_000, SEED + 2), SEED + 2)
        for pane in range(120):
            # A pane an hour, so that every fold holds something.
            t_us = 10_000_000 + pane * 3_600_000_000
            batch = [_sample(decoding, pair, n, t_us) for n, pair in enumerate(pairs[50 * pane :][:50])]
            monitor.add(batch)
            monitor.advance(t_us + 3 * PANE_US)
            monitor.take_closed()
        del pairs, batch
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] / 2**20
    finally:
        tracemalloc.stop()
    figures: dict[str, str | float | int | None] = {"MiB": held, "state MiB": len(monitor.state()) / 2**20}
    name = f", by hour of the week ({hourly_rows:,} rows an hour)" if hourly_rows else ""
    return Row(MEMORY, f"100 features, 5 days of panes{name}", figures, "≤ 4 MiB", held <= 4.0)


def _sustained(seconds: float) -> Row:
    """Bytes arrive at RATE by the clock; lag is how old the oldest of a batch is when it has been counted."""
    decoding = Decoding()
    monitor = _warm(decoding, 20)
    pairs = _bodies(_rows(20, RATE, SEED + 3), SEED + 3)
    total, done, worst = int(RATE * seconds), 0, 0.0
    cpu, began = time.process_time(), time.monotonic()
    while done < total:
        due = min(total, int((time.monotonic() - began) * RATE))
        if due - done < BATCH and due < total:
            time.sleep(0.005)
            continue
        for start in range(done, due, BATCH):
            numbers = range(start, min(start + BATCH, due))
            batch = [
                _sample(decoding, pairs[n % RATE], n, 10_000_000 + n * 1_000_000 // RATE) for n in numbers
            ]
            monitor.add(batch)
            monitor.advance(batch[-1].t_us)
            worst = max(worst, time.monotonic() - began - start / RATE)
        done = due
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    counted = monitor.summary()["exchanges"]
    figures: dict[str, str | float | int | None] = {
        "exchanges": counted,
        "worst lag s": worst,
        "of a core": share,
    }
    met = counted == total and worst < 1.0
    return Row(SUSTAINED, f"20 features at {RATE:,} exchanges/s for {seconds:g} s", figures, "lag < 1 s", met)


def _exact(trials: int) -> Row:
    wrong = compared = 0
    for trial in range(trials):
        for ours, raw in _trial(np.random.default_rng(SEED + trial)):
            compared += len(raw)
            wrong += int((np.asarray(ours) != np.asarray(raw)).sum())
    figures: dict[str, str | float | int | None] = {"counts": compared, "that differ": wrong}
    name = f"{trials} streams, out of order, batched and restarted at random"
    return Row(EXACT, name, figures, "none differs", wrong == 0)


def _trial(rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Per pane and field the slots that were counted, and those that numpy finds in the raw values."""
    count = 3_000
    numbers: list[Any] = rng.standard_t(2, count).tolist()
    words: list[Any] = rng.choice(["a", "b", "c", "d"], count, p=[0.5, 0.3, 0.19, 0.01]).tolist()
    for at in rng.integers(1_000, count, 150).tolist():
        numbers[at] = [None, float("nan"), float("inf"), "7", True][at % 5]
        words[at] = [None, 3, "unseen"][at % 3]
    times = np.concatenate(
        (np.zeros(1_000, np.int64), 10_000_000 + rng.integers(0, 8_000_000, count - 1_000))
    )
    order = [*range(1_000), *(1_000 + rng.permutation(count - 1_000)).tolist()]
    observed = Decoding("plain_json")
    samples = []
    for at in order:
        request = orjson.dumps({"x": None, "word": words[at]})
        # JSON has no NaN, and Python clients write it all the same.
        request = request.replace(b'"x":null', b'"x":' + _json(numbers[at]))
        pair = Message(b"POST / HTTP/1.1\r\n\r\n", request), Message(b"HTTP/1.1 200 OK\r\n\r\n", b'{"y":1}')
        samples.append(_sample(observed, pair, at, int(times[at])))
    monitor = Monitor(MonitorSettings(1_000, PANE_US, 20 * PANE_US, ships=True))
    start = 0
    while start < count:
        end = start + int(rng.integers(1, 700))
        monitor.add(samples[start:end])
        start = end
        monitor = Monitor.restore(monitor.state())
    monitor.advance(100_000_000)
    plan = monitor.plan
    assert plan is not None
    fields = {field.name: field for field in plan.baseline.inputs}
    for pane in monitor.take_closed():
        inside = np.flatnonzero((times >= pane.start_us) & (times < pane.start_us + PANE_US))
        yield (
            plan.part(pane.vector, "inputs.x")[: len(fields["x"].counts)],
            _numpy_numbers([numbers[at] for at in inside], np.array(fields["x"].edges)),
        )
        yield (
            plan.part(pane.vector, "inputs.word")[: len(fields["word"].counts)],
            _numpy_words([words[at] for at in inside], fields["word"].categories),
        )


def _json(value: Any) -> bytes:
    if isinstance(value, float) and not np.isfinite(value):
        return b"NaN" if np.isnan(value) else b"Infinity"
    return orjson.dumps(value)


def _numpy_numbers(values: list[Any], edges: Any) -> list[int]:
    """numpy's bins are closed below and ours above, so both are mirrored."""
    plain = np.array([value for value in values if type(value) is float and np.isfinite(value)])
    inside = plain[(plain >= edges[0]) & (plain <= edges[-1])]
    own = np.histogram(-inside, bins=-edges[::-1])[0][::-1].tolist()
    tail = [0] * 6
    tail[UNDER], tail[OVER] = int((plain < edges[0]).sum()), int((plain > edges[-1]).sum())
    tail[MISSING] = sum(value is None for value in values)
    tail[INVALID] = len(values) - len(plain) - tail[MISSING]
    return [*own, *tail]


def _numpy_words(values: list[Any], categories: list[str]) -> list[int]:
    own = [sum(value == word for value in values) for word in categories]
    tail = [0] * 6
    tail[MISSING] = sum(value is None for value in values)
    tail[INVALID] = sum(type(value) is int for value in values)
    tail[NEW] = len(values) - sum(own) - tail[MISSING] - tail[INVALID]
    return [*own, *tail]
