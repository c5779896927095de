"""The upstream's bytes: where each response begins and ends, and which exchange it belongs to."""

from __future__ import annotations

from sidecar.proxy.capture import BodyReader
from sidecar.proxy.framing import INTERIM, MAX_HEAD_BYTES, TUNNEL, UNTIL_EOF, Unframeable, frame_response
from sidecar.proxy.open_exchanges import BODY, RAW, START
from sidecar.proxy.unframed import Unframed
from sidecar.records import NEVER, Exchange, Outcome


class ResponseSide(Unframed):
    """Frames responses and ends the exchange of each."""

    __slots__ = ()

    def response_data(self, data: bytes) -> None:
        """Upstream bytes, in order."""
        position = 0
        size = len(data)
        while position < size:
            state = self._response_state
            if state == BODY:
                position = self._response_in_body(data, position)
            elif state == RAW:
                self._response_unframed(data if position == 0 else data[position:])
                return
            else:
                position = self._response_head_data(data, position)

    def response_eof(self) -> None:
        """The upstream will send no more: an EOF-delimited body is whole, everything else is cut off."""
        if self._response_state == BODY and self._until_eof:
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
        if framing >= 0 and stop <= len(data) and self._context.budget.fits(framing):
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
            self.waits_from_now()
            return end
        if framing == TUNNEL:
            self._upgraded(exchange)
            return end
        self._response_body = BodyReader(exchange, exchange.response, framing, self._context.budget)
        self._response_state = BODY
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
        self._response_state = START
        self._waits_ns = now_ns = self._now_ns()
        exchange.end_ns = now_ns - exchange.start_ns
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
