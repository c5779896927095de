"""How often the detectors alarm on a model in which nothing changes: 100 features, 30 days, many runs."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from sidecar.statistics.budget import parse_budget, thresholds
from sidecar.statistics.distribution import DistributionBets
from sidecar.statistics.promise import MOST_DISPERSION, WIDEST_SPREAD
from tests.bench.statistics.panel import Panel
from tests.bench.statistics.row import Row
from tests.bench.statistics.streams import KINDS, ROWS

SEED = 20_261_125
MIX = {
    "normal": 40, "skewed": 14, "heavy-tailed": 14, "discrete": 8, "categorical": 8, "day/night": 12,
    "autocorrelated": 4,
}  # fmt: skip
"""Features of each kind in the model of 100."""
FEATURES = sum(MIX.values())
DAYS = 30
PANE_US = 60_000_000
CHUNK = 240
BUDGET = "1 per 30d"
TOGETHER = 4
"""Runs that are stepped in one panel: arrays long enough for numpy to pay."""


def some_runs(number: int, days: int) -> tuple[dict[str, int], dict[str, int], float]:
    """Alarms and declared features by kind, and the days simulated; every baseline drawn anew."""
    rng = np.random.Generator(np.random.SFC64([SEED, number]))
    kinds = [kind for kind, count in MIX.items() for _ in range(count)] * TOGETHER
    streams = [KINDS[kind](rng) for kind in kinds]
    bets = [DistributionBets(stream.quantity, 1.0 / FEATURES) for stream in streams]
    panel = Panel(bets)
    levels = thresholds(parse_budget(BUDGET), PANE_US, [1.0] * FEATURES).astype(np.float32)[0]
    alarms = np.zeros(len(kinds), dtype=np.int64)
    dispersed = np.zeros(len(kinds), dtype=bool)
    panes = days * 24 * 60
    counts = np.zeros((len(kinds), CHUNK, panel.slots), dtype=np.float32)
    with np.errstate(over="ignore"):
        for first in range(0, panes, CHUNK):
            for at, stream in enumerate(streams):
                drawn = stream.panes(rng, first, CHUNK)
                counts[at, :, : drawn.shape[1]] = drawn
            alarms += panel.run(counts, levels)
            dispersed |= panel.dispersion.estimate().max(axis=1) > MOST_DISPERSION
    wide = np.array([np.sqrt(2.0 * s.quantity.spread.kl) > WIDEST_SPREAD for s in streams])
    found: Counter[str] = Counter()
    declared: Counter[str] = Counter()
    for kind, count, said in zip(kinds, alarms, dispersed | wide, strict=True):
        found[kind] += int(count)
        declared[kind] += int(said)
    return dict(found), dict(declared), float(days * TOGETHER)


def between(days: float, alarms: int) -> tuple[float | None, float, float | None]:
    """Mean days between alarms with its exact 95 % Poisson interval; None is unbounded."""
    low = days / (stats.chi2.ppf(0.975, 2 * alarms + 2) / 2.0)
    high = days / (stats.chi2.ppf(0.025, 2 * alarms) / 2.0) if alarms else None
    return (days / alarms if alarms else None), float(low), high


def run(quick: bool) -> list[Row]:
    runs, days = (4, 4) if quick else (200, DAYS)
    started = time.monotonic()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(some_runs, range(runs // TOGETHER), [days] * (runs // TOGETHER)))
    total = sum(result[2] for result in results)
    title = (
        f"False alarms: {FEATURES} features, {runs} runs of {days} days at {ROWS} exchanges a pane of 1 min, budget "
        f"{BUDGET}; nothing changes ({time.monotonic() - started:.0f} s)"
    )
    rows = []
    for kind in (*MIX, "all of them together"):
        kinds = list(MIX) if kind not in MIX else [kind]
        share = sum(MIX[k] for k in kinds) / FEATURES
        alarms = sum(result[0].get(k, 0) for result in results for k in kinds)
        declared = sum(result[1].get(k, 0) for result in results for k in kinds)
        mean, low, high = between(total * share, alarms)
        said = declared / (runs * FEATURES * share)
        not_proven = said > 0.5
        rows.append(
            Row(
                title,
                kind,
                {
                    "features": int(FEATURES * share),
                    "model-days": total * share,
                    "alarms": alarms,
                    "days between": mean,
                    "95 % from": low,
                    "to": high,
                    "declared": f"{said:.0%}",
                },
                "≥ 30 days, or declared",
                (mean is None or mean >= 30.0) or not_proven,
                "the promise is said not to hold" if not_proven else "",
            )
        )
    return rows
