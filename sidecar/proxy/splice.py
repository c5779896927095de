"""One client connection and its own upstream connection, spliced.

A chunk that arrives is written to the other side first and shown to the
observer afterwards; nothing is re-serialised. The two exceptions are chosen by
the user: with `before_response` the last bytes of a response wait for its
record, and with policy `closed` a request waits for the observer's verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from sidecar.counters import Global, Route
from sidecar.proxy.answers import answer
from sidecar.proxy.delivery import report, unacknowledged
from sidecar.proxy.dial import Dial
from sidecar.proxy.framing import may_be_head
from sidecar.proxy.gate import Gate
from sidecar.proxy.hold import ResponseHold
from sidecar.proxy.own_answer import OwnAnswer
from sidecar.proxy.splice_settings import SpliceSettings
from sidecar.proxy.upstream import Upstream, reset, reset_now
from sidecar.proxy.watched import Watched
from sidecar.records import Exchange, Outcome

__all__ = ["Client", "SpliceSettings"]


class Client(Watched, asyncio.Protocol):
    """The client's side; owns the pair."""

    __slots__ = (
        "_broken",
        "_cut_off",
        "_dial",
        "_forward",
        "_full",
        "_gate",
        "_hold",
        "_own",
        "_upstream",
        "eof",
        "gone",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, settings: SpliceSettings) -> None:
        self._settings = settings
        self._upstream: Upstream | None = None
        self._dial = Dial(self, settings)
        self._forward: Callable[[bytes], None] | None = None
        """The upstream transport's write, once chunks may go straight through."""
        self._gate = Gate(self, settings) if settings.closed else None
        self.eof = False
        """The client will send no more."""
        self._full = False
        self._broken: Outcome | None = None
        """Why this side was reset here."""
        self._cut_off = False
        """The upstream broke while bytes were held; the client is reset once these have left."""
        self._own: OwnAnswer | None = None
        """What the recorder answered itself."""
        self.gone = False
        self._hold = (
            ResponseHold(
                self,
                settings.loop,
                settings.context,
                settings.journal,
                None if settings.closed else settings.hold_limit_s,
            )
            if settings.held
            else None
        )

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        settings = self._settings
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        slots = settings.context.slots
        connections = settings.open_connections
        if len(connections) >= settings.max_connections:
            slots[Global.CONNECTIONS_REFUSED] += 1
            self.gone = True
            self.transport.abort()
            return
        connections.add(self)
        slots[Global.CONNECTIONS_OPEN] = len(connections)
        number = settings.context.base + Route.CONNECTIONS
        slots[number] += 1
        peer = transport.get_extra_info("peername")
        self.observer = settings.make_observer(
            int(slots[number]),
            f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "",
            self._ended if self._hold is None else self._hold.ended,
        )
        self.transport.set_write_buffer_limits(high=settings.high_water)
        if settings.connect_first:
            self._dial.begin()

    def data_received(self, data: bytes) -> None:
        forward = self._forward
        if forward is None:
            self._not_straight(data)
            return
        try:
            forward(data)
            self.observer.request_data(data)
        except Exception as error:
            self.trouble(error)

    def eof_received(self) -> bool:
        if self.eof:  # uvloop reports it again whenever reading is resumed
            return True
        self.eof = True
        self.watched(self.observer.request_eof)
        if self._own is not None:
            self._own.finish()
            return True
        upstream = self._upstream
        if upstream is None:
            # Nothing was ever sent: a probe. Otherwise the FIN follows the bytes once connected.
            return self._dial.running
        upstream.send_eof()
        self._close_if_over()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self.gone:
            return
        self.gone = True
        settings = self._settings
        settings.open_connections.discard(self)
        settings.context.slots[Global.CONNECTIONS_OPEN] = len(settings.open_connections)
        self._dial.cancel()
        self._note_delivery(error)
        upstream = self._upstream
        if upstream is not None and not upstream.lost:
            if error is not None or not upstream.eof:
                upstream.reset()
            else:
                upstream.transport.close()
        self.watched(lambda: self.observer.closed(Outcome.CLIENT_ABORT, "client closed its connection"))

    def _note_delivery(self, error: Exception | None) -> None:
        """The client's side has ended: what was recorded as complete, and did not arrive?"""
        missing_bytes, held = self._hold.lost() if self._hold is not None else (0, set())
        outcome = self._broken
        if error is not None or outcome not in (None, Outcome.REFUSED):
            ended = self._own is not None or (self._upstream is not None and self._upstream.eof)
            missing_bytes += max(unacknowledged(self.transport) - ended, 0)
        context, journal = self._settings.context, self._settings.journal
        numbers = held.union(self.observer.undelivered(missing_bytes))
        report(context, journal, numbers, Outcome.CLIENT_ABORT if outcome is None else outcome)

    def pause_writing(self) -> None:
        self._full = True
        self.pace_upstream()

    def resume_writing(self) -> None:
        self._full = False
        self.watched(self.observer.waits_from_now)
        self.pace_upstream()

    # Towards the upstream

    def _not_straight(self, data: bytes) -> None:
        """A chunk that cannot go straight through: no upstream yet, policy closed, or already answered."""
        if self._own is not None:
            self._own.heard(data)
            return
        if self._gate is None:
            self.see(data)
        elif not (data := self._gate.admit(data)):
            return
        if self._upstream is not None:
            if not self._upstream.lost:
                self._upstream.transport.write(data)
            return
        self._dial.hold(data)

    def connected(self, upstream: Upstream) -> None:
        """The upstream connection stands."""
        if self.gone or self._own is not None:
            upstream.transport.abort()
            return
        self._upstream = upstream
        self.watched(self._begin_to_wait)
        early, self._dial.early = self._dial.early, []
        for data in early:
            upstream.transport.write(data)
        if self._gate is None:
            self._forward = upstream.transport.write
        if not upstream.full:
            self.transport.resume_reading()
        if self.eof:
            upstream.send_eof()

    def _begin_to_wait(self) -> None:
        self.observer.epoch = self._settings.context.answering()
        self.observer.waits_from_now()

    def unreachable(self, why: str, asked: bool) -> None:
        """The upstream connection could not be made; `asked` says whether anything waited for it."""
        if self.gone:
            return
        if asked:
            self.transport.resume_reading()
            self.answer(Outcome.UPSTREAM_ERROR, 503, "upstream_unavailable", why)
        elif self.eof:
            self.transport.close()

    # Answers of the recorder's own

    def answer(
        self, outcome: Outcome, status: int, error: str, why: str, unseen: bytes | None = None
    ) -> None:
        """Answer instead of the upstream, and end the connection with that.

        `unseen`: first bytes of a request that was counted, and kept from the observer.
        """
        if self._own is not None:
            return
        if self.holding:  # an answer now would overtake the held one
            self.break_off(outcome, why)
            return
        self._forward = None
        bodiless = self.observer.bodiless if unseen is None else may_be_head(unseen)
        response = answer(status, error, self._settings.upstream, why, bodiless)
        self._own = OwnAnswer(self, self._settings, response, outcome, why, recorded=unseen is not None)
        self._own.begin()

    def leave_upstream(self) -> None:
        """Break the upstream's side, if it stands."""
        if self._upstream is not None:
            self._upstream.reset()

    def say(self, response: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(response)

    def silent_since_ns(self) -> int | None:
        """See ConnectionObserver.silent_since_ns; None too while the upstream is dialled or not even read."""
        if self._own is not None or self._full or self.holding or self._dial.running:
            return None
        return self.observer.silent_since_ns()

    def time_out(self, after_s: float) -> None:
        """The upstream has not answered in time."""
        self.answer(Outcome.TIMEOUT, 504, "upstream_timeout", f"no answer within {after_s:g} s")
        if self._own is not None:
            self._own.finish()

    # From the upstream

    def response(self, data: bytes) -> None:
        """Response bytes where a policy has a say: under `before_response` their end may have to wait."""
        hold = self._hold
        begun = self.observer.answering
        if hold is None:
            self.say(data)
        self.watched(lambda: self.observer.response_data(data))
        if hold is None:
            pass
        elif self._settings.closed and self.observer.unframed and self._settings.context.recording:
            self.withdraw(begun)
        elif self._own is None:
            hold.data(data, begun)
        if self._gate is not None:
            self._gate.answer_due()

    def response_eof(self) -> None:
        """The upstream will send no more."""
        if self._gate is not None:
            self._gate.upstream_ended()
        self.watched(self.observer.response_eof)
        if self._hold is not None:
            self._hold.eof()
        else:
            self.pass_eof()

    def upstream_lost(self, upstream: Upstream, error: Exception | None) -> None:
        """The upstream connection broke; what had arrived is passed on, then the break."""
        if self.gone or self._own is not None:
            return
        if error is None and upstream.eof:
            return
        self.watched(lambda: self.observer.closed(Outcome.UPSTREAM_ERROR, "upstream reset its connection"))
        if self.holding:
            self._cut_off = True
        else:
            self._abort(Outcome.UPSTREAM_ERROR)

    def pass_eof(self) -> None:
        """Give the upstream's FIN to the client."""
        if self.gone or self._own is not None or (self._gate is not None and self._gate.answer_due()):
            return
        if not self.transport.is_closing():
            self.transport.write_eof()
        self._close_if_over()

    def pace_upstream(self) -> None:
        """Read from the upstream only while the client keeps up and nothing is held."""
        upstream = self._upstream
        if upstream is not None and not upstream.lost:
            upstream.read(not self._full and not self.holding)
        elif self._cut_off and not self.holding:
            self._abort(Outcome.UPSTREAM_ERROR)
        if self._gate is not None:
            self._gate.answer_due()

    def withdraw(self, begun: bool) -> None:
        """Policy closed: this response could not be recorded and must not be served."""
        if begun:
            self.break_off(Outcome.REFUSED, "could not be recorded")
        else:
            self.answer(
                Outcome.REFUSED,
                503,
                "not_recorded",
                "the exchange could not be recorded and the policy is closed",
            )

    # The pair's end

    @property
    def idle(self) -> bool:
        """Nothing in flight and nothing left to send: may be closed without harm."""
        upstream = self._upstream
        return (
            self.observer.idle
            and not self.observer.unframed
            and not self.transport.get_write_buffer_size()
            and (upstream is None or upstream.lost or not upstream.transport.get_write_buffer_size())
            and not self.holding
        )

    @property
    def holding(self) -> bool:
        """Response bytes or a FIN wait for the journal."""
        return self._hold is not None and self._hold.active

    def close(self) -> None:
        """Close both sides after what is buffered has left."""
        if self._upstream is not None and not self._upstream.lost:
            self._upstream.transport.close()
        self.transport.close()

    def shut_down(self) -> None:
        """Grace is over: end what is in flight as `shutdown` and break the connection.

        At once: the end of the process would turn a reset that waits into a FIN.
        """
        self.watched(lambda: self.observer.closed(Outcome.SHUTDOWN, "recorder shut down"))
        if self._upstream is not None and not self._upstream.lost:
            reset_now(self._upstream.transport)
        self._broken = Outcome.SHUTDOWN
        reset_now(self.transport)

    def break_off(self, outcome: Outcome, why: str) -> None:
        """End what is in flight with `outcome` and reset both sides."""
        self.watched(lambda: self.observer.closed(outcome, why))
        self.leave_upstream()
        self._abort(outcome)

    def _close_if_over(self) -> None:
        if self.eof and self._upstream is not None and self._upstream.eof and not self.holding:
            self.close()

    def _abort(self, outcome: Outcome) -> None:
        """Reset the client, once the bytes on their way to it have arrived."""
        if not self.gone:
            self._broken = outcome
            reset(self._settings.loop, self.transport, arrive=True)

    def _ended(self, exchange: Exchange) -> None:
        self._settings.journal.append(exchange)

    def trouble(self, error: Exception) -> None:
        """A chunk could not be passed on or looked at; a transport that is closed is no failure."""
        if isinstance(error, RuntimeError) and (self._upstream is None or self._upstream.lost or self.gone):
            return
        self.unwatch(error)
