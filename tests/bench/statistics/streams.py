"""Seeded streams of one feature each, with a baseline drawn anew, as pane counts.

Rows are drawn through a table of 65,536 equally likely slots (an inverse
distribution function, quantised), which is what makes a month of 100 features
a matter of seconds. Autocorrelated rows are made one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import signal, special, stats  # type: ignore[import-untyped]

from sidecar.statistics.dispersion import spread_of_distribution
from sidecar.statistics.quantity import Distribution, Spread

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Generator = np.random.Generator

TABLE = 1 << 16
BINS = 20
TAIL = ("under", "over", "new", "other", "missing", "invalid")
ROWS = 60
"""Exchanges a pane: 1 a second, panes of a minute."""
BASELINE_ROWS = 10_000
CYCLE = 0.25
"""Half the way of the day/night stream's mean between its extremes, in σ."""
RHO = 0.9


@dataclass
class Stream:
    """One feature: its quantity under a baseline, and where its rows come from."""

    quantity: Distribution
    table: npt.NDArray[np.uint8]
    """Shape (hours, TABLE): the slot of a draw in each hour; one hour when the stream does not change."""
    edges: Floats = field(default_factory=lambda: np.zeros(0))
    rho: float = 0.0
    last: Floats = field(default_factory=lambda: np.zeros(1))

    def panes(self, rng: Generator, first: int, count: int, rows: int = ROWS) -> Counts:
        """Counts of `count` panes from number `first` on, shape (count, slots)."""
        slots = len(self.quantity.reference)
        if self.rho:
            codes: npt.NDArray[np.integer] = slot_of(self._correlated(rng, count * rows), self.edges)
        else:
            draws = np.frombuffer(rng.bytes(2 * count * rows), dtype=np.uint16)
            if len(self.table) == 1:
                codes = self.table[0].take(draws)
            else:
                hours = np.repeat((np.arange(first, first + count) // 60) % len(self.table), rows)
                codes = self.table.reshape(-1).take(hours * TABLE + draws)
        places = codes.astype(np.intp) + np.repeat(np.arange(count) * slots, rows)
        return np.bincount(places, minlength=count * slots).reshape(count, slots)

    def _correlated(self, rng: Generator, rows: int) -> Floats:
        noise = rng.normal(size=rows) * np.sqrt(1.0 - self.rho**2)
        values, self.last = signal.lfilter([1.0], [1.0, -self.rho], noise, zi=self.last)
        found: Floats = values
        return found


def slot_of(values: Floats, edges: Floats) -> npt.NDArray[np.intp]:
    """The slot of each value: bins, then under and over."""
    bins = len(edges) - 1
    codes = np.searchsorted(edges[1:-1], values)
    codes[values < edges[0]] = bins
    codes[values > edges[-1]] = bins + 1
    return codes


def table_of(shares: Floats) -> npt.NDArray[np.uint8]:
    """Inverse distribution function of slots with these shares."""
    bounds = np.rint(np.cumsum(shares / shares.sum()) * TABLE).astype(np.int64)
    return np.repeat(np.arange(len(shares), dtype=np.uint8), np.diff(bounds, prepend=0))


def binned(
    name: str, values: Floats, spread: Spread | None = None, bins: int = BINS
) -> tuple[Distribution, Floats]:
    """A numeric quantity as a training sample gives it: bins at its quantiles."""
    edges = np.quantile(values, np.linspace(0.0, 1.0, bins + 1))
    codes = slot_of(values, edges)
    counts = np.bincount(codes, minlength=bins + len(TAIL))
    mean, unit = float(values.mean()), float(values.std())
    sums = np.bincount(codes, weights=values, minlength=bins)[:bins]
    centres = (sums / np.maximum(1, counts[:bins]) - mean) / unit
    labels = (*(f"{a:.3g}..{b:.3g}" for a, b in pairwise(edges)), *TAIL)
    quantity = Distribution(
        name, 0, tuple(map(int, counts)), labels, bins, tuple(map(float, centres)),
        spread or Spread(panes=len(values) // ROWS), under=bins, over=bins + 1, mean=mean, unit=unit,
    )  # fmt: skip
    return quantity, edges


def shares_of(edges: Floats, cdf: Callable[[Floats], Floats]) -> Floats:
    """The true shares of the slots."""
    bounds = cdf(edges)
    under, over = bounds[0], 1.0 - bounds[-1]
    return np.concatenate([np.diff(bounds), [under, over], np.zeros(len(TAIL) - 2)])


def counted(name: str, values: npt.NDArray[np.intp], shares: Floats, ordered: bool) -> Stream:
    """A feature of few values, each counted by itself; `shares` are the true ones."""
    used = int(values.max()) + 1
    # A value that the baseline has not seen is new.
    true = np.concatenate([shares[:used], np.zeros(len(TAIL))])
    true[used + TAIL.index("new")] = max(0.0, 1.0 - shares[:used].sum())
    counts = np.bincount(values, minlength=used + len(TAIL))
    centres = (np.arange(used) - values.mean()) / max(values.std(), 1e-9)
    quantity = Distribution(
        name,
        0,
        tuple(map(int, counts)),
        (*(str(value) for value in range(used)), *TAIL),
        used if ordered else 0,
        tuple(map(float, centres)) if ordered else (),
        Spread(panes=len(values) // ROWS),
    )
    return Stream(quantity, table_of(true)[None])


def normal(rng: Generator, rows: int = BASELINE_ROWS) -> Stream:
    quantity, edges = binned("normal", rng.normal(size=rows))
    return Stream(quantity, table_of(shares_of(edges, special.ndtr))[None], edges)


def skewed(rng: Generator, name: str = "skewed") -> Stream:
    quantity, edges = binned(name, np.exp(rng.normal(size=BASELINE_ROWS)))
    return Stream(quantity, table_of(shares_of(edges, lambda x: special.ndtr(np.log(x))))[None], edges)


def heavy_tailed(rng: Generator, name: str = "heavy-tailed") -> Stream:
    """Student's t with two degrees of freedom: no variance."""
    quantity, edges = binned(name, rng.standard_t(2, size=BASELINE_ROWS))
    return Stream(quantity, table_of(shares_of(edges, stats.t(2).cdf))[None], edges)


def discrete(rng: Generator, name: str = "discrete") -> Stream:
    """Poisson counts of mean 3."""
    shares = stats.poisson(3).pmf(np.arange(40))
    return counted(name, rng.poisson(3, size=BASELINE_ROWS).astype(np.intp), shares, ordered=True)


def categorical(rng: Generator, rows: int = BASELINE_ROWS) -> Stream:
    """Twelve categories, each half as frequent again as the next but one."""
    shares = 1.0 / np.arange(1, 13)
    shares /= shares.sum()
    return counted("categorical", rng.choice(12, size=rows, p=shares), shares, ordered=False)


def autocorrelated(rng: Generator, name: str = "autocorrelated") -> Stream:
    """First-order autoregression from row to row."""
    stream = Stream(binned(name, rng.normal(size=200))[0], np.zeros((1, 1), dtype=np.uint8), rho=RHO)
    values = stream._correlated(rng, BASELINE_ROWS)
    quantity, stream.edges = binned(name, values)
    stream.quantity = _with_spread(quantity, slot_of(values, stream.edges))
    return stream


def day_and_night(rng: Generator, name: str = "day/night") -> Stream:
    """A mean that goes up and down by the hour, with a baseline of two days."""
    hours = CYCLE * np.sin(2.0 * np.pi * np.arange(24) / 24.0)
    values = rng.normal(size=48 * 60 * ROWS) + np.repeat(np.tile(hours, 2), 60 * ROWS)
    quantity, edges = binned(name, values)
    tables = [table_of(shares_of(edges - mean, special.ndtr)) for mean in hours]
    return Stream(_with_spread(quantity, slot_of(values, edges)), np.array(tables), edges)


def _with_spread(quantity: Distribution, codes: npt.NDArray[np.intp]) -> Distribution:
    """With what the baseline's own panes say of each other."""
    slots = len(quantity.reference)
    panes = len(codes) // ROWS
    places = codes[: panes * ROWS] + np.repeat(np.arange(panes) * slots, ROWS)
    counts = np.bincount(places, minlength=panes * slots).reshape(panes, slots)
    return replace(quantity, spread=spread_of_distribution(quantity, counts))


KINDS: dict[str, Callable[..., Stream]] = {
    "normal": normal,
    "skewed": skewed,
    "heavy-tailed": heavy_tailed,
    "discrete": discrete,
    "categorical": categorical,
    "day/night": day_and_night,
    "autocorrelated": autocorrelated,
}
