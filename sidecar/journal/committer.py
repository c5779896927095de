"""The commit thread: takes sealed segments in order and makes them durable, or says why it cannot.

It never drops what the loop handed over unless no volume could ever hold it:
while the journal cannot be written it keeps the queue (bounded by the loop's
own limit on pending bytes), says so, and tries again each second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sidecar
from sidecar.clock import Clock
from sidecar.counters import Counters, Global, Route
from sidecar.errors import JournalError, JournalVersion
from sidecar.journal import recovery
from sidecar.journal.limits import JournalLimits
from sidecar.journal.sealed import Sealed
from sidecar.journal.segment import (
    CRC,
    KEY,
    PART_BYTES,
    Buffer,
    Control,
    header_for,
    pack_controls,
    pack_header,
    parts_of,
    segment_number,
)
from sidecar.journal.shelf import Blocked, Shelf
from sidecar.journal.volume import SPACE, LmdbVolume, Volume, VolumeFactory, VolumeFull, WriteFailed
from sidecar.records import Epoch, Event, Gap

Items = Iterator[tuple[bytes, Buffer]]

log = logging.getLogger(__name__)

GROUP_BYTES = 8 << 20
"""Sealed segments that go into one transaction."""
RETRY_S = 1.0
CLOCK_STEP_US = 1_000_000
KEPT_PACKERS = 3
OWED_LIMIT = 10_000
EPOCHS_NAMED = 16
"""Of each route, in a volume's first segment: the one in force and those before it."""

TOO_LARGE = "too_large"


class Committer:
    """Owns the journal's files while the recorder runs, in a thread of its own."""

    def __init__(
        self,
        folder: Path,
        boot: str,
        counters: Counters,
        clock: Clock,
        limits: JournalLimits,
        epochs: list[Epoch],
        on_done: Callable[[list[Sealed], bool], None],
        on_shed: Callable[[dict[str, int]], None],
        on_state: Callable[[str, str], None],
        open_volume: VolumeFactory = LmdbVolume,
    ) -> None:
        self.folder = folder
        self.epochs = epochs
        """In force, and the last ones before; replaced whole by the loop."""
        self.packers: list[Any] = []
        """Reusable ones; taken by the loop, given back here."""
        self._boot = boot
        self._counters = counters
        self._clock = clock
        self._on_done = on_done
        self._on_shed = on_shed
        self._on_state = on_state
        self._shelf = Shelf(folder, counters, clock, limits, open_volume)
        self._queue: queue.SimpleQueue[Sealed | None] = queue.SimpleQueue()
        self._abandon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._scratch = bytearray(CRC.size + PART_BYTES)
        self._recovered = False
        self._routes: dict[str, tuple[int, int]] = dict.fromkeys(counters.routes, (1, 0))
        self._extra_shed: dict[str, int] = dict.fromkeys(counters.routes, 0)
        self._owed: list[Control] = []
        self._dead: list[Path] = []
        """Counters files of dead boots, to be removed once their gaps are committed."""
        self._wall_offset_us: int | None = None
        self._blocked = ""

    # --- the loop's side ---

    def start(self, started: dict[str, tuple[int, int]]) -> None:
        """`started`: per route the exchanges begun, and shed, before this recorder ran in this boot."""
        self._started = started
        self._thread.start()

    def put_in_force(self, epoch: Epoch) -> None:
        """From now on in every volume's first segment, which names the last few of each route."""
        others = [each for each in self.epochs if each.route != epoch.route]
        own = [each for each in self.epochs if each.route == epoch.route and each.number != epoch.number]
        self.epochs = [*others, *own[1 - EPOCHS_NAMED :], epoch]

    def submit(self, sealed: Sealed) -> None:
        self._queue.put(sealed)

    def stop(self, abandon: bool = False) -> None:
        """End after what is queued; with `abandon`, even if the journal cannot take it."""
        if abandon:
            self._abandon.set()
        self._queue.put(None)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    # --- the thread ---

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch, stopping = self._take()
            self._persist(batch)
        self._shelf.close()
        self._on_state("closed", "")

    def _take(self) -> tuple[list[Sealed], bool]:
        batch: list[Sealed] = []
        size = 0
        try:
            sealed = self._queue.get(timeout=RETRY_S)
            while sealed is not None:
                batch.append(sealed)
                size += sealed.size
                if size >= GROUP_BYTES:
                    return batch, False
                sealed = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _persist(self, batch: list[Sealed]) -> None:
        while True:
            try:
                self._attempt(batch)
            except (JournalError, OSError) as error:
                self._say_blocked(error)
            except Exception as error:
                log.exception("journal: unexpected failure")
                self._shelf.close()
                self._say_blocked(error)
            else:
                self._say_unblocked()
                return
            if self._abandon.wait(0 if self._abandon.is_set() else RETRY_S):
                self._shed(batch, self._blocked)
                return

    def _attempt(self, batch: list[Sealed]) -> None:
        """Write all that is owed and the batch, emptying both. Raises Blocked and others when it cannot."""
        if not self._recovered:
            self._recover()
        self._note_clock_step()
        self._shelf.retire()
        failures = 0
        take = len(batch)
        while batch or self._owed:
            group = batch[:take]
            volume = self._shelf.volume or self._next_volume(group)
            self._shelf.require_space(sum(sealed.size for sealed in group))
            try:
                durable = self._write(volume, group)
            except VolumeFull:
                if len(group) > 1:
                    take = 1
                elif not self._shelf.fresh:
                    self._shelf.close()
                elif group:
                    self._shed([batch.pop(0)], TOO_LARGE)
                else:
                    raise
                continue
            except WriteFailed as error:
                self._counters.slots[Global.COMMIT_FAILURES] += 1
                self._shelf.close()
                failures += 1
                if error.space:
                    raise Blocked("disk_full", f"journal {self.folder}: {error}: free some space") from error
                if failures > 1:
                    raise Blocked("io_error", f"journal {self.folder}: {error}: check the disk") from error
                log.error("journal volume closed after a failed write, going on in the next: %s", error)
                continue
            del batch[: len(group)]
            self._say_unblocked()
            self._finish(group, durable)
            self._shelf.measure_now_and_then()

    def _write(self, volume: Volume, group: list[Sealed]) -> bool:
        """One transaction: what is owed, then the group. Returns whether all of it is known to be durable."""
        durable = True
        wall_us = self._clock.wall_us()
        began_ns = self._clock.monotonic_ns()
        routes = self._routes
        index = self._shelf.index
        streams: list[tuple[dict[str, tuple[int, int]], list[Buffer]]] = []
        owed = len(self._owed)
        if owed:
            routes = self._after_owed()
            streams.append((routes, [pack_controls(self._owed[:owed])]))
        for sealed in group:
            routes = {r: (n, shed + self._extra_shed[r]) for r, (n, shed) in sealed.routes.items()}
            streams.append((routes, sealed.pieces()))
        last = index + len(streams) - 1
        try:
            volume.write(self._items(volume.number, index, wall_us, streams))
        except WriteFailed:
            # Failed after the meta page went out: readers see the segment, writing it again would double it.
            if not volume.has(KEY.pack(segment_number(volume.number, last), 0)):
                raise
            durable = False
            log.warning(
                "journal volume %d: the last commit is visible although the disk reported an error",
                volume.number,
            )
        finally:
            streams.clear()
        self._shelf.index = last + 1
        self._routes = routes
        del self._owed[:owed]
        self._count_commit(wall_us, (self._clock.monotonic_ns() - began_ns) // 1000)
        return durable

    def _items(
        self,
        volume: int,
        index: int,
        wall_us: int,
        streams: list[tuple[dict[str, tuple[int, int]], list[Buffer]]],
    ) -> Items:
        for at, (routes, pieces) in enumerate(streams):
            number = segment_number(volume, index + at)
            header = pack_header(header_for(number, self._boot, wall_us, routes, sum(map(len, pieces))))
            for part, value in enumerate(parts_of([header, *pieces], self._scratch)):
                yield KEY.pack(number, part), value

    def _after_owed(self) -> dict[str, tuple[int, int]]:
        routes = dict(self._routes)
        for entry in self._owed:
            if isinstance(entry, Gap) and entry.boot == self._boot and entry.route in routes:
                next_seq, shed = routes[entry.route]
                if entry.first_seq >= next_seq:
                    routes[entry.route] = (entry.first_seq + entry.count, shed + entry.count)
        return routes

    def _finish(self, group: list[Sealed], durable: bool) -> None:
        for sealed in group:
            # A traceback elsewhere may still pin the buffer; then the packer is simply not used again.
            if len(self.packers) < KEPT_PACKERS:
                with contextlib.suppress(BufferError):
                    sealed.packer.reset()
                    self.packers.append(sealed.packer)
            sealed.splices = []
        if group:
            self._on_done(group, durable)
        # Last, since a file that cannot be removed must not keep anybody waiting; it is tried again.
        self._dead = [path for path in self._dead if not _removed(path)]

    def _count_commit(self, wall_us: int, duration_us: int) -> None:
        counters = self._counters
        counters.observe_commit(duration_us)
        counters.slots[Global.LAST_COMMIT_WALL_US] = wall_us
        for route, (next_seq, _) in self._routes.items():
            counters.slots[counters.base(route) + Route.COMMITTED_SEQ] = next_seq - 1

    def _shed(self, batch: list[Sealed], reason: str) -> None:
        """Give up on segments: their numbers become gaps, their other entries are owed."""
        counts: dict[str, int] = {}
        for sealed in batch:
            for entry in sealed.controls:
                self._owe(entry)
            for gap, counted in sealed.ranges:
                self._owe(dataclasses.replace(gap, reason=reason))
                counts[gap.route] = counts.get(gap.route, 0) + gap.count - counted
            sealed.splices = []
        for route, count in counts.items():
            self._extra_shed[route] += count
        if counts:
            log.error("journal: %d exchanges shed: %s", sum(counts.values()), reason)
            self._on_shed(counts)
        if batch:
            self._on_done(list(batch), False)
            batch.clear()

    def _owe(self, entry: Control) -> None:
        last = self._owed[-1] if self._owed else None
        if (
            isinstance(entry, Gap)
            and isinstance(last, Gap)
            and (last.boot, last.route, last.reason) == (entry.boot, entry.route, entry.reason)
            and last.first_seq + last.count == entry.first_seq
        ):
            self._owed[-1] = dataclasses.replace(
                last, count=last.count + entry.count, t_to_us=max(last.t_to_us, entry.t_to_us)
            )
        elif isinstance(entry, Gap) or len(self._owed) < OWED_LIMIT:
            self._owed.append(entry)

    def _next_volume(self, group: list[Sealed]) -> Volume:
        now_us = self._clock.wall_us()

        def preamble(number: int) -> Items:
            opening = Event(
                "volume", now_us, {"boot": self._boot, "sidecar": sidecar.__version__, "volume": number}
            )
            return self._items(number, 0, now_us, [(self._routes, [pack_controls([opening, *self.epochs])])])

        return self._shelf.open_next(sum(sealed.size for sealed in group), preamble)

    # --- state ---

    def _say_blocked(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, Blocked) else _name(error)
        if reason != self._blocked:
            log.error("journal cannot be written (%s): %s", reason, error)
            self._blocked = reason
            self._counters.slots[Global.JOURNAL_SHEDDING] = 1
            self._on_state(reason, str(error))

    def _say_unblocked(self) -> None:
        if self._blocked:
            log.warning("journal takes writes again (was: %s)", self._blocked)
            self._blocked = ""
            self._counters.slots[Global.JOURNAL_SHEDDING] = 0
            self._on_state("", "")

    def _note_clock_step(self) -> None:
        wall_us = self._clock.wall_us()
        offset_us = wall_us - self._clock.monotonic_ns() // 1000
        if self._wall_offset_us is not None:
            step_us = offset_us - self._wall_offset_us
            if abs(step_us) > CLOCK_STEP_US:
                self._counters.slots[Global.CLOCK_STEPS] += 1
                log.warning("wall clock stepped by %.3f s", step_us / 1e6)
                self._owe(Event("clock_step", wall_us, {"step_us": step_us}))
        self._wall_offset_us = offset_us

    def _recover(self) -> None:
        """Account for what earlier recorders left; on return nothing of theirs takes writes any more."""
        counters = self._counters
        found = recovery.recover(self.folder, counters, self._started, self._clock.wall_us())
        counters.slots[Global.VOLUMES_MOVED_ASIDE] += found.moved
        self._routes = found.routes
        self._extra_shed = found.shed
        self._owed[:0] = found.owed
        self._dead = found.dead
        self._shelf.begin_after(found.last_volume)
        self._recovered = True
        correction = {route: shed - self._started[route][1] for route, shed in found.shed.items()}
        if any(correction.values()):
            self._on_shed(correction)


def _name(error: Exception) -> str:
    if isinstance(error, JournalVersion):
        return "newer_version"
    if (isinstance(error, WriteFailed) and error.space) or getattr(error, "errno", None) in SPACE:
        return "disk_full"
    return "io_error" if isinstance(error, (OSError, WriteFailed)) else "error"


def _removed(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
