"""The order in which a person should read alarms: the worst and most telling first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from sidecar.statistics.alarm import Alarm

T = TypeVar("T")

_TELLING = (
    # What the model does to people, and what somebody said is not to happen.
    ("bias/", "information/", "band/", "labels/", "outputs."),
    ("mean/", "rule/", "inputs.", "exchange."),
    ("joint/",),
    # Nobody can picture a random direction in many inputs.
    ("joint/projection-",),
)
_OTHERS = 1


def telling_first(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Active alarms, then those that are over, the newest of them first.

    Of active ones: those that nobody has acknowledged, critical ones, decisions
    and bias before inputs before what fields do together, and the surest.
    """
    return in_order(alarms, lambda alarm: alarm)


def in_order(items: Iterable[T], alarm_of: Callable[[T], Alarm]) -> list[T]:
    """As `telling_first`, of whatever has an alarm."""
    return sorted(items, key=lambda item: _place(alarm_of(item)))


def _place(alarm: Alarm) -> tuple[bool, bool, bool, int, float, str]:
    if not alarm.active:
        return True, False, False, 0, -alarm.opened_us, alarm.quantity
    warning = alarm.severity != "critical"
    return False, not alarm.loud, warning, _telling(alarm.quantity), -alarm.log_evidence, alarm.quantity


def _telling(quantity: str) -> int:
    for place in reversed(range(len(_TELLING))):
        if quantity.startswith(_TELLING[place]):
            return place
    return _OTHERS
