"""Raw bytes of an exchange → its two messages, quickly where heads repeat."""

from __future__ import annotations

from typing import Any

from sidecar.proxy.message import split_request, split_response
from sidecar.records import Exchange, Message, Outcome

HEADS_KEPT = 512
HEAD_BYTES_KEPT = 2_048


class Splitter:
    """Takes stored exchanges apart, fast for heads that were seen before.

    How long a body is follows from its head alone (for a response, also from
    the method). So a head that once framed a whole plain body does so again
    if as many bytes follow; everything else goes the long way. Equal heads are
    then also one object, in memory and for the Parquet writer.
    """

    def __init__(self) -> None:
        self._requests: dict[bytes, tuple[bytes, int, bytes]] = {}
        self._responses: dict[tuple[bytes, bytes], tuple[bytes, int]] = {}

    def split(self, exchange: Exchange) -> tuple[Message, Message]:
        """Request and response of an exchange, opaque bytes as bodies without heads."""
        raw_request, raw_response = b"".join(exchange.request), b"".join(exchange.response)
        if exchange.outcome == Outcome.OPAQUE:
            return _whole(raw_request, exchange.request_bytes), _whole(raw_response, exchange.response_bytes)
        end = raw_request.find(b"\r\n\r\n") + 4
        seen = self._requests.get(raw_request[:end])
        if seen is not None and seen[1] == len(raw_request) - end:
            method = seen[2]
            request = Message(seen[0], raw_request[end:], b"", b"", seen[1])
        else:
            request = split_request(raw_request, exchange.request_cut)
            method = raw_request[: raw_request.find(b" ")] if request.head else b""
            if _plain(request, end, raw_request):
                _remember(self._requests, request.head, (request.head, request.length, method))
        end = raw_response.find(b"\r\n\r\n") + 4
        framed = self._responses.get((method, raw_response[:end]))
        if framed is not None and framed[1] == len(raw_response) - end:
            return request, Message(framed[0], raw_response[end:], b"", b"", framed[1])
        ended = exchange.outcome == Outcome.COMPLETE
        response = split_response(raw_response, method, exchange.response_cut, ended)
        if _plain(response, end, raw_response) and b"content-length" in response.head.lower():
            _remember(self._responses, (method, response.head), (response.head, response.length))
        return request, response


def _plain(message: Message, end: int, raw: bytes) -> bool:
    """Whether the message is one small head and the rest of the bytes, whole."""
    return (
        message.complete
        and message.sha256 is None
        and 0 < end == len(message.head) <= HEAD_BYTES_KEPT
        and message.length == len(message.body) == len(raw) - end
    )


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    if len(known) >= HEADS_KEPT:
        known.clear()
    known[key] = value


def _whole(raw: bytes, length: int) -> Message:
    return Message(b"", raw, length=max(length, len(raw)), complete=len(raw) >= length)
