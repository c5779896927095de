"""Points in time as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RELATIVE = re.compile(r"^([0-9]{1,30}(?:\.[0-9]{1,30})?)(s|m|h|d|w)$")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NUMBER = re.compile(r"^-?[0-9]{1,30}(?:\.[0-9]{1,30})?$")


def parse(text: str, now_us: int) -> int:
    """Microseconds since 1970 of an ISO 8601 time (UTC unless it says otherwise), epoch seconds, or `2h` ago.

    Raises ValueError for anything else.
    """
    text = text.strip()
    relative = _RELATIVE.match(text)
    if relative:
        return now_us - int(float(relative[1]) * _SECONDS[relative[2]] * 1_000_000)
    # Four digits alone are a year to nobody here; a plain number is always epoch seconds.
    if _NUMBER.match(text):
        return int(float(text) * 1_000_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no time: give ISO 8601 (2026-11-23T23:15:00Z), epoch seconds, or an age such as 2h"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def readable(time_us: int | None) -> str:
    """UTC with milliseconds; a dash for a time that did not come."""
    if time_us is None:
        return "-"
    try:
        moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_us} µs"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_us // 1000 % 1000:03d}Z"
