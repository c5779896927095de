"""`before_response`: the last bytes of a response wait until its record is durable."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from sidecar.counters import Route
from sidecar.proxy.delivery import JournalPort, report
from sidecar.proxy.route_context import RouteContext
from sidecar.records import Exchange, Outcome


class HeldConnection(Protocol):
    """What a hold asks of its connection."""

    def say(self, data: bytes) -> None: ...
    def pass_eof(self) -> None: ...
    def pace_upstream(self) -> None: ...
    def withdraw(self, begun: bool) -> None: ...


class ResponseHold:
    """Holds one connection's response bytes while records of ended exchanges are not durable.

    Under policy open the wait is at most `limit_s`, then the bytes leave and the
    case is counted. Under policy closed (`limit_s` None) there is no limit, and
    what could not be recorded is withdrawn: `withdraw(begun)` says whether bytes
    of that response had left already (a stream).
    """

    __slots__ = (
        "_begun",
        "_bytes",
        "_connection",
        "_context",
        "_eof",
        "_failed",
        "_journal",
        "_limit_s",
        "_loop",
        "_pending",
        "_recorded",
        "_timer",
    )

    def __init__(
        self,
        connection: HeldConnection,
        loop: asyncio.AbstractEventLoop,
        context: RouteContext,
        journal: JournalPort,
        limit_s: float | None,
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._context = context
        self._journal = journal
        self._limit_s = limit_s
        self._pending: set[Exchange] = set()
        """Ended, neither durable nor shed yet, and worth waiting for."""
        self._recorded: list[Exchange] = []
        """Durable, but the end of the response is still held."""
        self._bytes: list[bytes] = []
        self._eof = False
        self._begun = False
        self._failed = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> bool:
        """Bytes or a FIN are being held: the upstream must be paused."""
        return bool(self._bytes) or self._eof

    def ended(self, exchange: Exchange) -> None:
        """An exchange ended: record it; what follows of its response waits."""
        self._pending.add(exchange)
        self._journal.append(exchange, partial(self._durable, exchange))

    def data(self, data: bytes, begun: bool) -> None:
        """Response bytes that the observer has seen. `begun`: earlier bytes of that response have left."""
        if self._failed and self._limit_s is None:
            self._connection.withdraw(begun)
        elif not self._pending and not self.active:
            self._connection.say(data)
        else:
            if not self.active:
                self._begun = begun
            self._bytes.append(data)
            self._arm()

    def eof(self) -> None:
        """The upstream's FIN, which ends an EOF-delimited response."""
        if self._failed and self._limit_s is None:
            self._connection.withdraw(True)
        elif not self._pending and not self.active:
            self._connection.pass_eof()
        else:
            if not self.active:
                self._begun = True
            self._eof = True
            self._arm()

    def lost(self) -> tuple[int, set[int]]:
        """The client is gone: how many bytes of which exchanges were held and will never be delivered."""
        held_bytes = sum(map(len, self._bytes))
        numbers: set[int] = set()
        if self.active:
            numbers = {exchange.seq for exchange in (*self._recorded, *self._pending)}
        self._pending.clear()
        self._stop()
        return held_bytes, numbers

    def _arm(self) -> None:
        self._connection.pace_upstream()
        if self._limit_s is not None and self._timer is None:
            self._timer = self._loop.call_later(self._limit_s, self._expired)

    def _durable(self, exchange: Exchange, recorded: bool) -> None:
        if exchange not in self._pending:
            return  # its bytes have left, or never will
        self._pending.remove(exchange)
        if recorded:
            self._recorded.append(exchange)
        else:
            self._failed = True
        if not self._pending:
            if self.active:
                self._release()
            else:
                self._recorded.clear()

    def _expired(self) -> None:
        self._timer = None
        self._pending.clear()  # what follows has waited for itself only
        self._context.slots[self._context.base + Route.HELD_EXPIRED] += 1
        self._release()

    def _release(self) -> None:
        data, eof, begun = b"".join(self._bytes), self._eof, self._begun
        failed, self._failed = self._failed, False
        connection = self._connection
        if failed and self._limit_s is None:
            numbers = [exchange.seq for exchange in self._recorded]
            report(self._context, self._journal, numbers, Outcome.REFUSED)
            self._stop()
            connection.withdraw(begun)
        else:
            self._stop()
            if data:
                connection.say(data)
            if eof:
                connection.pass_eof()
            connection.pace_upstream()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._bytes = []
        self._recorded = []
        self._eof = False
