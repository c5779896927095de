"""Bias under peeking: two equal groups, looked at after every 100 decisions; who is wrongly flagged?

The e-process is that of `statistics.two_sample`, the one behind every alarm on
bias, here without restarts and against equality itself (ratio 1): the hardest
null, since both groups have one rate. Ville's inequality bounds the chance that
its wealth ever reaches 1/α by α, however often one looks and however long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]

from sidecar.statistics.quantity import TwoSample
from sidecar.statistics.rates import rate
from sidecar.statistics.two_sample import TwoSampleBets
from tests.bench.statistics.row import Row

SEED = 72
LEVEL = 0.05
LOOK = 100
DECISIONS = 2_500
RATE = 0.6
SHARE_OF_GROUP = 0.3
Vector = npt.NDArray[np.int64]


def run(quick: bool) -> list[Row]:
    runs = 400 if quick else 2_000
    return [*_equal(runs), *_unequal(runs // 4)]


def _equal(runs: int) -> list[Row]:
    title = (
        f"Equal groups looked at every {LOOK} decisions, {DECISIONS:,} in all: wrongly flagged at {LEVEL:.0%}"
        f" ({runs:,} runs)"
    )
    rng = np.random.default_rng(SEED)
    flagged = {"e-process of the product": 0, "z-test at every look": 0, "ratio below 0.8 at any look": 0}
    longer = 0
    for _ in range(runs):
        panes = _panes(rng, RATE, RATE, 10 * DECISIONS // LOOK)
        first = panes[: DECISIONS // LOOK]
        wealth = log_wealth(panes)
        flagged["e-process of the product"] += bool(wealth[: len(first)].max() >= np.log(1 / LEVEL))
        longer += bool(wealth.max() >= np.log(1 / LEVEL))
        totals = np.cumsum(first, axis=0)
        flagged["z-test at every look"] += bool((_z_tests(totals) < LEVEL).any())
        flagged["ratio below 0.8 at any look"] += bool((_ratios(totals) < 0.8).any())
    rows = []
    for name, count in flagged.items():
        ours = name.startswith("e-process")
        rows.append(_row(title, name, count, runs, ours))
    rows.append(_row(title, "e-process of the product, ten times as long", longer, runs, True))
    return rows


def _row(title: str, name: str, count: int, runs: int, goal: bool) -> Row:
    share = rate(count, runs)
    assert share.low is not None
    interval = f"{share.low:.1%} to {share.high:.1%}"
    # Above the level only if the whole interval is.
    return Row(
        title,
        name,
        {"wrongly flagged": f"{count / runs:.1%}", "95 %": interval},
        f"≤ {LEVEL:.0%}" if goal else "",
        share.low <= LEVEL if goal else None,
    )


def _unequal(runs: int) -> list[Row]:
    title = f"Unequal groups (reference at {RATE:.0%}): what the same e-process needs ({runs:,} runs)"
    rng = np.random.default_rng(SEED + 1)
    rows = []
    for other in (0.54, 0.48, 0.40, 0.30):
        needed = []
        for _ in range(runs):
            wealth = log_wealth(_panes(rng, RATE, other, 200))
            over = np.flatnonzero(wealth >= np.log(1 / LEVEL))
            needed.append((int(over[0]) + 1) * LOOK if len(over) else 200 * LOOK + 1)
        found = sum(each <= 200 * LOOK for each in needed) / runs
        median = int(np.median(needed))
        rows.append(
            Row(
                title,
                f"ratio {other / RATE:.2f}",
                {
                    "found within 20,000": f"{found:.1%}",
                    "decisions, median": median if median <= 200 * LOOK else "over 20,000",
                },
            )
        )
    return rows


def _panes(rng: np.random.Generator, reference: float, other: float, panes: int) -> Vector:
    """Panes of LOOK decisions: favourable and all of the reference, favourable and all of the other."""
    members = rng.binomial(LOOK, SHARE_OF_GROUP, panes)
    rest = LOOK - members
    columns = (rng.binomial(rest, reference), rest, rng.binomial(members, other), members)
    return np.stack(columns, axis=1).astype(np.int64)


def log_wealth(panes: Vector) -> npt.NDArray[np.float64]:
    """Logarithm of the mean of the bets' wealth after each pane; the null is that the other's rate is no less."""
    bets = TwoSampleBets(TwoSample("bias", 0, 1.0), 1.0)
    logs = []
    for pane in panes:
        logs.append(bets.log_e(pane))
        bets.learn(pane)
    total = np.cumsum(logs, axis=0)
    most = total.max(axis=1)
    mean: npt.NDArray[np.float64] = most + np.log(np.exp(total - most[:, None]) @ bets.weights)
    return mean


def _z_tests(totals: Vector) -> npt.NDArray[np.float64]:
    """Two-sided p of the pooled z-test after each look."""
    a, n, b, m = totals.T.astype(float)
    pooled = (a + b) / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (a / n - b / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return np.asarray(2 * stats.norm.sf(np.abs(np.nan_to_num(z))))


def _ratios(totals: Sequence[Sequence[int]] | Vector) -> npt.NDArray[np.float64]:
    a, n, b, m = np.asarray(totals, dtype=float).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num((b / m) / (a / n), nan=1.0))
