"""How long a change goes unnoticed: at a model's budget, and beside river's detectors at equal false-alarm rates."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from tests.bench.statistics import river_peers
from tests.bench.statistics.edge import FEATURES, THRESHOLD
from tests.bench.statistics.ours import evidence_paths, first_passage, threshold_for
from tests.bench.statistics.river_peers import Peer
from tests.bench.statistics.row import Row
from tests.bench.statistics.scenarios import SCENARIOS, USUAL, Scenario
from tests.bench.statistics.streams import BASELINE_ROWS, ROWS

SEED = 97
LENGTH = 10_000
"""Average run length in exchanges at which detectors are compared."""
SMALL = 2
"""Exchanges a pane in that comparison; bands step with every exchange."""
CLEAN = 5_000
"""Exchanges without a change that every detector sees first."""
MOST = 60_000
LARGE = 100_000
"""Rows of a larger baseline, as a training file has them: the tolerance is narrower."""
COLUMNS = {
    "proven": "ours, A = 10⁴",
    "calibrated": "ours, calibrated",
    "calibrated, large": f"with {LARGE:,} rows",
    "ADWIN": "ADWIN",
    "PageHinkley": "PageHinkley",
    "KSWIN": "KSWIN",
}
PROTOTYPE = {0.80: 707, 0.85: 197, 0.90: 83}
"""Median exchanges of the band bet's prototype, one step per exchange at run length 10,000."""


def run(quick: bool) -> list[Row]:
    tasks: list[tuple[Callable[..., list[Row]], tuple[object, ...]]] = []
    runs = 60 if quick else 200
    found_peers = range(len(river_peers.peers()))
    # The slowest first, so that both cores are busy to the end.
    for peer in reversed(found_peers):
        tasks += [(_peer_delays, (peer, feed, quick)) for feed in dict.fromkeys(s.feed for s in SCENARIOS)]
    tasks += [(_our_delays, (place, runs, quick)) for place in range(len(SCENARIOS))]
    tasks += [(_at_budget, (place, runs, quick)) for place in range(len(SCENARIOS))]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(task, *arguments) for task, arguments in tasks]
        rows = [row for future in futures for row in future.result()]
    budget = [row for row in rows if row.table.startswith("Delay at the budget")]
    return [*budget, *_side_by_side([row for row in rows if row not in budget])]


def _at_budget(place: int, runs: int, quick: bool) -> list[Row]:
    """Panes of a minute, a model of 100 quantities, one false alarm per 30 days."""
    scenario = SCENARIOS[place]
    rng = np.random.default_rng([SEED, 1, place])
    after = 900 if scenario.name == "mean + 0.1 σ" else 200
    paths = evidence_paths(scenario, rng, runs, ROWS, 100, after, 1.0 / FEATURES)
    first = first_passage(paths, THRESHOLD)
    exchanges = np.where(first < 0, np.inf, first * float(ROWS))
    title = (
        f"Delay at the budget of 1 false alarm per 30 days over {FEATURES} quantities, panes of {ROWS} exchanges, "
        f"{runs} runs"
    )
    quantiles = {
        f"{part:.0%}": float(np.quantile(exchanges, part, method="higher")) for part in (0.1, 0.5, 0.9)
    }
    return [
        Row(
            title,
            scenario.name,
            {"exchanges at 10%": quantiles["10%"], "median": quantiles["50%"], "90%": quantiles["90%"]},
        )
    ]


def _our_delays(place: int, runs: int, quick: bool) -> list[Row]:
    scenario = SCENARIOS[place]
    found = _with_baseline(place, BASELINE_ROWS, runs)
    if scenario.make is not None:
        larger = _with_baseline(place, LARGE, runs)
        found += [
            replace(row, figures={f"{name}, large": v for name, v in row.figures.items()}) for row in larger
        ]
    return found


def _with_baseline(place: int, baseline: int, runs: int) -> list[Row]:
    scenario = SCENARIOS[place]
    rng = np.random.default_rng([SEED, 2, place])
    rows = SMALL if scenario.make is not None else 1
    still = _unchanged(place)
    panes = LENGTH // rows
    clean = evidence_paths(still, rng, runs, rows, 0, 3 * panes, 1.0, baseline)
    calibrated = threshold_for(clean, panes)
    most = (30_000 if scenario.name == "mean + 0.1 σ" else 6_000) // rows
    paths = evidence_paths(scenario, rng, runs, rows, CLEAN // rows, most, 1.0, baseline)
    return [
        _delay_row(scenario.name, name, first_passage(paths, threshold) * float(rows))
        for name, threshold in (("proven", float(panes)), ("calibrated", calibrated))
    ]


def _unchanged(place: int) -> Scenario:
    return replace(SCENARIOS[place], change=None, after=USUAL)


def _peer_delays(index: int, feed: str, quick: bool) -> list[Row]:
    """Of one peer on all scenarios that are fed alike, with its parameter found once."""
    peer: Peer = river_peers.peers()[index]
    # Constant values raise no alarm at any setting; those of a share are the nearest that do.
    like = next(s for s in SCENARIOS if s.feed == ("share" if feed == "indicator" else feed))
    parameter, _ = river_peers.parameter_for(
        peer, LENGTH, like, np.random.default_rng([SEED, 4, index]), quick
    )
    runs = (8 if quick else 15) if peer.slow else (40 if quick else 200)
    most, clean = (3_000, 500) if peer.slow else (MOST, CLEAN)
    rows = []
    for place, scenario in enumerate(SCENARIOS):
        if scenario.feed == feed:
            rng = np.random.default_rng([SEED, 3, index, place])
            found = river_peers.delays(peer, parameter, scenario, rng, runs, clean, most)
            rows.append(_delay_row(scenario.name, peer.name, found))
    return rows


def _delay_row(scenario: str, name: str, exchanges: npt.NDArray[np.floating]) -> Row:
    found = np.where(exchanges < 0, np.inf, exchanges)
    return Row("", scenario, {name: float(np.median(found))})


def _side_by_side(found: list[Row]) -> list[Row]:
    """One line per scenario, with the verdict against ADWIN, and one line that counts."""
    title = (
        f"Delay at an average run length of {LENGTH:,} exchanges: median exchanges; ours in panes of {SMALL} "
        f"(bands of 1) with a baseline of {BASELINE_ROWS:,} rows drawn anew"
    )
    rows, won, lost = [], 0, []
    for scenario in SCENARIOS:
        figures: dict[str, str | float | int | None] = {}
        for name, shown in COLUMNS.items():
            for row in found:
                if row.name == scenario.name and name in row.figures:
                    figures[shown] = row.figures[name]
        adwin, ours = figures.get("ADWIN"), figures.get("ours, calibrated")
        goal, met = "", None
        if scenario.make is None:
            known = PROTOTYPE[scenario.after]
            goal = f"≤ 1.25 × the prototype's {known}"
            met = float(figures["ours, A = 10⁴"] or 0) <= 1.25 * known
        note = ""
        if adwin is not None and ours is not None:
            better = float(ours) < float(adwin)
            won += better
            lost += [] if better else [scenario.name]
            note = "" if better else "as fast as ADWIN" if ours == adwin else "ADWIN is faster"
        rows.append(Row(title, scenario.name, figures, goal, met, note))
    if any("ADWIN" in row.figures for row in rows):
        words = f"{won} of {len(rows)}"
        note = f"slower: {', '.join(lost)}" if lost else ""
        rows.append(
            Row(
                title,
                "faster than ADWIN",
                {"ours, calibrated": words},
                "at least half",
                2 * won >= len(rows),
                note,
            )
        )
    return rows
