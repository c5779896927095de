"""Our detectors over many runs of one scenario at once: first passages, thresholds for a run length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sidecar.statistics import e_detector
from sidecar.statistics.betting import BandBets
from sidecar.statistics.distribution import DistributionBets
from sidecar.statistics.quantity import Band
from tests.bench.statistics.panel import Panel
from tests.bench.statistics.scenarios import HIGH, LOW, USUAL, Scenario
from tests.bench.statistics.streams import BASELINE_ROWS

Floats = npt.NDArray[np.float64]


def evidence_paths(
    scenario: Scenario,
    rng: np.random.Generator,
    runs: int,
    rows: int,
    clean: int,
    after: int,
    share: float,
    baseline: int = BASELINE_ROWS,
) -> Floats:
    """The e-detector's value after each pane, shape (runs, after): `clean` panes before the change, not shown.

    `after` panes follow it; every run has a baseline of its own.
    """
    if scenario.make is None:
        return _band_paths(scenario, rng, runs, rows, clean, after)
    streams = [scenario.make(rng, baseline) for _ in range(runs)]
    panel = Panel([DistributionBets(stream.quantity, share) for stream in streams])
    paths = np.zeros((runs, after))
    with np.errstate(over="ignore"):
        for first, count in ((0, clean), (clean, after)):
            if first and scenario.change is not None:
                for stream in streams:
                    scenario.change(stream)
            for start in range(0, count, 50):
                here = min(50, count - start)
                counts = np.zeros((runs, here, panel.slots), dtype=np.float32)
                for at, stream in enumerate(streams):
                    drawn = stream.panes(rng, start, here, rows)
                    counts[at, :, : drawn.shape[1]] = drawn
                for t in range(here):
                    panel.run(counts[:, t : t + 1], np.float32(np.inf))
                    if first or not clean:
                        paths[:, start + t] = e_detector.evidence(panel.m, panel.weights)
    return paths


def _band_paths(
    scenario: Scenario, rng: np.random.Generator, runs: int, rows: int, clean: int, after: int
) -> Floats:
    bets = BandBets(Band("band", 0, LOW, HIGH), 1.0)
    m = np.zeros((runs, len(bets.weights)))
    paths = np.zeros((runs, after))
    for pane in range(clean + after):
        won = rng.binomial(rows, USUAL if pane < clean else scenario.after, size=runs)
        e_detector.step(m, np.stack([won, rows - won], axis=1) @ bets.ratios.T, out=m)
        if pane >= clean:
            paths[:, pane - clean] = e_detector.evidence(m, bets.weights)
    return paths


def first_passage(paths: Floats, threshold: float) -> npt.NDArray[np.int64]:
    """Panes to the first value at the threshold or above, −1 for none."""
    over = paths >= threshold
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1, -1)


def run_length(paths: Floats, threshold: float) -> float:
    """Mean panes to the first passage: time at risk over alarms, infinite without one."""
    first = first_passage(paths, threshold)
    alarms = int((first >= 0).sum())
    return float(np.where(first < 0, paths.shape[1], first).sum()) / alarms if alarms else float("inf")


def threshold_for(paths: Floats, panes: float) -> float:
    """The threshold at which clean paths have this average run length."""
    low, high = 0.0, float(np.log(paths.max() + 1.0))
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if run_length(paths, float(np.exp(middle))) < panes else (low, middle)
    return float(np.exp(high))
