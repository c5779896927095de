"""The monitors of one journal's models: samples wait, are counted in batches, and panes close."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from sidecar.guarding import Guard, fault
from sidecar.records import Sample
from sidecar.shipping.knowledge import Knowledge, MonitorKey

if TYPE_CHECKING:
    from sidecar.statistics.alarm import Alarm

log = logging.getLogger(__name__)

SAMPLES_AT_ONCE = 512
ADVANCE_US = 200_000
"""Panes are looked at no more often: each time, the samples that wait are counted."""


class Monitor(Protocol):
    """What is needed of `statistics.monitor.Monitor`."""

    @property
    def baseline(self) -> Any:
        """None while it is learnt."""

    @property
    def plan(self) -> Any:
        """None while there is no baseline."""

    def follow(self, previous: Any) -> None: ...

    def add(self, samples: Sequence[Sample]) -> None: ...

    def advance(self, now_us: int) -> object: ...

    def alarms(self) -> Sequence[Alarm]:
        """What is open, and what was lately."""

    def state(self) -> bytes: ...

    def summary(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class OwnAlarm:
    """An alarm of this sidecar alone, as it stood at one moment."""

    route: str
    model: str
    digest: str
    plan: str
    alarm: Alarm


class Monitors:
    """One monitor per route and model digest; `counting` is held while any of them changes."""

    def __init__(
        self,
        known: Knowledge,
        guard: Guard,
        new_monitor: Callable[[MonitorKey], Monitor],
        restore_monitor: Callable[[MonitorKey, bytes], Monitor],
        counting: AbstractContextManager[object],
    ) -> None:
        """Takes the states out of `known`."""
        self.by_key: dict[MonitorKey, Monitor] = {}
        self.changed: set[MonitorKey] = set()
        """Those whose state differs from the one that was committed."""
        self._known = known
        self._guard = guard
        self._new_monitor = new_monitor
        self._counting = counting
        self._samples: dict[MonitorKey, list[Sample]] = {}
        self.latest_us = 0
        """The latest time of a sample."""
        self._advanced_us = 0
        self._faults: set[type[BaseException]] = set()
        for key, state in known.monitors.items():
            try:
                monitor = guard.restore(state, partial(restore_monitor, key))
                if monitor is None:
                    log.info("statistics of route %s, model %s begin anew: privacy settings changed", *key)
            except ValueError as error:
                # Statistics are advice: those of another version must not keep records from being shipped.
                log.error("statistics of route %s, model %s begin anew: %s", *key, error)
                monitor = None
            if monitor is None:
                # What was counted under other rules does not even stay: the next commit writes over it.
                monitor = guard.watch(new_monitor(key))
                self.changed.add(key)
            self.by_key[key] = monitor
        known.monitors = {}

    def take(self, key: MonitorKey, sample: Sample) -> None:
        """Lets a sample wait until there are enough to count at once."""
        self.latest_us = max(self.latest_us, sample.t_us)
        waiting = self._samples.setdefault(key, [])
        waiting.append(sample)
        if len(waiting) >= SAMPLES_AT_ONCE:
            self._count(key)

    def count_all(self) -> None:
        """Hand every waiting sample to its monitor."""
        for key in list(self._samples):
            self._count(key)

    def advance(self, read_to_us: int) -> None:
        """Close the panes that are over: all traffic up to `read_to_us` was read."""
        if abs(read_to_us - self._advanced_us) < ADVANCE_US:
            return
        self._advanced_us = read_to_us
        self.count_all()
        with self._counting:
            for monitor in self.by_key.values():
                monitor.advance(read_to_us)

    def alarms(self) -> tuple[OwnAlarm, ...]:
        """All of them, copied: the monitors' own go on changing."""
        return tuple(
            OwnAlarm(
                route,
                self._known.model(route, digest),
                digest,
                monitor.plan.digest,
                msgspec.structs.replace(alarm),
            )
            for (route, digest), monitor in self.by_key.items()
            if monitor.plan is not None
            for alarm in monitor.alarms()
        )

    def forget(self) -> None:
        """Let go of everything that takes memory."""
        self.by_key.clear()
        self._samples.clear()

    def _count(self, key: MonitorKey) -> None:
        waiting = self._samples.pop(key)
        totals = self._known.totals
        with self._counting:
            monitor = self.by_key.get(key)
            if monitor is None:
                monitor = self._guard.watch(self._new_monitor(key))
                monitor.follow(self._previous_baseline(key))
                self.by_key[key] = monitor
            try:
                monitor.add(waiting)
            except Exception as error:
                # Statistics are advice; the records behind them go on being shipped.
                self._failed(key, len(waiting), error)
                totals["uncounted"] = totals.get("uncounted", 0) + len(waiting)
        decoded = sum(sample.observation is not None for sample in waiting)
        totals["observations"] = totals.get("observations", 0) + decoded
        self.changed.add(key)

    def _failed(self, key: MonitorKey, samples: int, error: Exception) -> None:
        if type(error) in self._faults:
            return
        self._faults.add(type(error))
        log.error(
            "statistics failed on %d exchanges of route %s: %s",
            samples,
            key[0],
            fault(error),
            exc_info=not self._guard.discreet,
        )

    def _previous_baseline(self, key: MonitorKey) -> Any:
        """That of the model which answered on this route before; None if there was none."""
        known = [monitor.baseline for (route, _), monitor in self.by_key.items() if route == key[0]]
        return next((baseline for baseline in reversed(known) if baseline is not None), None)
