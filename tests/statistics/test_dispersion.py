"""How much panes vary, and the bench's panel beside the product's own detectors."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.statistics.change_point import Excursions, History
from sidecar.statistics.dispersion import Dispersion, spread_of
from sidecar.statistics.distribution import DistributionBets
from sidecar.statistics.watch import Watch
from tests.bench.statistics.panel import Panel
from tests.bench.statistics.streams import KINDS

ROWS = 60


def watched(values: np.ndarray, prior: float = 1.0) -> float:
    """The estimate after panes of these values, shape (panes, rows)."""
    found = Dispersion(np.array([1.0]), prior)
    for pane in values:
        found.add(len(pane), np.array([pane.sum()]), np.array([(pane**2).sum()]))
    return float(found.estimate()[0])


def test_independent_rows_have_none_and_a_shift_is_not_taken_for_it() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(600, ROWS))
    assert watched(values) == 1.0
    values[300:] += 0.5
    assert watched(values) == 1.0


@pytest.mark.parametrize("variance", [4.0, 16.0])
def test_panes_that_share_a_level_are_seen_at_their_size(variance: float) -> None:
    rng = np.random.default_rng(2)
    levels = rng.normal(size=(600, 1)) * np.sqrt((variance - 1.0) / ROWS)
    assert watched(rng.normal(size=(600, ROWS)) + levels) == pytest.approx(variance, rel=0.35)


def test_slow_dependence_shows_between_long_blocks() -> None:
    rng = np.random.default_rng(3)
    level, levels = 0.0, []
    for _ in range(3_000):
        level = 0.98 * level + 0.02 * rng.normal()
        levels.append(level)
    assert watched(rng.normal(size=(3_000, ROWS)) + np.array(levels)[:, None]) > 3.0


def test_spread_of_clean_panes_is_nothing_of_dependent_ones_dispersion_and_of_a_cycle_kl() -> None:
    rng = np.random.default_rng(4)
    clean = rng.multinomial(ROWS, np.full(10, 0.1), size=1_440)
    found = spread_of(clean)
    assert (found.panes, found.kl, found.dispersion) == (1_440, 0.0, 1.0)
    alike = rng.multinomial(ROWS // 6, np.full(10, 0.1), size=1_440) * 6
    assert spread_of(alike).dispersion == pytest.approx(6.0, rel=0.2)
    hours = np.repeat(np.sin(2 * np.pi * np.arange(24) / 24), 60)
    tilted = np.exp(0.3 * hours[:, None] * np.linspace(-1.5, 1.5, 10))
    cycle = np.array([rng.multinomial(ROWS, shares / shares.sum()) for shares in tilted])
    found = spread_of(cycle)
    assert 0.02 < found.kl < 0.08
    assert found.dispersion < 2.0


def test_an_estimate_survives_its_state() -> None:
    rng = np.random.default_rng(5)
    first, second = Dispersion(np.array([1.0, 2.0])), Dispersion(np.array([1.0, 2.0]))
    for number in range(130):
        sums = rng.normal(size=2) * 10
        if number == 77:
            second.load(first.state())
        first.add(ROWS, sums, np.array([60.0, 120.0]))
        if number >= 77:
            second.add(ROWS, sums, np.array([60.0, 120.0]))
    assert first.state() == second.state()
    assert (first.estimate() == second.estimate()).all()


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_bench_s_panel_steps_as_the_product_s_detector(kind: str) -> None:
    rng = np.random.default_rng(6)
    streams = [KINDS[kind](rng), KINDS["normal"](rng)]
    panel = Panel([DistributionBets(stream.quantity, 0.01) for stream in streams])
    watches = [Watch(stream.quantity, 0.01, 1e9) for stream in streams]
    for first in (0, 30, 60):
        drawn = [stream.panes(rng, first, 30) for stream in streams]
        counts = np.zeros((2, 30, panel.slots), dtype=np.float32)
        for at, part in enumerate(drawn):
            counts[at, :, : part.shape[1]] = part
            for number, vector in enumerate(part, first):
                watches[at].step(number, vector)
        panel.run(counts, np.float32(np.inf))
    evidence = [float(panel.m[at] @ panel.weights[at]) for at in range(2)]
    assert evidence == pytest.approx([watch.evidence for watch in watches], rel=1e-3)


def test_the_streak_of_the_winning_bet_begins_at_the_change() -> None:
    found = Excursions(1)
    for number, log_e in enumerate([-1.0, 0.5, -2.0, 1.0, 1.0, 1.0]):
        found.step(np.array([log_e]), number)
    assert found.since_us[0] == 3
    assert found.height[0] == 3.0


def test_history_adds_up_from_any_kept_boundary_and_is_bounded() -> None:
    history = History(1)
    for number in range(5_000):
        history.add(number, np.array([1]))
    assert len(history.times_us) <= History.KEPT
    for at in (4_990, 4_000, 100):
        since, counts = history.since(at)
        assert counts[0] == 5_000 - since
        assert abs(since - at) <= 0.5 * (5_000 - at) + 1
    other = History(0)
    other.load(history.state())
    assert other.state() == history.state()


def test_slots_that_stay_empty_for_months_give_no_dispersion() -> None:
    found = Dispersion(np.array([1e-4, 1.0]), kurtosis=np.array([1e4, 3.0]))
    rng = np.random.default_rng(8)
    for _ in range(250_000 // 64):
        values = rng.normal(size=ROWS)
        sums, squares = np.array([0.0, values.sum()]), np.array([0.0, (values**2).sum()])
        found.add(ROWS, sums, squares)
    # As long again in which the old estimates fade to the smallest numbers there are.
    for scale in found._scales:
        scale.within[0], scale.between[0] = 5e-324, 2e-323
    found.add(ROWS, sums, squares)
    for _ in range(8):
        found.add(ROWS, sums, squares)
    assert found.estimate()[0] == 1.0


def test_rare_rows_alone_are_no_dependence() -> None:
    """A slot with a row in ten panes, over a month: never more than twice what independent rows give."""
    rng = np.random.default_rng(9)
    p = 1 / 600
    found = Dispersion(np.array([p * (1 - p)]), kurtosis=np.array([1 / p]))
    largest = 1.0
    for hits in rng.binomial(ROWS, p, size=43_200):
        found.add(ROWS, np.array([float(hits)]), np.array([float(hits)]))
        largest = max(largest, float(found.estimate()[0]))
    assert largest < 2.0
