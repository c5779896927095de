"""The exchanges that are open on one connection: begun, paired in order, ended, and what is kept of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from sidecar.counters import Route
from sidecar.proxy.capture import COALESCED_BYTES, PREFIX_BYTES, BodyReader
from sidecar.proxy.framing import may_be_head
from sidecar.proxy.route_context import RouteContext
from sidecar.records import NEVER, Exchange, Outcome

START, HEAD, BODY, STASH, RAW = range(5)
"""States of one direction: between messages, inside a head, inside a body, waiting
for the verdict on an upgrade (requests only), and no longer framed."""

REMEMBERED: Final = 16
"""Ended exchanges of a connection that a failed delivery can still be told of."""


class OpenExchanges:
    """State that both directions of a connection share; knows nothing of the bytes' meaning."""

    __slots__ = (
        "_client",
        "_connection",
        "_context",
        "_end",
        "_ended",
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
        "_waits_ns",
        "epoch",
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
        self._ended: list[tuple[int, int]] = []
        """Number (0 unless complete) and response bytes of the last exchanges that ended."""
        self._now_ns = context.clock.monotonic_ns
        self._request_state = START
        self._response_state = START
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
        self.epoch = context.epoch
        """Of the model at the other end of the upstream connection; one connection leads to one model."""
        self._waits_ns = 0
        """No wait for the upstream is counted from before this moment of the monotonic clock."""

    # What the splice may ask

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

    @property
    def bodiless(self) -> bool:
        """An answer to the oldest open request must have no body, as far as is known of it."""
        return self._methods[0] == b"HEAD" if self._methods else may_be_head(self._request_head)

    def silent_since_ns(self) -> int | None:
        """When the upstream was last heard of while it owes the oldest, whole request its final response.

        None while it owes none, or is sending one.
        """
        if not self._waiting or self._raw is not None:
            return None
        first = self._waiting[0]
        if self._response_state != START or self._response_head or first.request_end_ns == NEVER:
            return None
        return max(first.start_ns + first.request_end_ns, self._waits_ns)

    def waits_from_now(self) -> None:
        """The upstream could not be heard until now: count its silence from here on."""
        self._waits_ns = self._now_ns()

    def undelivered(self, missing_bytes: int) -> list[int]:
        """Numbers of the complete exchanges that the last so many response bytes belong to."""
        missing_bytes -= sum(each.response_bytes for each in self._waiting)
        found = []
        for seq, size in reversed(self._ended):
            if missing_bytes <= 0:
                break
            if seq:
                found.append(seq)
            missing_bytes -= size
        return found

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
            elif self._request_state == HEAD:
                self._request_state = RAW
        if self._response_body is not None:
            exchange.response_cut = self._response_body.finish()
            self._response_body = None
        exchange.end_ns = self._now_ns() - exchange.start_ns
        self._finish(exchange)

    def _cut_request(self, exchange: Exchange) -> None:
        if self._request_body is not None:
            exchange.request_cut = self._request_body.finish()

    def _finish(self, exchange: Exchange) -> None:
        exchange.epoch = self.epoch
        context = self._context
        slots = context.slots
        base = context.base
        slots[base + Route.REQUEST_BYTES] += exchange.request_bytes
        slots[base + Route.RESPONSE_BYTES] += exchange.response_bytes
        if exchange.outcome == Outcome.OPAQUE or exchange.outcome == Outcome.UPGRADED:
            slots[base + Route.OPAQUE_ENDED_BYTES] += exchange.request_bytes + exchange.response_bytes
        context.budget.held -= exchange.held_bytes
        if not exchange.recorded:
            slots[base + Route.SPLICED] += 1
            context.shed(context.route, "splice_only", exchange.t_request_us)
            return
        if exchange.request_cut is not None or exchange.response_cut is not None:
            slots[base + Route.CUT] += 1
        self._end(exchange)
        self._ended.append(
            (exchange.seq if exchange.outcome == Outcome.COMPLETE else 0, exchange.response_bytes)
        )
        if len(self._ended) > 2 * REMEMBERED:
            del self._ended[:-REMEMBERED]

    # What is kept

    def _keep(self, exchange: Exchange, chunks: list[bytes], data: bytes) -> None:
        if exchange.recorded:
            if chunks and len(chunks[-1]) + len(data) <= COALESCED_BYTES:
                chunks[-1] += data
            else:
                chunks.append(data)
            exchange.held_bytes += len(data)
            self._context.budget.held += len(data)

    def _keep_prefix(self, exchange: Exchange, chunks: list[bytes], before: int, piece: bytes) -> None:
        if before < PREFIX_BYTES and self._context.budget.has_room(len(piece)):
            self._keep(exchange, chunks, piece[: PREFIX_BYTES - before])
