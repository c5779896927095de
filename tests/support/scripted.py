"""A client and an upstream that do byte for byte what a test says, with a recorder in between or not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from sidecar.clock import SystemClock
from sidecar.counters import Global, Route
from sidecar.proxy.observer import ConnectionObserver
from sidecar.proxy.splice import Client, SpliceSettings
from sidecar.records import Delivery, Exchange
from tests.support.observed import BASE, ROUTE, Dialogue, Route1, Seen, cut, seen

PATIENCE_S = 30.0
"""How long a test waits for what must happen: generous, since it only ever runs out on failure."""
End = Literal["FIN", "RST"]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the loop brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


class Wire:
    """One end of a TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.received = bytearray()
        self.end: End | None = None
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._loop.sock_sendall(self.socket, data)

    async def receive(self, limit: int = 1 << 18) -> bytes:
        """The next bytes, empty at the end of either kind."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                data = await self._loop.sock_recv(self.socket, limit)
        except ConnectionError:
            self.end = "RST"
            return b""
        if not data:
            self.end = "FIN"
        return data

    async def expect(self, data: bytes) -> None:
        """Wait for exactly these next bytes."""
        got = b""
        while len(got) < len(data) and (piece := await self.receive(len(data) - len(got))):
            got += piece
            self.received += piece
        assert got == data, self.end

    async def ends(self) -> End:
        """Read to the end and tell its kind."""
        while piece := await self.receive():
            self.received += piece
        assert self.end is not None
        return self.end

    def fin(self) -> None:
        """Send no more; harmless when both sides have said so already."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class Upstream:
    """A listening socket whose connections are accepted when the test says so."""

    def __init__(self, backlog: int = 512) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(backlog)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self.wires: list[Wire] = []

    async def accept(self) -> Wire:
        async with asyncio.timeout(PATIENCE_S):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        self.wires.append(Wire(sock))
        return self.wires[-1]

    def nobody_came(self) -> bool:
        """Whether no connection waits to be accepted."""
        try:
            sock, _ = self.socket.accept()
        except BlockingIOError:
            return True
        sock.close()
        return False

    def close(self) -> None:
        self.socket.close()
        for wire in self.wires:
            wire.close()


class RecordingJournal:
    """Stands at the JournalPort seam: keeps what it is given and commits when told."""

    def __init__(self) -> None:
        self.accepting = True
        self.exchanges: list[Exchange] = []
        self.sheds: list[str] = []
        self.deliveries: list[Delivery] = []
        self.waiting: list[Callable[[bool], None]] = []
        self.broken: Exception | None = None
        """Raised by the next append."""

    def append(self, exchange: Exchange, on_durable: Callable[[bool], None] | None = None) -> None:
        if self.broken is not None:
            broken, self.broken = self.broken, None
            raise broken
        self.exchanges.append(exchange)
        exchange.seq = len(self.exchanges) + len(self.sheds)
        if on_durable is not None:
            self.waiting.append(on_durable)

    def shed(self, route: str, reason: str, t_us: int) -> None:
        self.sheds.append(reason)

    def delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def settle(self, recorded: bool = True) -> bool:
        """Tell everything that waits that it is durable, or shed; whether there was anything."""
        waiting, self.waiting = self.waiting, []
        for tell in waiting:
            tell(recorded)
        return bool(waiting)

    @property
    def seen(self) -> list[Seen]:
        return [seen(exchange) for exchange in self.exchanges]


class Unrecorded(Exception):
    """Injected into observers by tests."""


@dataclass
class Recorder:
    """The data plane, accepting on a port of its own."""

    port: int
    journal: RecordingJournal
    route: Route1
    settings: SpliceSettings
    loop_errors: list[dict[str, Any]]
    wires: list[Wire] = field(default_factory=list)
    expect_errors: bool = False

    async def connect(self) -> Wire:
        wire = await dial(self.port)
        self.wires.append(wire)
        return wire

    def count(self, slot: Global | Route, offset: int = 0) -> int:
        return int(self.route.slots[(BASE if isinstance(slot, Route) else 0) + slot + offset])

    @property
    def clients(self) -> list[Client]:
        return list(self.settings.open_connections)

    @property
    def triples(self) -> list[tuple[int, bytes, bytes]]:
        return [(each.outcome, each.request, each.response) for each in self.journal.seen]

    async def recorded(self, count: int = 1) -> list[Seen]:
        await until(lambda: len(self.journal.exchanges) >= count)
        return self.journal.seen

    async def nobody(self) -> None:
        await until(lambda: not self.settings.open_connections)


async def dial(port: int, receive_buffer: int = 0) -> Wire:
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return Wire(sock)


@contextlib.asynccontextmanager
async def recorder(
    upstream: Upstream | int,
    *,
    held: bool = False,
    quick: bool = True,
    memory_limit: int = 64 << 20,
    body_limit: int = 8 << 20,
    make: Callable[[ConnectionObserver], ConnectionObserver] = lambda observer: observer,
    **options: Any,
) -> AsyncIterator[Recorder]:
    """A recorder in front of an upstream (or a port); both close at the end.

    Nothing may be left then: connections, capture memory, errors, exchanges that were not counted.
    """
    loop = asyncio.get_running_loop()
    port = upstream if isinstance(upstream, int) else upstream.port
    journal = RecordingJournal()
    route = Route1(memory_limit, body_limit, held, SystemClock())
    route.context.end = journal.append
    route.context.shed = journal.shed
    route.ended = journal.exchanges  # what the shortcut appends to

    def observer(connection: int, client: str, end: Callable[[Exchange], object]) -> ConnectionObserver:
        if held or not quick:
            return make(ConnectionObserver(route.context, connection, client, end))
        return make(route.connection(True, connection, client))

    settings = SpliceSettings(loop, route.context, journal, observer, "127.0.0.1", port, held=held, **options)
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    server = await loop.create_server(partial(Client, settings), "127.0.0.1", 0)
    rig = Recorder(server.sockets[0].getsockname()[1], journal, route, settings, errors)
    try:
        yield rig
    finally:
        for wire in rig.wires:
            wire.close()
        if isinstance(upstream, Upstream):
            upstream.close()
        server.close()
    await until(lambda: not journal.settle() and not settings.open_connections)
    assert route.budget.held == 0
    assert rig.count(Route.STARTED) == len(journal.exchanges) + len(journal.sheds)
    assert rig.count(Global.CONNECTIONS_OPEN) == 0
    assert errors == []
    if not rig.expect_errors:
        assert rig.count(Global.OBSERVER_ERRORS) == 0


@dataclass
class Transcript:
    """What both ends of one connection got to see."""

    client: bytes
    client_end: End | None
    upstream: bytes
    upstream_end: End | None


async def play(
    dialogue: Dialogue,
    upstream: Upstream,
    port: int,
    last: Literal["close", "reset"],
    places: Callable[[bytes], Any],
) -> Transcript:
    """Send each stretch in pieces, each of which must have arrived before the next leaves."""
    client = await dial(port)
    server: Wire | None = None
    if dialogue[0][0] == "answers":
        server = await upstream.accept()
    for side, data in dialogue:
        if side in ("asks", "answers"):
            for piece in cut(data, places(data)):
                await (client if side == "asks" else server or await upstream.accept()).send(piece)
                server = server or await upstream.accept()
                await (server if side == "asks" else client).expect(piece)
            continue
        assert server is not None
        near, far = (client, server) if side == "asks_eof" else (server, client)
        near.fin()
        assert await far.ends() == "FIN"
    assert server is not None
    if last == "reset":
        client.reset()
    else:
        client.fin()
    upstream_end = server.end or await server.ends()
    if last == "reset":
        return Transcript(bytes(client.received), client.end, bytes(server.received), await server.ends())
    server.close()
    client_end = client.end or await client.ends()
    client.close()
    return Transcript(bytes(client.received), client_end, bytes(server.received), upstream_end)


__all__ = [
    "ROUTE",
    "Recorder",
    "RecordingJournal",
    "Transcript",
    "Upstream",
    "Wire",
    "dial",
    "play",
    "recorder",
    "until",
]
