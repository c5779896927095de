"""Closed panes on their way into the store: taken from the monitors in the commit that ships them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sidecar.clock import Clock
from sidecar.records import Pane
from sidecar.shipping.knowledge import Knowledge, MonitorKey
from sidecar.shipping.panes import PaneFacts, encode_panes, panes_name, plan_name

if TYPE_CHECKING:
    from sidecar.statistics.panes import ClosedPane
    from sidecar.statistics.plan import Plan

BOOTS_NAMED = 16
PLANS_REMEMBERED = 64
MOST_WAITING = 256
"""Objects of statistics that may wait for the store; beyond, panes stay with their monitors."""


@runtime_checkable
class PaneSource(Protocol):
    """A monitor that closes panes."""

    @property
    def plan(self) -> Plan | None:
        """None while there is no baseline."""

    @property
    def pane_us(self) -> int: ...

    @property
    def complete_to_us(self) -> int:
        """Every pane that ends at or before this is closed."""

    def take_closed(self, now_us: int, everything: bool = False) -> Sequence[ClosedPane]:
        """The panes that closed since they were last taken; with `everything` the open ones too."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where this sidecar runs, as configured; what is not known is empty."""

    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    pod: str = ""


class PaneShipper:
    """Ships the closed panes of all monitors every so often."""

    def __init__(self, place: Whereabouts, every_s: float, clock: Clock) -> None:
        """`every_s` 0 ships nothing."""
        self._place = place
        self._every_ns = int(every_s * 1e9)
        self._clock = clock
        self._next_ns = clock.monotonic_ns() + self._every_ns
        self._finished = not self._every_ns

    def due(self) -> bool:
        """Whether it is time again."""
        return bool(self._every_ns) and self._clock.monotonic_ns() >= self._next_ns

    def due_at_end(self) -> bool:
        """Whether the last panes of this process are still to be taken."""
        return not self._finished

    def take(
        self,
        monitors: Mapping[MonitorKey, Any],
        known: Knowledge,
        waiting: int,
        read_to_us: int,
        final: bool,
    ) -> list[tuple[str, bytes]]:
        """Objects by name to be committed with `known`, which notes that they were made.

        Empty when it is not time; `waiting` objects are not in the store yet,
        and all traffic up to `read_to_us` was read.
        """
        if not self._every_ns or not (final or self.due()) or waiting > MOST_WAITING:
            return []
        objects: list[tuple[str, bytes]] = []
        for key, monitor in monitors.items():
            if isinstance(monitor, PaneSource) and monitor.plan is not None:
                closed = monitor.take_closed(read_to_us, final)
                if closed:
                    objects += self._files(key, monitor, monitor.plan, closed, known, final)
        return objects

    def committed(self, final: bool) -> None:
        """What was taken is durable: wait for the next time."""
        if self.due() or final:
            self._next_ns = self._clock.monotonic_ns() + self._every_ns
        self._finished = self._finished or final

    def _files(
        self,
        key: MonitorKey,
        monitor: PaneSource,
        plan: Plan,
        closed: Sequence[ClosedPane],
        known: Knowledge,
        final: bool,
    ) -> list[tuple[str, bytes]]:
        book = known.panes
        book.writer = book.writer or secrets.token_hex(8)
        route, digest = key
        panes = [_pane(plan, each) for each in closed]
        facts = PaneFacts(
            model=known.model(route, digest),
            digest=digest,
            plan=plan.digest,
            route=route,
            cluster=self._place.cluster,
            namespace=self._place.namespace,
            workload=self._place.workload,
            pod=self._place.pod,
            writer=book.writer,
            serial=book.serial,
            boots=_boots(known, route),
            pane_us=monitor.pane_us,
            complete_to_us=monitor.complete_to_us,
            final=final,
            shipped_us=self._clock.wall_us(),
        )
        data = encode_panes(facts, panes)
        objects = [(panes_name(facts, panes, data), data)]
        if plan.digest not in book.plans:
            # Before its panes, so that whoever finds them finds it too.
            objects.insert(0, (plan_name(plan.digest), plan.encode()))
            book.plans = [*book.plans, plan.digest][-PLANS_REMEMBERED:]
        book.serial += 1
        return objects


def _pane(plan: Plan, closed: ClosedPane) -> Pane:
    counts, at = {}, 0
    for tally in plan.tallies:
        counts[tally.name] = closed.vector[at : at + tally.size].astype("<i8", copy=False).tobytes()
        at += tally.size
    return Pane(
        closed.start_us,
        closed.span_us,
        closed.late,
        closed.exchanges,
        counts,
        closed.exemplars,
    )


def _boots(known: Knowledge, route: str) -> tuple[str, ...]:
    logs = (log.rpartition(".") for log in known.logs)
    return tuple(boot for boot, _, of in logs if of == route)[-BOOTS_NAMED:]
