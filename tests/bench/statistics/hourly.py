"""A strong day and night: not proven with one baseline for all hours, kept with one by hour of the week."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
from scipy import special  # type: ignore[import-untyped]

from sidecar.statistics.budget import parse_budget
from sidecar.statistics.evaluator import Evaluator
from sidecar.statistics.hours import HOURS
from sidecar.statistics.spreading import stretches_of
from tests.bench.statistics.false_alarms import BUDGET, PANE_US, between
from tests.bench.statistics.row import Row
from tests.bench.statistics.streams import (
    ROWS,
    Floats,
    Generator,
    Stream,
    binned,
    shares_of,
    slot_of,
    table_of,
)

SEED = 20_261_126
SWING = 1.0
"""Half the way of the mean between day and night, in σ; the weekend is half as far."""
FEATURES = 4
WEEKS = 3
MONDAY_US = 1_764_547_200_000_000
SHIFT = 0.5
_HOUR = np.arange(HOURS)
MEANS = SWING * np.sin(2.0 * np.pi * _HOUR / 24.0) * np.where(_HOUR // 24 >= 5, 0.5, 1.0)


def tables(edges: Floats, shift: float = 0.0) -> npt.NDArray[np.uint8]:
    """Of each hour of the week, the slot of a draw."""
    return np.array([table_of(shares_of(edges - mean - shift, special.ndtr)) for mean in MEANS])


def stream(rng: Generator, name: str) -> tuple[Stream, Stream]:
    """One feature under a baseline of three weeks: one for all hours, and by hour of the week."""
    panes = WEEKS * HOURS * 60
    values = rng.normal(size=panes * ROWS) + np.repeat(np.tile(MEANS, WEEKS), 60 * ROWS)
    quantity, edges = binned(name, values)
    codes = slot_of(values, edges)
    times = MONDAY_US + np.repeat(np.arange(panes, dtype=np.int64), ROWS) * PANE_US
    made = []
    for by_hour in (False, True):
        cut = stretches_of(times, PANE_US, by_hour)
        own = replace(
            quantity, spread=cut.spread(codes, quantity), hours=cut.hours(codes, len(quantity.reference))
        )
        made.append(Stream(own, tables(edges), edges))
    return made[0], made[1]


def one_run(number: int, days: int) -> tuple[int, int, int, int]:
    """False alarms; features declared with one baseline and by hour; panes to the alarm after a shift."""
    rng = np.random.Generator(np.random.SFC64([SEED, number]))
    flat, hourly = zip(*(stream(rng, f"x{at}") for at in range(FEATURES)), strict=True)
    size = len(hourly[0].quantity.reference)
    quantities = [replace(each.quantity, start=size * at) for at, each in enumerate(hourly)]
    evaluator = Evaluator(quantities, parse_budget(BUDGET), PANE_US)
    plain = Evaluator([each.quantity for each in flat], parse_budget(BUDGET), PANE_US)
    alarms, pane = 0, 0
    for _ in range(days * 24):
        counts = np.concatenate([each.panes(rng, pane, 60) for each in hourly], axis=1)
        for vector in counts:
            alarms += sum(
                alarm.state == "open" for alarm in evaluator.step(MONDAY_US + pane * PANE_US, vector)
            )
            pane += 1
    declared = [sum(not promise.kept for promise in each.promises()) for each in (plain, evaluator)]
    for each in hourly:
        each.table = tables(each.edges, SHIFT)
    first = pane
    while pane < first + 600:
        vector = np.concatenate([each.panes(rng, pane, 1)[0] for each in hourly])
        if any(alarm.state == "open" for alarm in evaluator.step(MONDAY_US + pane * PANE_US, vector)):
            break
        pane += 1
    return alarms, declared[0], declared[1], pane - first + 1


def run(quick: bool) -> list[Row]:
    runs, days = (2, 3) if quick else (6, 30)
    started = time.monotonic()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(one_run, range(runs), [days] * runs))
    mean, low, high = between(float(runs * days), sum(result[0] for result in results))
    features = runs * FEATURES
    title = (
        f"Day and night: {FEATURES} features of mean ± {SWING:g} σ, {runs} runs of {days} days, baselines of "
        f"{WEEKS} weeks, budget {BUDGET} ({time.monotonic() - started:.0f} s)"
    )
    flat, hourly = (sum(result[at] for result in results) / features for at in (1, 2))
    delay = float(np.median([result[3] for result in results]) * ROWS)
    return [
        Row(title, "one baseline for all hours", {"declared": f"{flat:.0%}"}, "declared", flat == 1.0),
        Row(
            title,
            "by hour of the week",
            {
                "declared": f"{hourly:.0%}",
                "alarms": sum(result[0] for result in results),
                "days between": mean,
                "95 % from": low,
                "to": high,
                f"exchanges to the alarm, mean + {SHIFT:g} σ": delay,
            },
            "kept, ≥ 30 days",
            hourly == 0.0 and (mean is None or mean >= 30.0),
        ),
    ]
