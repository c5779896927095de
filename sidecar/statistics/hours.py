"""Counts of a baseline in each hour of the week (UTC, from Monday 00:00): what is normal then.

168 hours times the slots of a field, kept packed: the counts of one hour are
unpacked when traffic comes to it.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sidecar.statistics.quantity import Distribution

HOURS = 168
HOUR_US = 3_600_000_000
WEEK_US = HOURS * HOUR_US
LEAST_CYCLES = 3
"""Weeks of which a baseline by hour is made at least: of fewer nobody knows how much weeks differ."""
MOST_BYTES = 208 * 1024
"""Of packed counts in one baseline: what they may cost of the memory of a model."""
_MONDAY = 72
"""1970 began on a Thursday."""
_WIDTH = 4

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def hours_of(times_us: Counts) -> Counts:
    """The hour of the week of each time, 0 to 167."""
    found: Counts = (times_us // HOUR_US + _MONDAY) % HOURS
    return found


def hour_of(time_us: int) -> int:
    """The same of one time."""
    return (time_us // HOUR_US + _MONDAY) % HOURS


def cycles(times_us: Counts) -> int:
    """Whole weeks that these times cover, an hour's grace given."""
    if not len(times_us):
        return 0
    return int((int(times_us.max()) - int(times_us.min()) + HOUR_US) // WEEK_US)


def packed(counts: Counts) -> bytes:
    """Counts of shape (168, slots), exact; each below 2³²."""
    wide = np.ascontiguousarray(counts.T.astype("<u4"))
    # Equal bytes of all counts side by side: the high ones are nearly all 0.
    planes = wide.view(np.uint8).reshape(-1, _WIDTH).T
    return zlib.compress(np.ascontiguousarray(planes).tobytes(), 9)


@lru_cache(maxsize=1)
def unpacked(data: bytes) -> Counts:
    """What was packed, shape (168, slots). Raises ValueError for anything else."""
    try:
        plain = np.frombuffer(zlib.decompress(data), dtype=np.uint8)
        wide = np.ascontiguousarray(plain.reshape(_WIDTH, -1).T).view("<u4")
        counts: Counts = wide.reshape(-1, HOURS).T.astype(np.int64)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"counts by hour of the week cannot be read: {error}") from error
    return counts


def expected(quantity: Distribution, from_us: int, to_us: int) -> Counts:
    """The baseline's counts of the hours from one time to another, each as often as it was.

    Of a quantity without hours, or of hours that the baseline has not seen, all of its counts.
    """
    whole = np.array(quantity.reference, dtype=np.int64)
    if not quantity.hours or to_us <= from_us:
        return whole
    first, last = from_us // HOUR_US, (to_us - 1) // HOUR_US
    weeks, rest = divmod(last - first + 1, HOURS)
    often = np.full(HOURS, weeks, dtype=np.int64)
    np.add.at(often, (first + _MONDAY + np.arange(rest)) % HOURS, 1)
    found: Counts = often @ unpacked(quantity.hours)
    return found if found.any() else whole


def between(quantity: Distribution, from_us: int, to_us: int) -> Distribution:
    """The quantity against what the baseline had in the hours from one time to another."""
    if not quantity.hours:
        return quantity
    reference = expected(quantity, from_us, to_us)
    mean = quantity.mean
    if mean is not None and quantity.centres:
        centres = np.array(quantity.centres)
        whole = np.array(quantity.reference[: quantity.ordered], dtype=np.float64)
        own = reference[: quantity.ordered].astype(np.float64)
        if whole.sum() and own.sum():
            mean += quantity.unit * float(own @ centres / own.sum() - whole @ centres / whole.sum())
    return replace(quantity, reference=tuple(reference.tolist()), mean=mean)
