"""What changes in the delay bench, as raw values for the peers and as pane counts for us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special  # type: ignore[import-untyped]

from tests.bench.statistics.streams import (
    TAIL,
    Stream,
    categorical,
    normal,
    shares_of,
    table_of,
)

Floats = npt.NDArray[np.float64]
Generator = np.random.Generator
LOW, HIGH, USUAL = 0.50, 0.75, 0.65
"""A band of shares, and the share before the change."""


@dataclass(frozen=True)
class Scenario:
    """A change, how the peers are fed with it, and how our stream changes."""

    name: str
    feed: str
    """What a peer sees: `value`, `square` (of the deviation), `indicator` (of what was never seen) or `share`."""
    values: Callable[[Generator, int, bool], Floats]
    """So many values, before or after the change, as the peers get them."""
    make: Callable[[Generator, int], Stream] | None = None
    """Our stream with a baseline of so many rows drawn anew; None for a band."""
    change: Callable[[Stream], None] | None = None
    after: float = USUAL
    """The share of successes after the change, for a band."""


def _mean(shift: float) -> Scenario:
    return Scenario(
        f"mean + {shift:g} σ",
        "value",
        lambda rng, n, changed: rng.normal(shift if changed else 0.0, 1.0, size=n),
        normal,
        lambda stream: _set(stream, shares_of(stream.edges - shift, special.ndtr)),
    )


def _set(stream: Stream, shares: Floats) -> None:
    stream.table = table_of(shares)[None]


def _moved_to(stream: Stream, slot: str, share: float) -> None:
    """So much of the rows go to one of the last slots."""
    counts = np.bincount(stream.table[0], minlength=len(stream.quantity.reference)).astype(np.float64)
    shares = counts / counts.sum() * (1.0 - share)
    shares[len(shares) - len(TAIL) + TAIL.index(slot)] += share
    _set(stream, shares)


def _rare(name: str, make: Callable[[Generator, int], Stream], slot: str, share: float) -> Scenario:
    return Scenario(
        name,
        "indicator",
        lambda rng, n, changed: (rng.random(n) < (share if changed else 0.0)).astype(np.float64),
        make,
        lambda stream: _moved_to(stream, slot, share),
    )


def _band(after: float) -> Scenario:
    return Scenario(
        f"band {LOW:.2f}..{HIGH:.2f}: {USUAL:.2f} → {after:.2f}",
        "share",
        lambda rng, n, changed: (rng.random(n) < (after if changed else USUAL)).astype(np.float64),
        after=after,
    )


def _variance(factor: float) -> Scenario:
    scale = factor**0.5
    return Scenario(
        f"variance × {factor:g}",
        "square",
        lambda rng, n, changed: rng.normal(0.0, scale if changed else 1.0, size=n) ** 2,
        normal,
        lambda stream: _set(stream, shares_of(stream.edges / scale, special.ndtr)),
    )


SCENARIOS = (
    *(_mean(shift) for shift in (0.1, 0.25, 0.5, 1.0)),
    _variance(1.5),
    _rare("new category at 1 %", categorical, "new", 0.01),
    _rare("nulls 0 → 2 %", normal, "missing", 0.02),
    *(_band(after) for after in (0.80, 0.85, 0.90)),
)
