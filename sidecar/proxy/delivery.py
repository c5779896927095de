"""What is known of bytes that were passed on and whose receiver then broke the connection.

The kernel tells how many bytes the client's kernel had not acknowledged. So a
response that was recorded as complete, and of which some byte was not, is
followed by a delivery record. Both directions of doubt remain: acknowledged is
not read, and a client that resets at once may have read what it had no time to
acknowledge.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from sidecar.counters import Route
from sidecar.proxy.route_context import RouteContext
from sidecar.records import Delivery, Exchange, Outcome

_SIOCOUTQ: Final = 0x5411


class JournalPort(Protocol):
    """What the data plane needs of the journal."""

    @property
    def accepting(self) -> bool: ...
    def append(self, exchange: Exchange, on_durable: Callable[[bool], None] | None = None) -> object: ...
    def shed(self, route: str, reason: str, t_us: int) -> object: ...
    def delivery(self, delivery: Delivery) -> object: ...


def unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes given to the kernel that the peer has not acknowledged, a FIN included; 0 if that cannot be told.

    Right even after a reset, as long as the socket has not been closed.
    """
    raw = transport.get_extra_info("socket")
    if raw is None:
        return 0
    queued = array.array("i", [0])
    try:
        fcntl.ioctl(raw.fileno(), _SIOCOUTQ, queued)
    except (OSError, ValueError):
        return 0
    return queued[0]


def report(context: RouteContext, journal: JournalPort, numbers: Iterable[int], outcome: Outcome) -> None:
    """Record that these exchanges' responses did not arrive whole, as far as can be known.

    A number of 0 is of an exchange that left no record.
    """
    for seq in sorted(filter(None, numbers)):
        context.slots[context.base + Route.DELIVERY_FAILURES] += 1
        journal.delivery(Delivery(context.route, seq, context.clock.wall_us(), outcome))
