"""The analyst's pending objects → the store, oldest first, each until it is there.

Statistics have a lane of their own: a store that refuses them holds up no
records, and records that wait hold up no statistics.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sidecar.backoff import Backoff
from sidecar.clock import Clock
from sidecar.errors import JournalFull, StoreError
from sidecar.shipping.sink import Sink
from sidecar.shipping.state import AnalystState, Pending

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Lane:
    """What is put in order: when the next try is due, and why the last one failed."""

    what: str
    backoff: Backoff = field(default_factory=Backoff)
    put_at_ns: int = 0
    error: str = ""


class Uploads:
    """All that waits for the store."""

    def __init__(
        self,
        state: AnalystState,
        sink: Sink,
        clock: Clock,
        backoff: Backoff,
        shipping: Mapping[str, int],
        release: Callable[[], None],
    ) -> None:
        """`release` is called after each batch that is in the store."""
        self._state = state
        self._sink = sink
        self._clock = clock
        self._release = release
        self.records = Lane("batches", backoff)
        self.statistics = Lane("statistics")
        self.shipping = dict(shipping)
        self.pending: list[Pending] = []
        self.reload()

    def reload(self) -> None:
        """Looks again at what waits."""
        self.pending = self._state.pending()

    @property
    def batches(self) -> list[Pending]:
        """What waits, without statistics."""
        return [each for each in self.pending if not each.aside]

    @property
    def waiting_statistics(self) -> int:
        return sum(each.aside for each in self.pending)

    @property
    def settled(self) -> bool:
        """Whether all is in the store, or only statistics wait that the store has refused."""
        return not self.pending or (not self.batches and bool(self.statistics.error))

    def next_ns(self) -> int | None:
        """When there is something to put again; None when nothing waits."""
        lanes = {self._lane(each).what: self._lane(each).put_at_ns for each in self.pending}
        return min(lanes.values(), default=None)

    def ship(self) -> None:
        """Put what waits, in each lane until one fails."""
        while (pending := self._next()) is not None:
            lane = self._lane(pending)
            try:
                self._sink.put(pending.name, self._state.data(pending))
                shipping = self._counted(pending)
                self._state.shipped(pending, shipping)
            except (StoreError, JournalFull) as error:
                self._failed(lane, str(error))
                continue
            self.shipping = shipping
            self.pending.remove(pending)
            if lane.error:
                log.info("store %s takes %s again", self._sink.description, lane.what)
            lane.error = ""
            lane.backoff.succeeded()
            self._release()

    def _next(self) -> Pending | None:
        now_ns = self._clock.monotonic_ns()
        for lane in (self.records, self.statistics):
            if now_ns >= lane.put_at_ns:
                found = next((each for each in self.pending if self._lane(each) is lane), None)
                if found is not None:
                    return found
        return None

    def _lane(self, pending: Pending) -> Lane:
        return self.statistics if pending.aside else self.records

    def _counted(self, pending: Pending) -> dict[str, int]:
        shipping = dict(self.shipping)
        prefix = "statistics_" if pending.aside else ""
        for name, by in (("batches", 1), ("bytes", pending.size), ("rows", pending.records)):
            shipping[prefix + name] = shipping.get(prefix + name, 0) + by
        shipping[prefix + "last_us"] = self._clock.wall_us()
        return shipping

    def _failed(self, lane: Lane, reason: str) -> None:
        lane.put_at_ns = self._clock.monotonic_ns() + int(lane.backoff.failed() * 1e9)
        if lane.error != reason:
            log.warning("%s", reason, extra={f"pending_{lane.what}": len(self.pending)})
        lane.error = reason
