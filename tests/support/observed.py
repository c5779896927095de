"""Two byte streams shown to an observer, cut as a test likes, and what it made of them."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.clock import Clock, ManualClock
from sidecar.counters import Global, Mode, Route
from sidecar.proxy.capture import CaptureBudget
from sidecar.proxy.observer import ConnectionObserver
from sidecar.proxy.quick import QuickObserver
from sidecar.proxy.route_context import RouteContext
from sidecar.records import Cut, Exchange, Outcome

BASE = 64
ROUTE = "default"

Side = str  # asks, answers, asks_eof, answers_eof or closes
Step = tuple[Side, bytes]
Dialogue = Sequence[Step]
"""What a connection carries, in order: client bytes, upstream bytes, either side's FIN, and the end."""


class Seen(NamedTuple):
    """An exchange, as a value that can be compared."""

    outcome: Outcome
    reason: str
    request: bytes
    response: bytes
    request_bytes: int
    response_bytes: int
    request_cut: Cut | None = None
    response_cut: Cut | None = None
    times: tuple[int, int, int, int] = (0, 0, 0, 0)


def seen(exchange: Exchange) -> Seen:
    return Seen(
        Outcome(exchange.outcome),
        exchange.reason,
        b"".join(exchange.request),
        b"".join(exchange.response),
        exchange.request_bytes,
        exchange.response_bytes,
        exchange.request_cut,
        exchange.response_cut,
        (exchange.t_request_us, exchange.request_end_ns, exchange.first_byte_ns, exchange.end_ns),
    )


@dataclass
class Route1:
    """One route's shared state, with everything that ended on it."""

    memory_limit: int = 64 << 20
    body_limit: int = 8 << 20
    answer_first: bool = False
    clock: Clock = field(default_factory=ManualClock)
    ended: list[Exchange] = field(default_factory=list)
    sheds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots = memoryview(bytearray(8 * 128)).cast("Q")
        self.budget = CaptureBudget(self.memory_limit, self.body_limit)
        self.context = RouteContext(
            ROUTE,
            self.clock,
            self.slots,
            BASE,
            self.budget,
            self.ended.append,
            lambda route, reason, t_us: self.sheds.append(reason),
            answer_first=self.answer_first,
        )
        self.context.epoch = 3

    @property
    def started(self) -> int:
        return int(self.slots[BASE + Route.STARTED])

    def mode(self, mode: Mode) -> None:
        self.slots[Global.MODE] = mode

    def connection(
        self, quick: bool = False, number: int = 7, client: str = "client:1"
    ) -> ConnectionObserver:
        if quick:
            return QuickObserver(self.context, number, client, self._whole)
        return ConnectionObserver(self.context, number, client)

    def _whole(
        self,
        connection: int,
        client: str,
        epoch: int,
        t_us: int,
        request_end_ns: int,
        first_byte_ns: int,
        end_ns: int,
        request: bytes,
        response: bytes,
    ) -> int:
        exchange = Exchange(ROUTE, connection, client, t_us, 0)
        exchange.epoch = epoch
        exchange.request_end_ns = request_end_ns
        exchange.first_byte_ns = first_byte_ns
        exchange.end_ns = end_ns
        exchange.request, exchange.response = [request], [response]
        exchange.request_bytes, exchange.response_bytes = len(request), len(response)
        self.slots[BASE + Route.REQUEST_BYTES] += len(request)
        self.slots[BASE + Route.RESPONSE_BYTES] += len(response)
        self.ended.append(exchange)
        exchange.seq = len(self.ended) + len(self.sheds)
        return exchange.seq


def show(observer: ConnectionObserver, dialogue: Iterable[Step], clock: Clock | None = None) -> None:
    """Play a dialogue; a manual clock moves by a millisecond before every step."""
    for side, data in dialogue:
        if isinstance(clock, ManualClock):
            clock.advance(0.001)
        if side == "asks":
            observer.request_data(data)
        elif side == "answers":
            observer.response_data(data)
        elif side == "asks_eof":
            observer.request_eof()
        elif side == "answers_eof":
            observer.response_eof()
        else:
            observer.closed(Outcome.CLIENT_ABORT, "client closed its connection")


def observe(dialogue: Iterable[Step], quick: bool = False, route: Route1 | None = None) -> list[Seen]:
    """The exchanges of one connection, in the order they ended; checks that no capture memory leaks."""
    route = route or Route1()
    show(route.connection(quick), [*dialogue, ("closes", b"")], route.clock)
    assert route.budget.held == 0
    assert route.started == len(route.ended) + len(route.sheds)
    assert route.slots[BASE + Route.REQUEST_BYTES] == sum(each.request_bytes for each in route.ended)
    assert route.slots[BASE + Route.RESPONSE_BYTES] == sum(each.response_bytes for each in route.ended)
    return [seen(exchange) for exchange in route.ended]


def timeless(exchanges: Iterable[Seen]) -> list[Seen]:
    """The same without times and reasons, which may depend on how the bytes were cut."""
    return [each._replace(times=(0, 0, 0, 0), reason="") for each in exchanges]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at the places that lie inside it."""
    edges = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if b > a]


def recut(dialogue: Dialogue, chance: random.Random, pieces: int) -> list[Step]:
    """The same dialogue with each stretch of bytes cut at up to `pieces` random places."""
    result: list[Step] = []
    for side, data in dialogue:
        if not data:
            result.append((side, data))
            continue
        places = [chance.randrange(len(data)) for _ in range(chance.randint(0, pieces))]
        result += [(side, piece) for piece in cut(data, places)]
    return result


def chunked(payload: bytes, sizes: Iterable[int], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """`payload` in the chunked coding; what `sizes` do not cover is one last chunk."""
    wire, at = b"", 0
    for size in [*sizes, len(payload)]:
        piece = payload[at : at + size]
        at += len(piece)
        if piece:
            wire += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
    return wire + b"0" + extension + b"\r\n" + trailers + b"\r\n"


def digest(payload: bytes) -> Cut:
    return Cut(len(payload), hashlib.sha256(payload).digest())
