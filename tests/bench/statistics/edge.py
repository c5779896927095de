"""At the tolerance's edge and beyond it: mean e-values, run lengths, and delays against their bound."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import numpy.typing as npt
from scipy import special, stats  # type: ignore[import-untyped]

from sidecar.statistics.distribution import DistributionBets
from sidecar.statistics.projection import divergence, project
from tests.bench.statistics.panel import Panel
from tests.bench.statistics.row import Row
from tests.bench.statistics.streams import BASELINE_ROWS, ROWS, Stream, normal, shares_of, table_of

SEED = 41
FEATURES = 100
MODEL_PANES = 30 * 24 * 60
THRESHOLD = float(FEATURES * MODEL_PANES)
"""Of one feature of a hundred at one false alarm per 30 days."""
SHORT = 1_000.0
"""An average run length, in panes, that can be simulated at the edge."""
SHIFTS = (0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0)
CLEAN_PANES = 100


def run(quick: bool) -> list[Row]:
    return [*mean_e_values(quick), *run_length(quick), *delays(quick)]


def mean_e_values(quick: bool) -> list[Row]:
    """Of every bet under distributions on the edge: exactly, by summing over slots, and of drawn panes."""
    rng = np.random.default_rng(SEED)
    title = "Mean e-value of a row at the tolerance's edge (≤ 1 is the promise, near 1 is no waste)"
    own, worst = [], 0.0
    for _ in range(4 if quick else 20):
        bets = DistributionBets(normal(rng).quantity, 1.0 / FEATURES)
        q, radius = bets.alternatives().shares, bets.tolerance.direction
        nearest = project(q, bets.centre, radius)
        ratios = np.exp(bets.log_ratios[:-1].astype(np.float64))
        own.append((nearest * ratios).sum(axis=1).max())
        # Random points of the edge: p̂ tilted any way, pushed out until KL(p̂ ‖ p) is the radius.
        far = rng.dirichlet(np.full(bets.size, 0.5), size=500) + 1e-9
        points = project(far / far.sum(axis=1, keepdims=True), bets.centre, radius)
        worst = max(worst, float((points @ ratios.T).max()))
    low, mean, high = _drawn(rng, 100_000 if quick else 2_000_000)
    panes = f"{mean:.5f} ({low:.5f} to {high:.5f})"
    return [
        Row(
            title, "each bet at its own nearest point, exactly", {"largest": f"{max(own):.12f}"}, "≤ 1", max(own) <= 1 + 1e-9
        ),
        Row(title, "all bets at 500 random points of the edge", {"largest": f"{worst:.6f}"}, "≤ 1", worst <= 1 + 1e-9),
        Row(title, "panes of 60 rows drawn at a nearest point, 95 %", {"mean": panes}, "≤ 1", low <= 1.0),
    ]  # fmt: skip


def _drawn(rng: np.random.Generator, panes: int) -> tuple[float, float, float]:
    bets = DistributionBets(normal(rng).quantity, 1.0 / FEATURES)
    p = project(bets.alternatives().shares[1], bets.centre, bets.tolerance.direction)
    e = np.exp(rng.multinomial(ROWS, p / p.sum(), size=panes) @ bets.log_ratios[1])
    half = 1.96 * e.std() / sqrt(panes)
    return float(e.mean() - half), float(e.mean()), float(e.mean() + half)


def run_length(quick: bool) -> list[Row]:
    """Panes to the first alarm of a whole detector at threshold 1,000, at the worst point of the edge and within."""
    rng = np.random.default_rng(SEED + 1)
    runs = 100 if quick else 400
    title = (
        f"Average run length of one detector at threshold {SHORT:,.0f}, {runs} runs, a baseline anew in each"
    )
    rows = []
    for name, part in (("no drift", 0.0), ("half way to the edge", 0.5), ("at the edge", 1.0)):
        streams = [normal(rng) for _ in range(runs)]
        bets = [DistributionBets(stream.quantity, 1.0 / FEATURES) for stream in streams]
        for stream, bet in zip(streams, bets, strict=True):
            edge = project(bet.alternatives().shares[0], bet.centre, bet.tolerance.direction)
            inside = part * edge + (1.0 - part) * bet.centre
            stream.table = table_of(inside if part else stream_shares(stream, 0.0))[None]
        first = first_alarms(streams, Panel(bets), SHORT, 4_000, rng)
        seen = np.where(first < 0, 4_000, first)
        alarms = int((first >= 0).sum())
        low = float(2.0 * seen.sum() / stats.chi2.ppf(0.975, 2 * alarms + 2))
        mean = float(seen.sum() / alarms) if alarms else None
        rows.append(
            Row(
                title,
                name,
                {"alarms": alarms, "panes simulated": int(seen.sum()), "mean panes": mean, "95 % from": low},
                "≥ 1,000",
                mean is None or mean >= SHORT,
            )
        )
    return rows


def stream_shares(stream: Stream, shift: float, scale: float = 1.0) -> npt.NDArray[np.float64]:
    """True slot shares of a normal stream whose mean or spread has changed."""
    return shares_of((stream.edges - shift) / scale, special.ndtr)


def first_alarms(
    streams: list[Stream],
    panel: Panel,
    threshold: float,
    most: int,
    rng: np.random.Generator,
    rows: int = ROWS,
) -> npt.NDArray[np.int64]:
    """The number of panes to each stream's first alarm, −1 for none within `most`."""
    first = np.full(len(streams), -1, dtype=np.int64)
    level = np.float32(threshold)
    chunk = 20
    with np.errstate(over="ignore"):
        for start in range(0, most, chunk):
            counts = np.zeros((len(streams), chunk, panel.slots), dtype=np.float32)
            for at, stream in enumerate(streams):
                if first[at] < 0:
                    drawn = stream.panes(rng, start, chunk, rows)
                    counts[at, :, : drawn.shape[1]] = drawn
                else:
                    counts[at] = counts[at] + rows / panel.slots
            for t in range(chunk):
                over = panel.run(counts[:, t : t + 1], level) > 0
                first[(first < 0) & over] = start + t + 1
            if (first >= 0).all():
                break
    return first


def delays(quick: bool) -> list[Row]:
    """Exchanges from a shift of the mean to the alarm of one feature of a hundred, at one per 30 days."""
    rng = np.random.default_rng(SEED + 2)
    runs = 40 if quick else 200
    title = (
        f"Delay beyond the tolerance against 2·ln(K·A)/KL, K·A = {THRESHOLD:,.0f}; baseline of {BASELINE_ROWS:,} rows "
        f"drawn anew in each of {runs} runs, {CLEAN_PANES} clean panes before"
    )
    rows = []
    for shift in SHIFTS:
        streams = [normal(rng) for _ in range(runs)]
        bets = [DistributionBets(stream.quantity, 1.0 / FEATURES) for stream in streams]
        beyond, sigma = [], bets[0].tolerance.sigma
        for stream, bet in zip(streams, bets, strict=True):
            true = stream_shares(stream, shift)
            true = np.maximum(true, 1e-12) / np.maximum(true, 1e-12).sum()
            beyond.append(float(divergence(true, project(true, bet.centre, bet.tolerance.direction))))
        kl = float(np.median(beyond))
        # Below a twentieth of the radius the bound is longer than a month of traffic.
        most = 2_600 if quick else 8_000
        bound = 2.0 * log(THRESHOLD) / kl if kl > 0 else float("inf")
        name = f"mean + {shift:g} σ"
        if shift <= sigma or bound > most * ROWS * 0.8:
            rows.append(
                Row(title, name, {"tolerance σ": sigma, "KL": kl}, note="inside the tolerance: no alarm is due")
            )  # fmt: skip
            continue
        panel = Panel(bets)
        first_alarms(streams, panel, float("inf"), CLEAN_PANES, rng)
        for stream in streams:
            stream.table = table_of(stream_shares(stream, shift))[None]
        first = first_alarms(streams, panel, THRESHOLD, min(most, int(8 * bound / ROWS) + 20), rng)
        found = np.where(first < 0, np.inf, first * float(ROWS))
        rows.append(
            Row(
                title,
                name,
                {
                    "tolerance σ": sigma,
                    "KL": kl,
                    "bound": bound,
                    "median": float(np.median(found)),
                    "90th": float(np.quantile(found, 0.9, method="higher")),
                },
                "median ≤ bound, or one pane",
                bool(np.median(found) <= max(bound, ROWS)),
            )
        )
    return rows
