"""river's detectors on raw values: parameters for an average run length, and delays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bench.statistics.scenarios import Scenario

ADWIN_EACH = "ADWIN, clock 1"
Floats = npt.NDArray[np.float64]
Maker = Callable[[float], Any]


@dataclass(frozen=True)
class Peer:
    """A detector with the one parameter that its false-alarm rate hangs on."""

    name: str
    make: Maker
    strict: float
    """The parameter at its strictest and at its loosest, on a logarithmic scale."""
    loose: float
    slow: bool = False


def peers() -> list[Peer]:
    """Those that are installed here."""
    try:
        from river import drift  # type: ignore[import-not-found]
    except ImportError:
        return []
    return [
        Peer("ADWIN", lambda delta: drift.ADWIN(delta=delta), 1e-9, 0.9),
        Peer("PageHinkley", lambda level: drift.PageHinkley(threshold=level), 2000.0, 2.0),
        Peer("KSWIN", lambda alpha: drift.KSWIN(alpha=alpha, seed=7), 1e-8, 0.05, slow=True),
        # As it comes, ADWIN looks at every 32nd value only, which costs it up to 31 exchanges.
        Peer(ADWIN_EACH, lambda delta: drift.ADWIN(delta=delta, clock=1), 1e-9, 0.9),
    ]


def run_length(peer: Peer, parameter: float, values: list[float]) -> float:
    """Exchanges per alarm; river's detectors start anew by themselves after each."""
    detector = peer.make(parameter)
    alarms = 0
    for value in values:
        detector.update(value)
        alarms += detector.drift_detected
    return len(values) / alarms if alarms else float("inf")


def parameter_for(
    peer: Peer, length: float, alarms: int, scenario: Scenario, rng: np.random.Generator, quick: bool
) -> tuple[float, float]:
    """The loosest parameter with at least this run length on clean values, and what it has there.

    It is found on as many values as make so many alarms; a slow peer makes a tenth of them.
    """
    exchanges = int(length * (alarms / 10 if peer.slow else alarms) / (4 if quick else 1))
    values = scenario.values(rng, exchanges, False).tolist()
    low, high = np.log(peer.strict), np.log(peer.loose)
    best = peer.strict, run_length(peer, peer.strict, values)
    for _ in range(4 if peer.slow else 10):
        middle = (low + high) / 2.0
        found = run_length(peer, float(np.exp(middle)), values)
        if found >= length:
            low, best = middle, (float(np.exp(middle)), found)
        else:
            high = middle
    return best


def delays(
    peer: Peer,
    parameter: float,
    scenario: Scenario,
    rng: np.random.Generator,
    runs: int,
    clean: int,
    most: int,
) -> Floats:
    """Exchanges from the change to the next alarm in each run, infinite for none within `most`."""
    found = np.full(runs, np.inf)
    for run in range(runs):
        detector = peer.make(parameter)
        for value in scenario.values(rng, clean, False).tolist():
            detector.update(value)
        for number, value in enumerate(scenario.values(rng, most, True).tolist(), 1):
            detector.update(value)
            if detector.drift_detected:
                found[run] = number
                break
    return found
