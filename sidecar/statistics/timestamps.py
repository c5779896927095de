"""Moments, in ISO 8601 or numbers since 1970 → age at the time of the exchange, and hour of the day (UTC)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidecar.records import TOKEN
from sidecar.statistics.baseline import as_float
from sidecar.statistics.coding import UNREADABLE, reads_as_number
from sidecar.statistics.facts import Facts

ASPECTS: Final = ("age", "hour")
"""Seconds from the moment to the exchange; 0 to 23."""
UNITS: Final[Mapping[str, float]] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""What numbers since 1970 count, and how many of them make a second."""
MOSTLY: Final = 0.95
NEAR_S: Final = 86_400.0
"""Numbers that lie so close to their exchanges are moments, whatever they are called."""
_PLAUSIBLE_S: Final = (631_152_000.0, 4_102_444_800.0)
"""1990 to 2100."""
_READABLE_S: Final = (-62_135_596_800.0, 253_402_300_800.0)
"""The years 1 to 9999: a number beyond is in another unit, or no moment."""
_NAMES_TIME: Final = re.compile(
    r"(?:^|[._\s-])(?:time|timestamp|datetime|date|epoch|ts|at|when)(?:[._\s-]?(?:s|ms|us|ns|utc|seconds?|millis))?$"
)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
PARSED: Final = "moment"
LABELS: Final = [PARSED]
_SHAPE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?")


def parsed(text: str) -> float | None:
    """Epoch seconds of an ISO 8601 date or time, UTC if it does not say; None if it is none."""
    if len(text) > 40 or not _SHAPE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(",", "."))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def names_a_time(name: str) -> bool:
    """Whether a field is called like a moment: `created_at`, `eventTime`, `ts_ms`."""
    return _NAMES_TIME.search(_HUMP.sub("_", name).lower()) is not None


def epoch_unit(name: str, values: Sequence[Any], times_us: npt.NDArray[np.int64] | None) -> str:
    """The unit in which most of these numbers are moments; empty where they are just numbers.

    They are moments if they lie between 1990 and 2100, and either within a day
    of their exchanges or in a field that is called like one.
    """
    places = [at for at, value in enumerate(values) if type(value) in (int, float)]
    if not places:
        return ""
    numbers = np.array([as_float(values[at]) for at in places], dtype=np.float64)
    low, high = _PLAUSIBLE_S
    for unit, per_second in UNITS.items():
        seconds = numbers / per_second
        moments = (seconds >= low) & (seconds < high)
        if not names_a_time(name):
            near = times_us is not None and np.abs(times_us[places] / 1e6 - seconds) < NEAR_S
            moments &= near
        if np.mean(moments) >= MOSTLY:
            return unit
    return ""


def timestamp_facts(values: Sequence[Any], times_us: npt.NDArray[np.int64] | None, epoch: str = "") -> Facts:
    """Whether each text (or number, in the unit `epoch`) is a moment, and its aspects; no times, no age."""
    main: list[Any] = []
    places, moments = [], []
    read = _text_moment if not epoch else _number_moment
    for at, value in enumerate(values):
        label, moment = read(value, epoch)
        main.append(label)
        if moment is not None:
            places.append(at)
            moments.append(moment)
    where, seconds = np.array(places, dtype=np.int64), np.array(moments, dtype=np.float64)
    aspects = {"hour": np.floor(np.mod(seconds, 86_400.0) / 3_600.0)}
    if times_us is not None:
        aspects["age"] = times_us[where] / 1e6 - seconds
    return Facts(main, where, aspects)


def _text_moment(value: Any, epoch: str) -> tuple[Any, float | None]:
    if type(value) is not str:
        return value, None
    moment = parsed(value)
    return (UNREADABLE if moment is None else PARSED), moment


def _number_moment(value: Any, epoch: str) -> tuple[Any, float | None]:
    if type(value) is str:
        # In quotes it is of the wrong type; any other text cannot be read. Neither is a category.
        return (_STRANGE if value.startswith(TOKEN) or reads_as_number(value) else UNREADABLE), None
    if type(value) not in (int, float):
        return value, None
    seconds = as_float(value) / UNITS[epoch]
    if not _READABLE_S[0] <= seconds < _READABLE_S[1]:
        return UNREADABLE, None
    return PARSED, seconds


_STRANGE: Final = object()
