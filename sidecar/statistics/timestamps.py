"""Moments → age at the time of the exchange, and hour of the day (UTC)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidecar.statistics.coding import UNREADABLE
from sidecar.statistics.facts import Facts

ASPECTS: Final = ("age", "hour")
"""Seconds from the moment to the exchange; 0 to 23."""
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


def timestamp_facts(values: Sequence[Any], times_us: npt.NDArray[np.int64] | None) -> Facts:
    """Whether each text could be read, and the aspects of those; without times no age."""
    main: list[Any] = []
    places, moments = [], []
    for at, value in enumerate(values):
        if type(value) is not str:
            main.append(value)
            continue
        moment = parsed(value)
        main.append(UNREADABLE if moment is None else PARSED)
        if moment is not None:
            places.append(at)
            moments.append(moment)
    where, seconds = np.array(places, dtype=np.int64), np.array(moments, dtype=np.float64)
    aspects = {"hour": np.floor(np.mod(seconds, 86_400.0) / 3_600.0)}
    if times_us is not None:
        aspects["age"] = times_us[where] / 1e6 - seconds
    return Facts(main, where, aspects)
