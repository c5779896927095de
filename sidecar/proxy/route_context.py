"""What the connections of one route share on the observer's side."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.clock import Clock
from sidecar.counters import Global, Mode
from sidecar.proxy.capture import CaptureBudget
from sidecar.records import Exchange


class RouteContext:
    """What the connections of one route share."""

    __slots__ = ("answer_first", "base", "budget", "clock", "end", "epoch", "route", "shed", "slots", "watch")

    def __init__(
        self,
        route: str,
        clock: Clock,
        slots: memoryview,
        base: int,
        budget: CaptureBudget,
        end: Callable[[Exchange], object],
        shed: Callable[[str, str, int], object],
        answer_first: bool = False,
    ) -> None:
        """`slots`/`base`: the counters and the route's block in them. `end` takes each ended
        exchange; `shed(route, reason, t_us)` one that must not be recorded. With `answer_first`
        an exchange ends with its response even if the request goes on, as `before_response` needs."""
        self.route = route
        self.epoch = 0
        """Number of the identity epoch that begins with the next upstream connection, or is in force."""
        self.watch: Callable[[], int] | None = None
        """Where models are watched: the epoch of the one that has just taken a connection."""
        self.clock = clock
        self.slots = slots
        self.base = base
        self.budget = budget
        self.end = end
        self.shed = shed
        self.answer_first = answer_first

    def answering(self) -> int:
        """The epoch of the model that has just taken a connection."""
        return self.epoch if self.watch is None else self.watch()

    @property
    def recording(self) -> bool:
        """False in splice-only mode: everything is forwarded and counted, nothing kept."""
        return bool(self.slots[Global.MODE] == Mode.RECORD)
