"""How long a change goes unnoticed: at a model's budget, and beside river's detectors at equal false-alarm rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from tests.bench.statistics import river_peers
from tests.bench.statistics.edge import FEATURES, THRESHOLD
from tests.bench.statistics.ours import evidence_paths, first_passage, run_length, threshold_for
from tests.bench.statistics.river_peers import Peer
from tests.bench.statistics.row import Row
from tests.bench.statistics.scenarios import SCENARIOS, USUAL, Scenario
from tests.bench.statistics.streams import BASELINE_ROWS, ROWS

SEED = 97
CLEAN = 5_000
"""Exchanges without a change that every detector sees first."""
MOST = 60_000
LARGE = 100_000
"""Rows of a larger baseline, as a training file has them: the tolerance is narrower."""
COLUMNS = {
    "proven": "ours, proven",
    "calibrated": "ours, calibrated",
    "calibrated, large": f"with {LARGE:,} rows",
    "ADWIN": "ADWIN",
    river_peers.ADWIN_EACH: river_peers.ADWIN_EACH,
    "PageHinkley": "PageHinkley",
    "KSWIN": "KSWIN",
}
PROTOTYPE = {0.80: 707, 0.85: 197, 0.90: 83}
"""Median exchanges of the band bet's prototype, one step per exchange at run length 10,000."""


@dataclass(frozen=True)
class Comparison:
    """An average run length, in exchanges, at which detectors are compared."""

    length: int
    pane: int
    """Exchanges a pane of ours."""
    band_pane: int
    """The same where a band is watched, which has no baseline to be unsure of."""
    most: int
    """Exchanges after the change that ours are followed for, five times as many for the smallest shift."""
    alarms: int
    """False alarms of a peer that its parameter is found by."""
    part: float = 1.0
    """Of the runs: what takes ten times as long is done less often."""
    seeds: tuple[int, ...] = ()

    def rows(self, scenario: Scenario) -> int:
        return self.pane if scenario.make is not None else self.band_pane

    def runs(self, quick: bool) -> int:
        return int((60 if quick else 200) * self.part)

    @property
    def title(self) -> str:
        return (
            f"Delay at an average run length of {self.length:,} exchanges: median exchanges; ours in panes of "
            f"{self.pane} (bands of {self.band_pane}) with a baseline of {BASELINE_ROWS:,} rows drawn anew"
        )


USUAL_LENGTH = Comparison(10_000, pane=2, band_pane=1, most=6_000, alarms=40)
LONG = Comparison(100_000, pane=10, band_pane=5, most=12_000, alarms=15, part=0.5, seeds=(5,))
COMPARISONS = (USUAL_LENGTH, LONG)
CLEAN_ROW = "no change: exchanges between alarms"


def run(quick: bool) -> list[Row]:
    tasks: list[tuple[Callable[..., list[Row]], tuple[object, ...]]] = []
    runs = 60 if quick else 200
    found_peers = range(len(river_peers.peers()))
    feeds = dict.fromkeys(scenario.feed for scenario in SCENARIOS)
    # The slowest first, so that both cores are busy to the end.
    for peer in reversed(found_peers):
        tasks += [(_peer_delays, (peer, feed, quick)) for feed in feeds]
    for each in reversed(COMPARISONS):
        tasks += [(_our_delays, (each, place, each.runs(quick))) for place in range(len(SCENARIOS))]
    tasks += [(_at_budget, (place, runs, quick)) for place in range(len(SCENARIOS))]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(task, *arguments) for task, arguments in tasks]
        rows = [row for future in futures for row in future.result()]
    budget = [row for row in rows if row.table.startswith("Delay at the budget")]
    for each in COMPARISONS:
        budget += _side_by_side(each, [row for row in rows if row.table == each.title])
    return budget


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


def _our_delays(at: Comparison, place: int, runs: int) -> list[Row]:
    scenario = SCENARIOS[place]
    found = _with_baseline(at, place, BASELINE_ROWS, runs)
    if scenario.make is not None:
        larger = _with_baseline(at, place, LARGE, runs)
        found += [
            replace(row, figures={f"{name}, large": v for name, v in row.figures.items()}) for row in larger
        ]
    return found


def _with_baseline(at: Comparison, place: int, baseline: int, runs: int) -> list[Row]:
    scenario = SCENARIOS[place]
    rng = np.random.default_rng([SEED, 2, place, *at.seeds])
    rows = at.rows(scenario)
    still = _unchanged(place)
    panes = at.length // rows
    clean = evidence_paths(still, rng, runs, rows, 0, 3 * panes, 1.0, baseline)
    calibrated = threshold_for(clean, panes)
    most = at.most * (5 if scenario.name == "mean + 0.1 σ" else 1) // rows
    paths = evidence_paths(scenario, rng, runs, rows, CLEAN // rows, most, 1.0, baseline)
    found = []
    for name, threshold in (("proven", float(panes)), ("calibrated", calibrated)):
        found.append(_delay_row(at, scenario.name, name, first_passage(paths, threshold) * float(rows)))
        if place == 0:
            found.append(Row(at.title, CLEAN_ROW, {name: run_length(clean, threshold) * rows}))
    return found


def _unchanged(place: int) -> Scenario:
    return replace(SCENARIOS[place], change=None, after=USUAL)


def _peer_delays(index: int, feed: str, quick: bool) -> list[Row]:
    """Of one peer on all scenarios that are fed alike, with its parameter found once for each length.

    A slow one cannot be run for long enough at the longer length: there it gets
    the parameter of the shorter one divided by as much, since its level is a rate.
    """
    peer: Peer = river_peers.peers()[index]
    # Constant values raise no alarm at any setting; those of a share are the nearest that do.
    like = next(s for s in SCENARIOS if s.feed == ("share" if feed == "indicator" else feed))
    rows: list[Row] = []
    parameter, length = 0.0, 0.0
    for at in COMPARISONS:
        if peer.slow and rows:
            parameter *= USUAL_LENGTH.length / at.length
        else:
            rng = np.random.default_rng([SEED, 4, index, *at.seeds])
            parameter, length = river_peers.parameter_for(peer, at.length, at.alarms, like, rng, quick)
            if feed == "value":
                rows.append(Row(at.title, CLEAN_ROW, {peer.name: length}))
        slow_runs = (8 if quick else 15) if at is USUAL_LENGTH else 6
        runs = slow_runs if peer.slow else (40 if quick else 200)
        most, clean = (3_000, 500) if peer.slow else (MOST, CLEAN)
        for place, scenario in enumerate(SCENARIOS):
            if scenario.feed == feed:
                rng = np.random.default_rng([SEED, 3, index, place, *at.seeds])
                found = river_peers.delays(peer, parameter, scenario, rng, runs, clean, most)
                rows.append(_delay_row(at, scenario.name, peer.name, found))
    return rows


def _delay_row(at: Comparison, scenario: str, name: str, exchanges: npt.NDArray[np.floating]) -> Row:
    found = np.where(exchanges < 0, np.inf, exchanges)
    return Row(at.title, scenario, {name: float(np.median(found))})


def _side_by_side(at: Comparison, found: list[Row]) -> list[Row]:
    """One line per scenario, with the verdict against ADWIN, and one line that counts."""
    title = at.title
    rows = [Row(title, CLEAN_ROW, _figures(found, CLEAN_ROW))]
    for scenario in SCENARIOS:
        figures = _figures(found, scenario.name)
        goal, met = "", None
        if scenario.make is None and at is USUAL_LENGTH:
            known = PROTOTYPE[scenario.after]
            goal = f"≤ 1.25 × the prototype's {known}"
            met = float(figures["ours, proven"] or 0) <= 1.25 * known
        rows.append(Row(title, scenario.name, figures, goal, met, _against_adwin(figures)))
    if any("ADWIN" in row.figures for row in rows):
        rows.append(_won(at, rows[1:]))
    return rows


def _against_adwin(figures: Mapping[str, str | float | int | None]) -> str:
    adwin, ours = _fastest_adwin(figures), figures.get("ours, calibrated")
    if adwin is None or ours is None or float(ours) < float(adwin):
        return ""
    return "as fast as ADWIN" if ours == adwin else "ADWIN is faster"


def _fastest_adwin(figures: Mapping[str, str | float | int | None]) -> float | None:
    """Of how river ships it and of looking at every value: whoever loses to either has lost."""
    found = [figures.get(name) for name in ("ADWIN", river_peers.ADWIN_EACH)]
    return min((float(each) for each in found if each is not None), default=None)


def _won(at: Comparison, rows: list[Row]) -> Row:
    """How often ours is faster; what is asked for is asked at the usual length."""
    lost = [row.name for row in rows if row.note]
    asked = at is USUAL_LENGTH
    figures: dict[str, str | float | int | None] = {
        "ours, calibrated": f"{len(rows) - len(lost)} of {len(rows)}"
    }
    larger = COLUMNS["calibrated, large"]
    pairs = [(row.figures[larger], _fastest_adwin(row.figures)) for row in rows if row.figures.get(larger)]
    if pairs:
        faster = sum(float(ours or 0) < float(adwin or 0) for ours, adwin in pairs)
        figures[larger] = f"{faster} of {len(pairs)}"
    return Row(
        at.title,
        "faster than ADWIN",
        figures,
        "at least half" if asked else "",
        2 * len(lost) <= len(rows) if asked else None,
        f"slower: {', '.join(lost)}" if lost else "",
    )


def _figures(found: list[Row], name: str) -> dict[str, str | float | int | None]:
    """What was found of one line, in the order of the columns; None where only other lines have a figure."""
    there = [column for column in COLUMNS if any(column in row.figures for row in found)]
    own = {column: figure for row in found if row.name == name for column, figure in row.figures.items()}
    return {COLUMNS[column]: own.get(column) for column in there}
