"""One client connection and its own upstream connection, spliced.

A chunk that arrives is written to the other side first and shown to the
observer afterwards; nothing is re-serialised. The two exceptions are chosen by
the user: with `before_response` the last bytes of a response wait for its
record, and with policy `closed` a request waits for the observer's verdict.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from sidecar.counters import Global, Route
from sidecar.proxy.answers import answer
from sidecar.proxy.hold import ResponseHold
from sidecar.proxy.observer import ConnectionObserver
from sidecar.proxy.splice_settings import SpliceSettings
from sidecar.proxy.upstream import Upstream, reset
from sidecar.records import Exchange, Outcome

__all__ = ["Client", "SpliceSettings"]

LINGER_S: Final = 1.0
"""How long a connection that the recorder answered itself may go on sending."""

log = logging.getLogger("sidecar.proxy")


class _Blind:
    """Stands in for an observer that failed: sees nothing, ends nothing."""

    idle = False
    unframed = True
    asked = True
    between_requests = False
    answering = True

    def request_data(self, data: bytes) -> None: ...
    def request_eof(self) -> None: ...
    def response_data(self, data: bytes) -> None: ...
    def response_eof(self) -> None: ...
    def silent_since_ns(self) -> None: ...
    def closed(self, outcome: Outcome, reason: str) -> None: ...
    def answered_by_recorder(self, response: bytes, outcome: Outcome, reason: str) -> None: ...
    def fail(self, reason: str) -> None: ...


class Client(asyncio.Protocol):
    """The client's side; owns the pair."""

    __slots__ = (
        "_answered",
        "_connecting",
        "_cut_off",
        "_early",
        "_eof",
        "_forward",
        "_full",
        "_gate",
        "_hold",
        "_settings",
        "_upstream",
        "gone",
        "observer",
        "transport",
    )

    transport: asyncio.Transport
    observer: ConnectionObserver | _Blind

    def __init__(self, settings: SpliceSettings) -> None:
        self._settings = settings
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._forward: Callable[[bytes], None] | None = None
        """The upstream transport's write, once chunks may go straight through."""
        self._gate = settings.closed
        self._early: list[bytes] = []
        self._eof = False
        self._full = False
        self._cut_off = False
        """The upstream broke while bytes were held; the client is reset once these have left."""
        self._answered: tuple[bytes, Outcome, str] | None = None
        """What the recorder answered itself; bytes empty once it is in the record."""
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
            self.connect()

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
        if self._eof:  # uvloop reports it again whenever reading is resumed
            return True
        self._eof = True
        self._watched(self.observer.request_eof)
        if self._answered is not None:
            self._finish_answer()
            return True
        upstream = self._upstream
        if upstream is None:
            # Nothing was ever sent: a probe. Otherwise the FIN follows the bytes once connected.
            return self._connecting is not None
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
        if self._connecting is not None:
            self._connecting.cancel()
        if self._hold is not None:
            self._hold.lost()
        upstream = self._upstream
        if upstream is not None and not upstream.lost:
            if error is not None or not upstream.eof:
                upstream.reset()
            else:
                upstream.transport.close()
        self._watched(lambda: self.observer.closed(Outcome.CLIENT_ABORT, "client closed its connection"))

    def pause_writing(self) -> None:
        self._full = True
        self.pace_upstream()

    def resume_writing(self) -> None:
        self._full = False
        self.pace_upstream()

    # Towards the upstream

    def connect(self) -> None:
        """Begin the upstream connection; later bytes wait for it, up to the high-water mark."""
        if self._connecting is None and self._upstream is None:
            self._connecting = self._settings.loop.create_task(self._connect())

    def _not_straight(self, data: bytes) -> None:
        """A chunk that cannot go straight through: no upstream yet, policy closed, or already answered."""
        settings = self._settings
        if self._answered is not None:
            if self._answered[0]:
                self._see(data)
                if self.observer.asked:
                    self._finish_answer()
            return
        if self._gate and settings.context.recording:
            if self.observer.between_requests and not settings.journal.accepting:
                self._refuse(data)
                return
            self._see(data)
            if settings.held and self.observer.unframed:
                why = "policy closed forwards only what can be recorded"
                if self.observer.answering:
                    self._break(Outcome.REFUSED, why)
                else:
                    self._answer(Outcome.REFUSED, 503, "not_recordable", why)
                return
        else:
            self._see(data)
        if self._upstream is not None:
            if not self._upstream.lost:
                self._upstream.transport.write(data)
            return
        self._early.append(data)
        if sum(map(len, self._early)) > settings.high_water:
            self.transport.pause_reading()
        self.connect()

    async def _connect(self) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await settings.loop.create_connection(
                    lambda: Upstream(self, settings), settings.upstream_host, settings.upstream_port
                )
        except TimeoutError:
            self._unreachable(f"no connection within {settings.connect_timeout_s:g} s")
        except OSError as error:
            self._unreachable(error.strerror or str(error))
        finally:
            self._connecting = None

    def connected(self, upstream: Upstream) -> None:
        """The upstream connection stands."""
        if self.gone or self._answered is not None:
            upstream.transport.abort()
            return
        self._upstream = upstream
        early, self._early = self._early, []
        for data in early:
            upstream.transport.write(data)
        if not self._gate:
            self._forward = upstream.transport.write
        if not upstream.full:
            self.transport.resume_reading()
        if self._eof:
            upstream.send_eof()

    def _unreachable(self, why: str) -> None:
        settings = self._settings
        settings.context.slots[settings.context.base + Route.UPSTREAM_FAILURES] += 1
        if self.gone:
            return
        if not self._early:  # `connect=accept` and nothing asked yet: the first byte tries again
            if self._eof:
                self.transport.close()
        else:
            self._early.clear()
            self.transport.resume_reading()
            self._answer(Outcome.UPSTREAM_ERROR, 503, "upstream_unavailable", why)

    # Answers of the recorder's own

    def _refuse(self, data: bytes) -> None:
        """Policy closed and a journal that takes no more: this new request is not served."""
        settings = self._settings
        context = settings.context
        if not self.observer.idle or self._holding:
            # Answers to earlier requests come first; this connection takes no further ones.
            self._break(Outcome.REFUSED, "journal cannot take more")
            return
        context.slots[context.base + Route.STARTED] += 1
        context.slots[context.base + Route.OUTCOME + Outcome.REFUSED] += 1
        settings.journal.shed(context.route, "refused", context.clock.wall_us())
        self.say(
            answer(
                503,
                "not_recording",
                settings.upstream,
                "the journal cannot take more and the policy is closed",
            )
        )
        self._answered = (b"", Outcome.REFUSED, "")
        self._finish_answer()

    def _answer(self, outcome: Outcome, status: int, error: str, why: str) -> None:
        """Answer instead of the upstream; the record ends with the request, at most LINGER_S later."""
        if self._answered is not None:
            return
        if self._holding:  # an answer now would overtake the held one
            self._break(outcome, why)
            return
        response = answer(status, error, self._settings.upstream, why)
        self._forward = None
        self.say(response)
        self._answered = (response, outcome, why)
        if self.observer.asked or self.observer.unframed or self._eof:
            self._finish_answer()
        else:
            self._settings.loop.call_later(LINGER_S, self._finish_answer)

    def _finish_answer(self) -> None:
        if self._answered is None or self.gone:
            return
        response, outcome, why = self._answered
        if response:
            self._answered = (b"", outcome, why)
            self._watched(lambda: self.observer.answered_by_recorder(response, outcome, why))
        if self._upstream is not None and not self._upstream.lost:
            self._upstream.reset()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self._settings.loop.call_later(0 if self._eof else LINGER_S, self.transport.close)

    def say(self, response: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(response)

    def silent_since_ns(self) -> int | None:
        """See ConnectionObserver.silent_since_ns; while bytes are held, the upstream is not even read."""
        return None if self._answered is not None or self._holding else self.observer.silent_since_ns()

    def time_out(self, after_s: float) -> None:
        """The upstream has not answered in time."""
        self._answer(Outcome.TIMEOUT, 504, "upstream_timeout", f"no answer within {after_s:g} s")
        self._finish_answer()

    # From the upstream

    def response(self, data: bytes) -> None:
        """Response bytes under `before_response`: observed first, and held if they end a response."""
        hold = self._hold
        assert hold is not None
        begun = self.observer.answering
        self._watched(lambda: self.observer.response_data(data))
        if self._settings.closed and self.observer.unframed and self._settings.context.recording:
            self.withdraw(begun)
        elif self._answered is None:
            hold.data(data, begun)

    def response_eof(self) -> None:
        """The upstream will send no more."""
        self._watched(self.observer.response_eof)
        if self._hold is not None:
            self._hold.eof()
        else:
            self.pass_eof()

    def upstream_lost(self, upstream: Upstream, error: Exception | None) -> None:
        """The upstream connection broke; what had arrived is passed on, then the break."""
        if self.gone or self._answered is not None:
            return
        if error is None and upstream.eof:
            return
        self._watched(lambda: self.observer.closed(Outcome.UPSTREAM_ERROR, "upstream reset its connection"))
        if self._holding:
            self._cut_off = True
        else:
            self._abort()

    def pass_eof(self) -> None:
        """Give the upstream's FIN to the client."""
        if self.gone or self._answered is not None:
            return
        if not self.transport.is_closing():
            self.transport.write_eof()
        self._close_if_over()

    def pace_upstream(self) -> None:
        """Read from the upstream only while the client keeps up and nothing is held."""
        upstream = self._upstream
        if upstream is not None and not upstream.lost:
            upstream.read(not self._full and not self._holding)
        elif self._cut_off and not self._holding:
            self._abort()

    def withdraw(self, begun: bool) -> None:
        """Policy closed: this response could not be recorded and must not be served."""
        if begun:
            self._break(Outcome.REFUSED, "could not be recorded")
        else:
            self._answer(
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
            and not self._holding
        )

    @property
    def _holding(self) -> bool:
        """Response bytes or a FIN wait for the journal."""
        return self._hold is not None and self._hold.active

    def close(self) -> None:
        """Close both sides after what is buffered has left."""
        if self._upstream is not None and not self._upstream.lost:
            self._upstream.transport.close()
        self.transport.close()

    def shut_down(self) -> None:
        """Grace is over: end what is in flight as `shutdown` and break the connection."""
        self._break(Outcome.SHUTDOWN, "recorder shut down")

    def _break(self, outcome: Outcome, why: str) -> None:
        """End what is in flight with `outcome` and reset both sides."""
        self._watched(lambda: self.observer.closed(outcome, why))
        if self._upstream is not None:
            self._upstream.reset()
        self._abort()

    def _close_if_over(self) -> None:
        if self._eof and self._upstream is not None and self._upstream.eof and not self._holding:
            self.close()

    def _abort(self) -> None:
        """Reset the client, once the bytes on their way to it have left."""
        if not self.gone:
            reset(self._settings.loop, self.transport)

    def _ended(self, exchange: Exchange) -> None:
        self._settings.journal.append(exchange)

    def _see(self, data: bytes) -> None:
        self._watched(lambda: self.observer.request_data(data))

    def _watched(self, look: Callable[[], object]) -> None:
        try:
            look()
        except Exception as error:
            self._unwatch(error)

    def trouble(self, error: Exception) -> None:
        """A chunk could not be passed on or looked at; a transport that is closed is no failure."""
        if isinstance(error, RuntimeError) and (self._upstream is None or self._upstream.lost or self.gone):
            return
        self._unwatch(error)

    def _unwatch(self, error: Exception) -> None:
        """Traffic goes on, unread, when its observation fails."""
        settings = self._settings
        settings.context.slots[Global.OBSERVER_ERRORS] += 1
        log.error("observation failed, connection goes on unread", exc_info=error)
        broken, self.observer = self.observer, _Blind()
        try:
            broken.fail(f"observer failed: {type(error).__name__}")
        except Exception:
            settings.journal.shed(settings.context.route, "observer_failed", settings.context.clock.wall_us())
