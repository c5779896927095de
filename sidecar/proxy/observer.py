"""Two byte streams in, exchanges out: what one connection says, read from the side.

Pure: no sockets, no time of its own. The splice forwards a chunk first and shows
it here afterwards. Requests are paired with responses in order; whatever cannot
be framed turns the connection opaque (counted, its first bytes kept) and never
touches the traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from sidecar.clock import Clock
from sidecar.counters import Global, Mode, Route
from sidecar.proxy.capture import PREFIX_BYTES, BodyReader, CaptureBudget
from sidecar.proxy.framing import (
    INTERIM,
    MAX_HEAD_BYTES,
    TUNNEL,
    UNTIL_EOF,
    Unframeable,
    frame_request,
    frame_response,
    not_http,
)
from sidecar.records import NEVER, Exchange, Outcome

_START, _HEAD, _BODY, _STASH, _RAW = range(5)
"""States of one direction: between messages, inside a head, inside a body, waiting
for the verdict on an upgrade (requests only), and no longer framed."""

STASH_BYTES: Final = 64 * 1024
"""Client bytes kept while it is open whether a connection turns into a tunnel."""


class RouteContext:
    """What the connections of one route share."""

    __slots__ = ("answer_first", "base", "budget", "clock", "end", "epoch", "route", "shed", "slots")

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
        self.clock = clock
        self.slots = slots
        self.base = base
        self.budget = budget
        self.end = end
        self.shed = shed
        self.answer_first = answer_first

    @property
    def recording(self) -> bool:
        """False in splice-only mode: everything is forwarded and counted, nothing kept."""
        return bool(self.slots[Global.MODE] == Mode.RECORD)


class ConnectionObserver:
    """Reads the two directions of one client connection."""

    __slots__ = (
        "_client",
        "_connection",
        "_context",
        "_end",
        "_methods",
        "_now_ns",
        "_raw",
        "_request_body",
        "_request_eof",
        "_request_head",
        "_request_state",
        "_response_body",
        "_response_head",
        "_response_state",
        "_sending",
        "_stash",
        "_tunnel",
        "_waiting",
    )

    def __init__(
        self,
        context: RouteContext,
        connection: int,
        client: str,
        end: Callable[[Exchange], object] | None = None,
    ) -> None:
        self._context = context
        self._connection = connection
        self._client = client
        self._end = end or context.end
        self._now_ns = context.clock.monotonic_ns
        self._request_state = _START
        self._response_state = _START
        self._waiting: deque[Exchange] = deque()
        """Exchanges whose response has not ended, in order."""
        self._methods: deque[bytes] = deque()
        """Their methods, as far as known: may be one shorter than `_waiting`."""
        self._sending: Exchange | None = None
        """The exchange whose request has not ended."""
        self._raw: Exchange | None = None
        """The exchange that takes all bytes that are no longer framed."""
        self._tunnel: Exchange | None = None
        """An exchange that may turn the connection into a tunnel."""
        self._stash: list[bytes] = []
        self._request_head = bytearray()
        self._response_head = bytearray()
        self._request_body: BodyReader | None = None
        self._response_body: BodyReader | None = None
        self._request_eof = False

    # What the splice may ask

    @property
    def between_requests(self) -> bool:
        """The next client byte begins a new request."""
        return self._request_state == _START

    @property
    def asked(self) -> bool:
        """No request is half sent."""
        return self._sending is None

    @property
    def idle(self) -> bool:
        """Nothing is in flight."""
        return not self._waiting and self._sending is None

    @property
    def unframed(self) -> bool:
        """Opaque or upgraded: no further exchange will be seen on this connection."""
        return self._raw is not None

    @property
    def answering(self) -> bool:
        """Bytes of an unfinished response have been seen."""
        return bool(self._waiting) and self._waiting[0].first_byte_ns != NEVER

    def silent_since_ns(self) -> int | None:
        """When the oldest fully sent request began to wait without one response byte; None if none does."""
        if not self._waiting or self._raw is not None:
            return None
        first = self._waiting[0]
        if first.first_byte_ns != NEVER or first.request_end_ns == NEVER:
            return None
        return first.start_ns + first.request_end_ns

    # The client's bytes

    def request_data(self, data: bytes) -> None:
        """Client bytes that were, or will at once be, forwarded."""
        position = 0
        size = len(data)
        while position < size:
            state = self._request_state
            if state == _START:
                position = self._request_start(data, position)
            elif state == _BODY:
                position = self._request_in_body(data, position)
            elif state == _HEAD:
                position = self._request_in_head(data, position)
            else:
                self._request_unframed(state, data if position == 0 else data[position:])
                return

    def request_eof(self) -> None:
        """The client will send no more."""
        self._request_eof = True

    def _request_start(self, data: bytes, position: int) -> int:
        piece = data if position == 0 else data[position:]
        if piece[0] in b"\r\n":
            # RFC 9112 section 2.2: empty lines before a request line are ignored.
            piece = piece.lstrip(b"\r\n")
            if not piece:
                return len(data)
        context = self._context
        exchange = Exchange(
            context.route, self._connection, self._client, context.clock.wall_us(), self._now_ns()
        )
        exchange.epoch = context.epoch
        slots = context.slots
        slots[context.base + Route.STARTED] += 1
        if slots[Global.MODE] != Mode.RECORD:
            exchange.recorded = False
        self._waiting.append(exchange)
        self._sending = exchange
        end = piece.find(b"\r\n\r\n") + 4
        if end == 3:
            self._request_state = _HEAD
            self._request_head.clear()
            return len(data) - len(piece) + self._request_in_head(piece, 0)
        return len(data) - len(piece) + self._request_headed(exchange, piece, 0, end, piece[:end])

    def _request_in_head(self, data: bytes, position: int) -> int:
        """Collect an unfinished head; `data[position:]` continues it."""
        exchange = self._sending
        assert exchange is not None
        head = self._request_head
        seen = len(head)
        head += data[position:] if position else data
        if seen == 0 and (reason := not_http(head)):
            return self._request_opaque(exchange, data, position, reason)
        found = head.find(b"\r\n\r\n", max(seen - 3, 0))
        if found >= 0:
            end = found + 4
            whole = bytes(head[:end])
            head.clear()
            return self._request_headed(exchange, data, position, position + end - seen, whole)
        if head.count(b"\n", seen) != head.count(b"\r\n", max(seen - 1, 0)):
            return self._request_opaque(exchange, data, position, "bare LF in head")
        if b"\0" in data:
            return self._request_opaque(exchange, data, position, "NUL in head")
        if len(head) > MAX_HEAD_BYTES:
            return self._request_opaque(exchange, data, position, "head too long")
        self._keep(exchange, exchange.request, data if position == 0 else data[position:])
        exchange.request_bytes += len(data) - position
        return len(data)

    def _request_headed(self, exchange: Exchange, data: bytes, position: int, end: int, head: bytes) -> int:
        """A head is whole: `data[position:end]` is its last part. Frames the body."""
        try:
            method, framing, may_tunnel = frame_request(head)
        except Unframeable as reason:
            return self._request_opaque(exchange, data, position, not_http(head) or str(reason))
        self._methods.append(method)
        if may_tunnel:
            self._tunnel = exchange
        stop = end + framing
        if framing >= 0 and stop <= len(data) and self._context.budget.fits(framing):
            self._keep(
                exchange, exchange.request, data if stop - position == len(data) else data[position:stop]
            )
            exchange.request_bytes += stop - position
            self._request_ended(exchange)
            return stop
        self._keep(exchange, exchange.request, data[position:end])
        exchange.request_bytes += end - position
        self._request_body = BodyReader(exchange, exchange.request, framing, self._context.budget)
        self._request_state = _BODY
        return end

    def _request_in_body(self, data: bytes, position: int) -> int:
        exchange = self._sending
        body = self._request_body
        assert body is not None
        if exchange is None:  # ended with its answer (answer_first): find the next request only
            stop = self._skip_body(body, data, position)
            if body.done:
                self._request_body = None
                self._request_state = _START
            return stop
        try:
            stop = body.feed(data, position)
        except Unframeable as reason:
            self._request_body = None
            return self._request_opaque(exchange, data, position, str(reason))
        exchange.request_bytes += stop - position
        if body.done:
            exchange.request_cut = body.finish()
            self._request_body = None
            self._request_ended(exchange)
        return stop

    def _skip_body(self, body: BodyReader, data: bytes, position: int) -> int:
        try:
            return body.feed(data, position)
        except Unframeable:
            self._request_state = _RAW
            return len(data)

    def _request_ended(self, exchange: Exchange) -> None:
        exchange.request_end_ns = self._now_ns() - exchange.start_ns
        self._sending = None
        self._request_state = _STASH if self._tunnel is exchange else _START
        if exchange.end_ns != NEVER:  # it was answered before it was fully asked
            exchange.end_ns = exchange.request_end_ns
            self._finish(exchange)

    def _request_opaque(self, exchange: Exchange, data: bytes, position: int, reason: str) -> int:
        """From this exchange on, nothing the client sends is framed."""
        self._sending = None
        self._request_head.clear()
        self._request_state = _RAW
        exchange.outcome = Outcome.OPAQUE
        exchange.reason = reason
        self._raw = exchange
        if exchange.end_ns != NEVER:
            self._waiting.append(exchange)  # already answered, but its connection is not over
            exchange.end_ns = NEVER
        self._request_unframed(_RAW, data if position == 0 else data[position:])
        return len(data)

    def _request_unframed(self, state: int, piece: bytes) -> None:
        if state == _STASH:
            self._stash.append(piece)
            if sum(map(len, self._stash)) > STASH_BYTES and self._tunnel is not None:
                self._response_opaque(self._tunnel, "client sent on before its upgrade was answered")
            return
        exchange = self._raw
        if exchange is None:
            return
        exchange.request_bytes += len(piece)
        if exchange.outcome == Outcome.OPAQUE:
            self._keep_prefix(exchange, exchange.request, exchange.request_bytes - len(piece), piece)

    # The upstream's bytes

    def response_data(self, data: bytes) -> None:
        """Upstream bytes, in order."""
        position = 0
        size = len(data)
        while position < size:
            state = self._response_state
            if state == _BODY:
                position = self._response_in_body(data, position)
            elif state == _RAW:
                self._response_unframed(data if position == 0 else data[position:])
                return
            else:
                position = self._response_head_data(data, position)

    def response_eof(self) -> None:
        """The upstream will send no more: an EOF-delimited body is whole, everything else is cut off."""
        if self._response_state == _BODY and self._until_eof:
            self._response_ended(self._waiting[0])
        if self._raw is not None:
            return
        while self._waiting:
            exchange = self._waiting[0]
            aborted = self._request_eof and exchange is self._sending
            exchange.outcome = Outcome.CLIENT_ABORT if aborted else Outcome.UPSTREAM_ERROR
            exchange.reason = (
                "client closed before its request ended"
                if aborted
                else (
                    "upstream closed before it answered"
                    if exchange.first_byte_ns == NEVER
                    else "upstream closed in the middle of its response"
                )
            )
            self._abandon(exchange)

    @property
    def _until_eof(self) -> bool:
        return self._response_body is not None and self._response_body.framing == UNTIL_EOF

    def _response_head_data(self, data: bytes, position: int) -> int:
        if not self._waiting:
            self._unasked(data if position == 0 else data[position:])
            return len(data)
        exchange = self._waiting[0]
        if exchange.first_byte_ns == NEVER:
            exchange.first_byte_ns = self._now_ns() - exchange.start_ns
        if exchange is self._raw or not self._methods:
            # Opaque by its request, or answered before its head was whole.
            self._response_opaque(
                exchange, "answered before its head ended", data if position == 0 else data[position:]
            )
            return len(data)
        head = self._response_head
        if not head:
            end = data.find(b"\r\n\r\n", position) + 4
            if end > 3:
                return self._response_headed(exchange, data, position, end, data[position:end])
        seen = len(head)
        head += data[position:] if position else data
        found = head.find(b"\r\n\r\n", max(seen - 3, 0))
        if found >= 0:
            end = found + 4
            whole = bytes(head[:end])
            head.clear()
            return self._response_headed(exchange, data, position, position + end - seen, whole)
        piece = data if position == 0 else data[position:]
        if reason := self._hopeless(head, seen):
            self._response_opaque(exchange, reason, piece)
            return len(data)
        self._keep(exchange, exchange.response, piece)
        exchange.response_bytes += len(piece)
        return len(data)

    @staticmethod
    def _hopeless(head: bytearray, seen: int) -> str:
        """Why an unfinished response head will never be one; empty if it still may."""
        if not b"HTTP/1.".startswith(head[:7]) and not head.startswith(b"HTTP/1."):
            return "status line is not HTTP/1.x"
        if head.count(b"\n", seen) != head.count(b"\r\n", max(seen - 1, 0)):
            return "bare LF in head"
        if head.find(b"\0", seen) >= 0:
            return "NUL in head"
        return "head too long" if len(head) > MAX_HEAD_BYTES else ""

    def _response_headed(self, exchange: Exchange, data: bytes, position: int, end: int, head: bytes) -> int:
        try:
            _, framing = frame_response(head, self._methods[0])
        except Unframeable as reason:
            self._response_opaque(exchange, str(reason), data if position == 0 else data[position:])
            return len(data)
        stop = end + framing
        if framing >= 0 and stop <= len(data) and framing <= self._context.budget.body_limit:
            self._keep(
                exchange, exchange.response, data if stop - position == len(data) else data[position:stop]
            )
            exchange.response_bytes += stop - position
            self._response_ended(exchange)
            self._not_a_tunnel(exchange)
            return stop
        self._keep(exchange, exchange.response, data[position:end])
        exchange.response_bytes += end - position
        if framing == INTERIM:
            return end
        if framing == TUNNEL:
            self._upgraded(exchange)
            return end
        self._response_body = BodyReader(exchange, exchange.response, framing, self._context.budget)
        self._response_state = _BODY
        self._not_a_tunnel(exchange)
        return end

    def _response_in_body(self, data: bytes, position: int) -> int:
        exchange = self._waiting[0]
        body = self._response_body
        assert body is not None
        try:
            stop = body.feed(data, position)
        except Unframeable as reason:
            self._response_opaque(exchange, str(reason), data if position == 0 else data[position:])
            return len(data)
        exchange.response_bytes += stop - position
        if body.done:
            self._response_ended(exchange)
        return stop

    def _response_ended(self, exchange: Exchange) -> None:
        if self._response_body is not None:
            exchange.response_cut = self._response_body.finish()
            self._response_body = None
        self._response_state = _START
        exchange.end_ns = self._now_ns() - exchange.start_ns
        self._waiting.popleft()
        self._methods.popleft()
        if exchange is self._sending:
            exchange.reason = "answered before its request ended"
            if not self._context.answer_first:
                return
            self._cut_request(exchange)
            self._sending = None
            if self._request_body is not None:
                self._request_body.muted = True
        self._finish(exchange)

    def _not_a_tunnel(self, exchange: Exchange) -> None:
        """The final answer was not an upgrade: what the client sent since is ordinary HTTP."""
        if self._tunnel is not exchange:
            return
        self._tunnel = None
        if self._request_state == _STASH:
            self._request_state = _START
            stash, self._stash = self._stash, []
            for piece in stash:
                # Not a subclass's shortcut: response bytes may follow in the chunk now being read.
                ConnectionObserver.request_data(self, piece)

    def _upgraded(self, exchange: Exchange) -> None:
        exchange.outcome = Outcome.UPGRADED
        exchange.request_bytes += sum(map(len, self._stash))
        self._stash = []
        self._raw = exchange
        self._request_state = self._response_state = _RAW

    def _response_opaque(self, exchange: Exchange, reason: str, piece: bytes = b"") -> None:
        """From this exchange on, nothing on the connection is framed."""
        if exchange.outcome != Outcome.OPAQUE:
            exchange.outcome = Outcome.OPAQUE
            exchange.reason = reason
        self._raw = exchange
        self._response_head.clear()
        self._request_state = self._response_state = _RAW
        stash, self._stash = self._stash, []
        for held in stash:
            self._request_unframed(_RAW, held)
        if piece:
            self._response_unframed(piece)

    def _response_unframed(self, piece: bytes) -> None:
        exchange = self._raw
        if exchange is None:
            return
        exchange.response_bytes += len(piece)
        if exchange.outcome == Outcome.OPAQUE:
            self._keep_prefix(exchange, exchange.response, exchange.response_bytes - len(piece), piece)

    def _unasked(self, piece: bytes) -> None:
        """Response bytes with no request before them, such as a 408 on an idle connection."""
        context = self._context
        exchange = Exchange(
            context.route, self._connection, self._client, context.clock.wall_us(), self._now_ns()
        )
        exchange.epoch = context.epoch
        exchange.first_byte_ns = 0
        context.slots[context.base + Route.STARTED] += 1
        exchange.recorded = context.slots[Global.MODE] == Mode.RECORD
        self._waiting.append(exchange)
        self._response_opaque(exchange, "response without a request", piece)

    # Ends

    def closed(self, outcome: Outcome, reason: str) -> None:
        """The connection is over; everything still open ends with `outcome`."""
        last = self._sending
        for exchange in list(self._waiting):
            if exchange.outcome == Outcome.COMPLETE:
                exchange.outcome = Outcome.OPAQUE if self._raw is not None else outcome
                exchange.reason = "behind unframed traffic" if self._raw is not None else reason
            self._abandon(exchange)
        if last is not None and last.end_ns != NEVER and last is self._sending:
            self._cut_request(last)
            self._sending = None
            self._finish(last)

    def fail(self, reason: str) -> None:
        """Observation itself failed: what is open ends as opaque, with that reason."""
        for exchange in self._waiting:
            exchange.outcome = Outcome.OPAQUE
            exchange.reason = reason
        self.closed(Outcome.OPAQUE, reason)

    def answered_by_recorder(self, response: bytes, outcome: Outcome, reason: str) -> None:
        """The recorder itself answered the oldest open exchange, and the connection ends with that."""
        if self._waiting:
            exchange = self._waiting[0]
            exchange.first_byte_ns = self._now_ns() - exchange.start_ns
            exchange.response_bytes += len(response)
            exchange.outcome = outcome
            exchange.reason = reason
            self._keep(exchange, exchange.response, response)
        self.closed(outcome, reason)

    def _abandon(self, exchange: Exchange) -> None:
        """End an exchange whose response did not end as framed."""
        self._waiting.remove(exchange)
        if self._methods:
            self._methods.popleft()
        if exchange is self._sending:
            self._cut_request(exchange)
            self._sending = None
            # The rest of this request may still come; it belongs to no record.
            if self._request_body is not None:
                self._request_body.muted = True
            elif self._request_state == _HEAD:
                self._request_state = _RAW
        if self._response_body is not None:
            exchange.response_cut = self._response_body.finish()
            self._response_body = None
        exchange.end_ns = self._now_ns() - exchange.start_ns
        self._finish(exchange)

    def _cut_request(self, exchange: Exchange) -> None:
        if self._request_body is not None:
            exchange.request_cut = self._request_body.finish()

    def _finish(self, exchange: Exchange) -> None:
        context = self._context
        slots = context.slots
        base = context.base
        slots[base + Route.REQUEST_BYTES] += exchange.request_bytes
        slots[base + Route.RESPONSE_BYTES] += exchange.response_bytes
        context.budget.held -= exchange.held_bytes
        if not exchange.recorded:
            slots[base + Route.SPLICED] += 1
            context.shed(context.route, "splice_only", exchange.t_request_us)
            return
        if exchange.request_cut is not None or exchange.response_cut is not None:
            slots[base + Route.CUT] += 1
        self._end(exchange)

    def _keep(self, exchange: Exchange, chunks: list[bytes], data: bytes) -> None:
        if exchange.recorded:
            chunks.append(data)
            exchange.held_bytes += len(data)
            self._context.budget.held += len(data)

    def _keep_prefix(self, exchange: Exchange, chunks: list[bytes], before: int, piece: bytes) -> None:
        if before < PREFIX_BYTES:
            self._keep(exchange, chunks, piece[: PREFIX_BYTES - before])
