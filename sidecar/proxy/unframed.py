"""Bytes that are no longer framed: opaque connections, tunnels, and the stash until it is known which."""

from __future__ import annotations

from typing import Final

from sidecar.counters import Global, Mode, Route
from sidecar.proxy.capture import COALESCED_BYTES
from sidecar.proxy.framing import HTTP2, TLS
from sidecar.proxy.open_exchanges import RAW, STASH, OpenExchanges
from sidecar.records import NEVER, Exchange, Outcome

STASH_BYTES: Final = 64 * 1024
"""Client bytes kept while it is open whether a connection turns into a tunnel."""
_COUNTED: Final = {TLS: Route.OPAQUE_TLS, HTTP2: Route.OPAQUE_HTTP2}


class Unframed(OpenExchanges):
    """How a connection leaves HTTP behind, and what is counted and kept of it from there on."""

    __slots__ = ()

    def _request_opaque(self, exchange: Exchange, data: bytes, position: int, reason: str) -> int:
        """From this exchange on, nothing the client sends is framed."""
        self._sending = None
        self._request_head.clear()
        self._request_state = RAW
        exchange.outcome = Outcome.OPAQUE
        exchange.reason = reason
        if (slot := _COUNTED.get(reason)) is not None:
            self._context.slots[self._context.base + slot] += 1
        self._raw = exchange
        if exchange.end_ns != NEVER:
            self._waiting.append(exchange)  # already answered, but its connection is not over
            exchange.end_ns = NEVER
        self._request_unframed(RAW, data if position == 0 else data[position:])
        return len(data)

    def _request_unframed(self, state: int, piece: bytes) -> None:
        if state == STASH:
            self._stash.append(piece)
            if len(self._stash) > 1 and len(self._stash[-2]) + len(piece) <= COALESCED_BYTES:
                self._stash[-2:] = [self._stash[-2] + piece]
            if sum(map(len, self._stash)) > STASH_BYTES and self._tunnel is not None:
                self._response_opaque(self._tunnel, "client sent on before its upgrade was answered")
            return
        exchange = self._raw
        if exchange is None:
            return
        exchange.request_bytes += len(piece)
        self._context.slots[self._context.base + Route.OPAQUE_BYTES] += len(piece)
        if exchange.outcome == Outcome.OPAQUE:
            self._keep_prefix(exchange, exchange.request, exchange.request_bytes - len(piece), piece)

    def _response_opaque(self, exchange: Exchange, reason: str, piece: bytes = b"") -> None:
        """From this exchange on, nothing on the connection is framed."""
        if exchange.outcome != Outcome.OPAQUE:
            exchange.outcome = Outcome.OPAQUE
            exchange.reason = reason
        self._raw = exchange
        self._response_head.clear()
        self._request_state = self._response_state = RAW
        stash, self._stash = self._stash, []
        for held in stash:
            self._request_unframed(RAW, held)
        if piece:
            self._response_unframed(piece)

    def _response_unframed(self, piece: bytes) -> None:
        exchange = self._raw
        if exchange is None:
            return
        exchange.response_bytes += len(piece)
        self._context.slots[self._context.base + Route.OPAQUE_BYTES] += len(piece)
        if exchange.outcome == Outcome.OPAQUE:
            self._keep_prefix(exchange, exchange.response, exchange.response_bytes - len(piece), piece)

    def _unasked(self, piece: bytes) -> None:
        """Response bytes with no request before them, such as a 408 on an idle connection."""
        context = self._context
        exchange = Exchange(
            context.route, self._connection, self._client, context.clock.wall_us(), self._now_ns()
        )
        exchange.first_byte_ns = 0
        context.slots[context.base + Route.STARTED] += 1
        exchange.recorded = context.slots[Global.MODE] == Mode.RECORD
        self._waiting.append(exchange)
        self._response_opaque(exchange, "response without a request", piece)

    def _not_a_tunnel(self, exchange: Exchange) -> None:
        """The final answer was no upgrade; only the two sides together know how to go on."""
        raise NotImplementedError

    def _upgraded(self, exchange: Exchange) -> None:
        exchange.outcome = Outcome.UPGRADED
        exchange.request_bytes += sum(map(len, self._stash))
        self._stash = []
        self._raw = exchange
        self._request_state = self._response_state = RAW
