"""The client's bytes: where each request begins and ends."""

from __future__ import annotations

from typing import Final

from sidecar.counters import Global, Mode, Route
from sidecar.proxy.capture import BodyReader
from sidecar.proxy.framing import MAX_HEAD_BYTES, Unframeable, frame_request, not_http
from sidecar.proxy.open_exchanges import BODY, HEAD, RAW, START, STASH
from sidecar.proxy.unframed import Unframed
from sidecar.records import NEVER, Exchange

MAX_OPEN: Final = 1000
"""Requests of one connection that wait for their answers; a client that pipelines more is not followed."""


class RequestSide(Unframed):
    """Frames requests and opens an exchange for each."""

    __slots__ = ()

    def request_data(self, data: bytes) -> None:
        """Client bytes that were, or will at once be, forwarded."""
        position = 0
        size = len(data)
        while position < size:
            state = self._request_state
            if state == START:
                position = self._request_start(data, position)
            elif state == BODY:
                position = self._request_in_body(data, position)
            elif state == HEAD:
                position = self._request_in_head(data, position)
            else:
                self._request_unframed(state, data if position == 0 else data[position:])
                return

    def request_rest(self, data: bytes) -> int:
        """Client bytes that belong to a request already begun; returns where a new one would begin."""
        position = 0
        while position < len(data) and self._request_state != START:
            if self._request_state == BODY:
                position = self._request_in_body(data, position)
            elif self._request_state == HEAD:
                position = self._request_in_head(data, position)
            else:
                self._request_unframed(self._request_state, data[position:])
                return len(data)
        return position

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
        slots = context.slots
        slots[context.base + Route.STARTED] += 1
        if slots[Global.MODE] != Mode.RECORD:
            exchange.recorded = False
        self._waiting.append(exchange)
        self._sending = exchange
        if len(self._waiting) > MAX_OPEN:
            taken = len(data) - len(piece)
            return taken + self._request_opaque(
                exchange, piece, 0, f"over {MAX_OPEN} requests without an answer"
            )
        end = piece.find(b"\r\n\r\n") + 4
        if end == 3:
            self._request_state = HEAD
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
        if not self._context.budget.has_room(len(data) - position):
            return self._request_opaque(exchange, data, position, "capture memory has no room for its head")
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
        self._request_state = BODY
        return end

    def _request_in_body(self, data: bytes, position: int) -> int:
        exchange = self._sending
        body = self._request_body
        assert body is not None
        if exchange is None:  # ended with its answer (answer_first): find the next request only
            stop = self._skip_body(body, data, position)
            if body.done:
                self._request_body = None
                self._request_state = START
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
            self._request_state = RAW
            return len(data)

    def _request_ended(self, exchange: Exchange) -> None:
        exchange.request_end_ns = self._now_ns() - exchange.start_ns
        self._sending = None
        self._request_state = STASH if self._tunnel is exchange else START
        if exchange.end_ns != NEVER:  # it was answered before it was fully asked
            exchange.end_ns = exchange.request_end_ns
            self._finish(exchange)
