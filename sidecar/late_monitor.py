"""Glue: a model without a baseline: its exchanges pass uncounted, and are counted, until there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sidecar.errors import ConfigError
from sidecar.monitors import Monitor
from sidecar.records import Sample
from sidecar.statistics.alarm import Alarm
from sidecar.statistics.summary import warmup_summary

log = logging.getLogger(__name__)

LOOK_EVERY_US = 60_000_000
"""A baseline may be put there while the sidecar runs: how often that is looked for."""
_MAGIC = b"sidecar late monitor 1\x00"


class LateMonitor:
    """Counts nothing until `find` gives the monitor that does; from then on it is that one."""

    def __init__(
        self, find: Callable[[], Monitor | None], lacking: str, pane_us: int, passed: int = 0
    ) -> None:
        """`lacking` names what there should be; `passed` exchanges went by before.

        `find` may raise ConfigError for what is there and cannot be used: that is said, and looked at again.
        """
        self._find = find
        self._lacking = lacking
        self._pane_us = pane_us
        self._passed = passed
        self._previous: Any = None
        self._trouble = ""
        self._looked_us = 0
        self._monitor: Monitor | None = None
        self._look()

    @staticmethod
    def passed_of(state: bytes) -> int | None:
        """The exchanges that a late monitor had let pass; None of another monitor's state."""
        return msgspec.msgpack.decode(state[len(_MAGIC) :], type=int) if state.startswith(_MAGIC) else None

    @property
    def plan(self) -> Any:
        return self._monitor.plan if self._monitor is not None else None

    @property
    def baseline(self) -> Any:
        return self._monitor.baseline if self._monitor is not None else None

    @property
    def pane_us(self) -> int:
        return self._pane_us

    @property
    def complete_to_us(self) -> int:
        return int(getattr(self._monitor, "complete_to_us", 0))

    def follow(self, previous: Any) -> None:
        self._previous = previous
        if self._monitor is not None:
            self._monitor.follow(previous)

    def add(self, samples: Sequence[Sample]) -> None:
        if self._monitor is not None:
            self._monitor.add(samples)
        else:
            self._passed += len(samples)

    def advance(self, now_us: int) -> object:
        if self._monitor is None and abs(now_us - self._looked_us) >= LOOK_EVERY_US:
            self._looked_us = now_us
            self._look()
        return None if self._monitor is None else self._monitor.advance(now_us)

    def _look(self) -> None:
        try:
            found = self._find()
        except ConfigError as error:
            if str(error) != self._trouble:
                log.error("%s", error)
            self._trouble = str(error)
            return
        if found is None:
            if not self._trouble:
                log.warning("no baseline for a model, which is not watched: %s", self._lacking)
            self._trouble = f"no baseline: {self._lacking}"
            return
        if self._trouble:
            log.info("there is a baseline now: %d exchanges passed uncounted", self._passed)
        found.follow(self._previous)
        self._monitor = found

    def alarms(self) -> Sequence[Alarm]:
        return () if self._monitor is None else self._monitor.alarms()

    def take_closed(self, now_us: int, everything: bool = False) -> Any:
        """The monitor's own; none before there is one."""
        take = getattr(self._monitor, "take_closed", None)
        return take(now_us, everything) if take is not None else []

    def state(self) -> bytes:
        """That of the monitor, or how many exchanges passed without one."""
        return (
            _MAGIC + msgspec.msgpack.encode(self._passed) if self._monitor is None else self._monitor.state()
        )

    def summary(self) -> dict[str, Any]:
        if self._monitor is not None:
            return self._monitor.summary()
        return warmup_summary(None, 0) | {
            "state": "no_baseline",
            "passed_exchanges": self._passed,
            "trouble": self._trouble,
        }
