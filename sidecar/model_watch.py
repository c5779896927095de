"""Whether the model behind a route is still the one that it was: a new one begins an identity epoch.

What the epoch was is for others to say, who read it elsewhere and later; that
one model ended and another came is seen here at once, so that each record
carries the number of the model that answered it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from sidecar.clock import Clock
from sidecar.config import Address
from sidecar.counters import Counters, Global, Route, find_all
from sidecar.errors import JournalError
from sidecar.identity.listener import ListenerProbe, ListenerWatch
from sidecar.proxy.route_context import RouteContext
from sidecar.records import Epoch

LOOK_NS: Final = 80_000_000
"""Looks are no closer together. Between a container's end and the next one's start there is more."""
FAILURES: Final = 3
"""Looks in a row that fail, after which it is not known any more whether the model is the same."""

log = logging.getLogger("sidecar.recorder")


class Journal(Protocol):
    """What is needed of `journal.writer.JournalWriter`."""

    def epoch(self, epoch: Epoch) -> None: ...


SEEN: Final = (Route.EPOCH, Route.EPOCH_SINCE_US, Route.LISTENER, Route.LISTENER_SEEN_US)


def go_on_from(journal: Path, counters: Counters) -> None:
    """Take over what the last boot on this journal saw of each route's model, before this boot's recorder.

    A model that was replaced while no sidecar ran is then another one, whatever
    is still told of the one before; and what is said of the pod's first model
    is said of no later one. Another pod's models are none of this one's.
    """
    before = [path for path in find_all(journal) if path.name != counters.file_name]
    if not before:
        return
    try:
        last = Counters.open(before[-1])
    except JournalError:
        return
    try:
        if last.get(Global.POD) != counters.get(Global.POD):
            return
        for route in set(counters.routes) & set(last.routes):
            for slot in SEEN:
                counters.slots[counters.base(route) + slot] = last.route(route, slot)
    finally:
        last.close()


class ModelWatch:
    """Looks at one route's model; what it knows is in the counters, so that a restarted recorder goes on."""

    def __init__(
        self,
        context: RouteContext,
        counters: Counters,
        journal: Journal,
        first: Epoch,
        upstream: Address,
        clock: Clock,
    ) -> None:
        """`first` is the boot's first epoch of this route."""
        self._context, self._journal, self._first, self._clock = context, journal, first, clock
        self._slots, self._base = counters.slots, context.base
        self._watch = ListenerWatch(int(self._slots[self._base + Route.LISTENER]))
        self._looked_ns = -LOOK_NS
        self._failures = 0
        self._probe: ListenerProbe | None = None
        if self._slots[self._base + Route.BLIND]:
            # Its records are told apart by time already, which numbers would contradict.
            return
        try:
            self._probe = ListenerProbe(upstream.host, upstream.port)
        except OSError as error:
            self._slots[self._base + Route.BLIND] = 1
            log.warning(
                "route %s: a change of the model at %s cannot be seen (%s): records name the new one only "
                "once the cluster has told of it",
                context.route,
                upstream,
                error.strerror or error,
            )

    def begin(self) -> None:
        """Put the epoch in force that an earlier recorder of this boot had come to, and look."""
        if self._slots[self._base + Route.EPOCH] > self._first.number:
            self._put_in_force()
        self.look()

    def answering(self) -> int:
        """Number of the epoch of the model that has just taken a connection."""
        if self._watch.gone:
            self._looked_ns = -LOOK_NS
        self.look()
        # Whoever took it listened until a moment ago: while nobody does, that was the model before.
        return self._context.epoch - self._watch.gone

    def look(self) -> None:
        """Begin a new epoch if there is another model; does nothing if it was looked just now."""
        now_ns = self._clock.monotonic_ns()
        if self._probe is None or now_ns - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now_ns
        try:
            found = self._probe.listeners(self._watch.known)
        except OSError as error:
            self._failures += 1
            if self._failures == FAILURES:
                log.warning("route %s: the model cannot be looked at: %s", self._context.route, error)
                self._watch = ListenerWatch()
                self._begin_another()
            return
        self._failures = 0
        self._see(found)

    def _see(self, found: frozenset[int]) -> None:
        if self._watch.look(found):
            self._begin_another()
            log.info("route %s: the model has ended, or another has come", self._context.route)
        slots, base = self._slots, self._base
        slots[base + Route.LISTENER] = 0 if self._watch.gone else self._watch.cookie
        if found:
            slots[base + Route.LISTENER_SEEN_US] = self._clock.wall_us()

    def _begin_another(self) -> None:
        slots, base = self._slots, self._base
        slots[base + Route.EPOCH] += 1
        slots[base + Route.EPOCH_SINCE_US] = slots[base + Route.LISTENER_SEEN_US]
        slots[base + Route.LISTENER] = 0
        self._put_in_force()

    def _put_in_force(self) -> None:
        slots, base = self._slots, self._base
        number = int(slots[base + Route.EPOCH])
        self._context.epoch = number
        # Nothing that was said of the first model need be true of this one.
        self._journal.epoch(
            replace(
                self._first,
                number=number,
                image_digest=None,
                artifact_digest=None,
                source="unknown",
                since_us=int(slots[base + Route.EPOCH_SINCE_US]),
            )
        )
