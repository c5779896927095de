"""The common case at C speed: one chunk is one whole request, one chunk its whole answer.

httptools (llhttp) says whether a chunk is exactly one message; nothing is parsed
in Python and no `Exchange` is built. It cannot be told that a response has no
body, gives no offsets and never ends EOF-delimited bodies, so anything but a
200 to GET, POST or PUT, and any chunk that is not one whole message, goes to the
full observer, which takes over in the state it would have reached by itself.
What llhttp reads more leniently than our own framing goes there too, so that
both give the same exchanges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import httptools

from sidecar.counters import Global, Route
from sidecar.proxy.chunked import MAX_LINE_BYTES
from sidecar.proxy.framing import frame_request
from sidecar.proxy.observer import ConnectionObserver
from sidecar.proxy.open_exchanges import STASH
from sidecar.proxy.route_context import RouteContext
from sidecar.records import Exchange, Outcome

_REQUEST: Final = (b"POST /", b"GET /", b"PUT /")
_VERSION: Final = b" HTTP/1.1"
_RESPONSE: Final = b"HTTP/1.1 200 OK\r\n"
_LF: Final = 10
_MODE: Final = int(Global.MODE)  # an enum member is slow as an index
_ONE_WHOLE: Final = 257
REMEMBERED_HEAD_BYTES: Final = 4096
MAX_MISSES: Final = 3
"""Chunks in a row that were not one message before a connection's direction stops trying."""

EndWhole = Callable[[int, str, int, int, int, int, int, bytes, bytes], int]
"""Takes connection, client, epoch, t_request_us, request_end_ns, first_byte_ns, end_ns, request, response;
returns the number that the record got, 0 if there is none."""


class QuickObserver(ConnectionObserver):
    """A ConnectionObserver that recognises whole messages first."""

    __slots__ = (
        "_budget",
        "_end_whole",
        "_known_request",
        "_known_response",
        "_last",
        "_phase",
        "_quick_request",
        "_recorded",
        "_request_misses",
        "_request_parser",
        "_request_size",
        "_response_misses",
        "_response_parser",
        "_response_size",
        "_slots",
        "_started",
        "_started_ns",
        "_started_us",
        "_wall_us",
    )

    def __init__(self, context: RouteContext, connection: int, client: str, end_whole: EndWhole) -> None:
        super().__init__(context, connection, client)
        self._end_whole = end_whole
        self._wall_us = context.clock.wall_us
        self._quick_request: bytes | None = None
        self._request_parser: httptools.HttpRequestParser | None = None
        self._response_parser: httptools.HttpResponseParser | None = None
        self._request_misses = self._response_misses = 0
        self._phase = 0
        """Messages that llhttp saw begin in this chunk, and 256 times those it saw end."""
        self._budget = context.budget
        self._slots = context.slots
        self._started = int(context.base + Route.STARTED)
        self._started_us = self._started_ns = 0
        self._recorded = True
        self._last = 0
        """Number of the last exchange that ended here, 0 if it left no record."""
        self._known_request = self._known_response = b""
        self._request_size = self._response_size = -1
        """The last head that was accepted, and its message's size: the same again needs no parsing."""

    # llhttp calls these two, for either parser

    def on_message_begin(self) -> None:
        self._phase += 1

    def on_message_complete(self) -> None:
        self._phase += 256

    def request_data(self, data: bytes) -> None:
        budget = self._budget
        if (
            self._quick_request is None
            and self._request_state == 0
            and not self._waiting
            and self._request_misses < MAX_MISSES
            and ((size := len(data)) <= budget.always or budget.fits(size))
        ):
            if (size == self._request_size and data.startswith(self._known_request)) or self._parse_request(
                data
            ):
                slots = self._slots
                self._started_us = self._wall_us()
                self._started_ns = self._now_ns()
                slots[self._started] += 1
                self._quick_request = data
                if slots[_MODE]:
                    self._recorded = False
                else:
                    self._recorded = True
                    budget.held += size
                return
        elif self._quick_request is not None:
            self._settle()
        super().request_data(data)

    def _parse_request(self, data: bytes) -> bool:
        """Whether the chunk is exactly one request, as llhttp and our own framing agree."""
        if not data.startswith(_REQUEST) or data[(end := data.find(b"\r\n")) - 9 : end] != _VERSION:
            return False
        parser = self._request_parser
        if parser is None:
            parser = self._request_parser = httptools.HttpRequestParser(self)
        whole = self._feeds_one(parser, data)
        if whole:
            self._known_request, self._request_size = _remembered(data)
        else:
            self._request_parser = None  # it is somewhere inside a message
            self._request_misses += 1
        return whole

    def response_data(self, data: bytes) -> None:
        request = self._quick_request
        if request is None:
            super().response_data(data)
            return
        if (
            (size := len(data)) == self._response_size and data.startswith(self._known_response)
        ) or self._parse_response(data):
            self._quick_request = None
            self._request_misses = self._response_misses = 0
            end_ns = self._now_ns() - self._started_ns
            if self._recorded:
                self._budget.held -= len(request)
                self._last = self._end_whole(
                    self._connection,
                    self._client,
                    self.epoch,
                    self._started_us,
                    0,
                    end_ns,
                    end_ns,
                    request,
                    data,
                )
            else:
                self._count_spliced(len(request), size)
            return
        self._settle()
        super().response_data(data)

    def _parse_response(self, data: bytes) -> bool:
        """Whether the chunk is exactly one 200 answer."""
        if (
            not data.startswith(_RESPONSE)
            or self._response_misses >= MAX_MISSES
            or len(data) > self._budget.body_limit
        ):
            return False
        parser = self._response_parser
        if parser is None:
            parser = self._response_parser = httptools.HttpResponseParser(self)
        whole = self._feeds_one(parser, data)
        if whole:
            self._known_response, self._response_size = _remembered(data)
        else:
            self._response_parser = None
            self._response_misses += 1
        return whole

    def _feeds_one(
        self, parser: httptools.HttpRequestParser | httptools.HttpResponseParser, data: bytes
    ) -> bool:
        self._phase = 0
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        return self._phase == _ONE_WHOLE and (data[-1] != _LF or _exact(data))

    def _count_spliced(self, request_bytes: int, response_bytes: int) -> None:
        """An exchange that passed while recording was switched off."""
        context, slots = self._context, self._slots
        slots[context.base + Route.REQUEST_BYTES] += request_bytes
        slots[context.base + Route.RESPONSE_BYTES] += response_bytes
        slots[context.base + Route.SPLICED] += 1
        context.shed(context.route, "splice_only", self._started_us)

    def _settle(self) -> None:
        """Hand a pending quick request over to the full observer."""
        request = self._quick_request
        if request is None:
            return
        self._quick_request = None
        context = self._context
        exchange = Exchange(context.route, self._connection, self._client, self._started_us, self._started_ns)
        exchange.request_bytes = len(request)
        exchange.recorded = self._recorded
        if self._recorded:
            exchange.request.append(request)
            exchange.held_bytes = len(request)
        exchange.request_end_ns = 0
        self._waiting.append(exchange)
        method, _, may_tunnel = frame_request(request[: request.find(b"\r\n\r\n") + 4])
        self._methods.append(method)
        if may_tunnel:
            self._tunnel = exchange
            self._request_state = STASH

    # The same questions, with a pending quick request in mind

    @property
    def idle(self) -> bool:
        return self._quick_request is None and super().idle

    @property
    def bodiless(self) -> bool:
        return self._quick_request is None and super().bodiless

    def silent_since_ns(self) -> int | None:
        if self._quick_request is not None:
            return max(self._started_ns, self._waits_ns)
        return super().silent_since_ns()

    def undelivered(self, missing_bytes: int) -> list[int]:
        """Of the exchanges that ended on the short way, the last alone is remembered."""
        if not self._last or (self._ended and self._ended[-1][0] > self._last):
            return super().undelivered(missing_bytes)
        return [self._last] if missing_bytes > sum(each.response_bytes for each in self._waiting) else []

    def response_eof(self) -> None:
        self._settle()
        super().response_eof()

    def answered_by_recorder(self, response: bytes, outcome: Outcome, reason: str) -> None:
        self._settle()
        super().answered_by_recorder(response, outcome, reason)

    def closed(self, outcome: Outcome, reason: str) -> None:
        self._settle()
        super().closed(outcome, reason)


def _exact(data: bytes) -> bool:
    """Whether a message that ends with LF, whole to llhttp, is nothing but itself.

    llhttp skips line ends after a message, and takes transfer codings that our framing does not.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end == len(data):
        return True
    head = data[:end].lower()
    if b"\r\ntransfer-encoding" not in head:
        return b"\r\ncontent-length: %d\r\n" % (len(data) - end) in head
    return (
        len(data) <= MAX_LINE_BYTES
        and data.endswith(b"\r\n0\r\n\r\n")
        and b"\r\ntransfer-encoding: chunked\r\n" in head
        and head.count(b"\r\ntransfer-encoding") == 1
    )


def _remembered(message: bytes) -> tuple[bytes, int]:
    """Head and size of a whole message whose head alone decides its size; a size of -1 if it does not."""
    head = message[: message.find(b"\r\n\r\n") + 4]
    if len(head) > REMEMBERED_HEAD_BYTES or b"\r\ntransfer-encoding" in head.lower():
        return b"", -1
    return head, len(message)
