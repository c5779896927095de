"""A journal in a temporary folder, driven the way the recorder and the analyst drive it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from sidecar.clock import Clock, SystemClock
from sidecar.counters import Counters, Route
from sidecar.journal import Corrupt, JournalLimits, JournalReader, JournalWriter, Segment
from sidecar.journal.volume import LmdbVolume, VolumeFactory
from sidecar.records import Entry, Epoch, Event, Exchange, Gap, Position

BOOT = "20261123T231500-9f3c2a71b0"
EPOCH = Epoch("default", 1, "mortgage", "sha256:" + "ab" * 32, None, "flag", 1_700_000_000_000_000)
SMALL = JournalLimits(
    max_bytes=64 << 20,
    volume_bytes=2 << 20,
    commit_interval_s=0.002,
    pending_bytes=16 << 20,
    body_limit=256 << 10,
)


def exchange(
    request: bytes = b"q", response: bytes = b"r", route: str = "default", chunk: int = 65536
) -> Exchange:
    made = Exchange(route, 7, "127.0.0.1:40000", 1_700_000_000_000_000, 0)
    made.epoch = 1
    made.request = [request[at : at + chunk] for at in range(0, len(request), chunk)]
    made.response = [response[at : at + chunk] for at in range(0, len(response), chunk)]
    made.request_bytes = len(request)
    made.response_bytes = len(response)
    made.request_end_ns, made.first_byte_ns, made.end_ns = 1000, 2000, 3000
    return made


class Rig:
    """One boot's counters and writer."""

    def __init__(
        self,
        folder: Path,
        limits: JournalLimits = SMALL,
        boot: str = BOOT,
        clock: Clock | None = None,
        routes: tuple[str, ...] = ("default",),
        open_volume: VolumeFactory = LmdbVolume,
    ) -> None:
        self.folder = folder
        path = folder / f"counters-{boot}.bin"
        self.counters = Counters.open(path) if path.exists() else Counters.create(folder, boot, routes)
        self.writer = JournalWriter(
            folder, boot, self.counters, clock or SystemClock(), limits, [EPOCH], open_volume=open_volume
        )

    async def __aenter__(self) -> Rig:
        self.writer.start(asyncio.get_running_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.writer.close(5.0)

    def begin(self, route: str = "default", count: int = 1) -> None:
        self.counters.slots[self.counters.base(route) + Route.STARTED] += count

    def append(self, made: Exchange) -> asyncio.Future[bool]:
        """Start and end an exchange; the future says whether it became durable."""
        self.begin(made.route)
        durable: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.writer.append(made, durable.set_result)
        return durable

    async def record(self, *made: Exchange) -> list[bool]:
        return list(await asyncio.wait_for(asyncio.gather(*map(self.append, made)), 20))

    async def until(self, what: object, timeout_s: float = 15.0) -> None:
        """Wait until a condition (a callable) holds."""
        assert callable(what)
        async with asyncio.timeout(timeout_s):
            while not what():
                await asyncio.sleep(0.01)


def read_all(folder: Path, boot: str | None = None, max_bytes: int = 4 << 20) -> list[Segment | Corrupt]:
    reader = JournalReader(folder, boot)
    found: list[Segment | Corrupt] = []
    after = Position(0, 0)
    try:
        while results := reader.read(after, max_bytes):
            found.extend(results)
            after = results[-1].position
    finally:
        reader.close()
    return found


def entries(found: Iterable[Segment | Corrupt]) -> list[Entry]:
    return [entry for segment in found if isinstance(segment, Segment) for entry in segment.entries]


def exchanges(found: Iterable[Segment | Corrupt], route: str = "default") -> list[Exchange]:
    return [e for e in entries(found) if isinstance(e, Exchange) and e.route == route]


def gaps(found: Iterable[Segment | Corrupt]) -> list[Gap]:
    return [e for e in entries(found) if isinstance(e, Gap)]


def events(found: Iterable[Segment | Corrupt], name: str) -> list[Event]:
    return [e for e in entries(found) if isinstance(e, Event) and e.name == name]


def accounted(found: list[Segment | Corrupt], boot: str = BOOT, route: str = "default") -> int:
    """Last number of the log, having checked that every one up to it comes exactly once, in order."""
    next_seq = 1
    shed = 0
    for segment in found:
        assert isinstance(segment, Segment), segment
        for entry in segment.entries:
            if isinstance(entry, Exchange) and (segment.boot, entry.route) == (boot, route):
                assert entry.seq == next_seq
                next_seq += 1
            elif isinstance(entry, Gap) and (entry.boot, entry.route) == (boot, route):
                assert entry.first_seq == next_seq
                assert entry.count > 0
                assert entry.t_from_us <= entry.t_to_us
                next_seq += entry.count
                shed += entry.count
        if segment.boot == boot:
            assert segment.next_seq[route] == next_seq
    return next_seq - 1
