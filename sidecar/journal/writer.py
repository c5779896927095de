"""The loop's side of the journal: numbers exchanges, packs them, hands segments to the commit thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sidecar.clock import Clock
from sidecar.counters import Counters, Route
from sidecar.journal.committer import Committer
from sidecar.journal.limits import JournalLimits
from sidecar.journal.numbering import RouteNumbers
from sidecar.journal.sealed import Sealed, Splice, new_packer, pack_cut, pack_scattered
from sidecar.journal.segment import Control, control_tuple
from sidecar.journal.volume import LmdbVolume, VolumeFactory
from sidecar.records import Delivery, Epoch, Event, Exchange

log = logging.getLogger(__name__)

SEAL_BYTES = 1 << 19
"""A segment is handed over at this size, before its timer."""
SCATTER_BYTES = 32 << 10
"""Exchanges above this are not packed: their chunks are kept and copied once, by the commit thread."""
ENTRY_BYTES = 128
"""Counted for an entry beside its bodies."""
GAP_INTERVAL_S = 1.0
"""A gap that goes on is written at least this often."""
OVERLOAD = "journal_overload"
UNPACKABLE = "unpackable"


class JournalWriter:
    """Append-only, from one event loop's thread. Never raises for the journal's trouble: it sheds and counts.

    `accepting` is False, and `reason` says why, while exchanges cannot be
    expected to be recorded; what is appended meanwhile is kept as long as
    `pending_bytes` stays within its limit, then shed into gap records.
    """

    def __init__(
        self,
        folder: Path,
        boot: str,
        counters: Counters,
        clock: Clock,
        limits: JournalLimits,
        epochs: Iterable[Epoch] = (),
        open_volume: VolumeFactory = LmdbVolume,
    ) -> None:
        self.reason = ""
        self.detail = ""
        """The last trouble in full, for status and logs."""
        self._boot = boot
        self._counters = counters
        self._slots = counters.slots
        self._clock = clock
        self._limits = limits
        self._limit = limits.pending_bytes
        self._full_at = self._limit - (SEAL_BYTES if self._limit > 4 * SEAL_BYTES else 0)
        """Pending bytes at which no further exchange should be begun; what is in flight needs the rest."""
        self._committer = Committer(
            folder,
            boot,
            counters,
            clock,
            limits,
            list(epochs),
            on_done=lambda group, durable: self._post(self._done, group, durable),
            on_shed=lambda counts: self._post(self._count_shed, counts),
            on_state=lambda reason, detail: self._post(self._state, reason, detail),
            open_volume=open_volume,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._routes: dict[str, RouteNumbers] = {}
        self._packer = new_packer()
        self._pack: Callable[[Any], Any] = self._packer.pack
        self._splices: list[Splice] = []
        self._controls: list[Control] = []
        self._callbacks: list[Callable[[bool], None]] = []
        self._settlers: list[Callable[[], None]] = []
        self._open_bytes = 0
        self._queued_bytes = 0
        self._room = self._limit
        """How large the open segment may become: the limit less what is queued."""
        self._in_flight = 0
        self._blocked = ""
        self._timer: asyncio.TimerHandle | None = None
        self._gap_timer: asyncio.TimerHandle | None = None
        self._turn_scheduled = False
        self._overdue = False
        self._closed: asyncio.Future[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; numbers go on after all this boot has started so far. Recovery runs in the commit thread."""
        self._loop = loop
        started: dict[str, tuple[int, int]] = {}
        for name in self._counters.routes:
            base = self._counters.base(name)
            seq = int(self._slots[base + Route.STARTED])
            started[name] = seq, int(self._slots[base + Route.SHED])
            self._routes[name] = RouteNumbers(name, base, seq)
            self._slots[base + Route.ENDED] = seq
        self._committer.start(started)

    @property
    def accepting(self) -> bool:
        """Whether an exchange that is begun at this moment can be expected to be recorded."""
        return not self._blocked and self.pending_bytes < self._full_at

    @property
    def pending_bytes(self) -> int:
        """Appended and not yet committed."""
        return self._queued_bytes + self._open_bytes

    def append(self, exchange: Exchange, on_durable: Callable[[bool], None] | None = None) -> None:
        """Record an ended exchange, giving it its `seq`.

        `on_durable(True)` is called in the loop once it is committed and
        synced, `on_durable(False)` (never from inside this call) once it is shed.
        """
        route = self._routes[exchange.route]
        slots = self._slots
        slots[route.outcome + exchange.outcome] += 1
        if exchange.request_bytes + exchange.response_bytes > SCATTER_BYTES:
            self._append_large(route, exchange, on_durable)
            return
        request: Any = exchange.request
        response: Any = exchange.response
        request = request[0] if len(request) == 1 else b"".join(request)
        response = response[0] if len(response) == 1 else b"".join(response)
        t_us = exchange.t_request_us
        size = len(request) + len(response) + ENTRY_BYTES
        if self._open_bytes + size > self._room:
            self._refuse(route, exchange, self.reason or OVERLOAD, on_durable)
            return
        if route.gap_first:
            self._write_gap(route)
        seq = route.seq + 1
        try:
            # fmt: off
            self._pack((
                0, exchange.route, seq, exchange.connection, exchange.client, exchange.epoch,
                exchange.outcome, exchange.reason, t_us, exchange.request_end_ns, exchange.first_byte_ns,
                exchange.end_ns, exchange.request_bytes, exchange.response_bytes, request, response,
                exchange.request_cut and pack_cut(exchange.request_cut),
                exchange.response_cut and pack_cut(exchange.response_cut),
            ))
            # fmt: on
        except Exception:
            self._lose_open_segment(exchange)
            self._refuse(route, exchange, UNPACKABLE, on_durable)
            return
        exchange.seq = route.seq = seq
        slots[route.ended] = seq
        if not route.first:
            route.first = seq
            route.t_from_us = t_us
        route.t_to_us = t_us
        self._open_bytes = open_bytes = self._open_bytes + size
        if on_durable is not None:
            self._callbacks.append(on_durable)
            if not self._turn_scheduled:
                self._schedule_turn()
        if open_bytes >= SEAL_BYTES:
            self.flush()
        elif self._timer is None:
            self._arm()

    def whole_appender(self, name: str) -> Callable[[int, str, int, int, int, int, int, bytes, bytes], int]:
        """A faster `append` for one route's complete exchanges whose two messages are one chunk each.

        The function takes connection, client, epoch, t_request_us, request_end_ns,
        first_byte_ns, end_ns, request and response, and counts their bytes too. It
        returns the exchange's `seq`, 0 if it was shed.
        """
        slots = self._slots
        base = self._counters.base(name)
        exchanges = asked = answered = 0

        def settle() -> None:
            """Bring the counters up to date; they may lag by one segment."""
            nonlocal exchanges, asked, answered
            slots[base + Route.OUTCOME] += exchanges
            slots[base + Route.REQUEST_BYTES] += asked
            slots[base + Route.RESPONSE_BYTES] += answered
            exchanges = asked = answered = 0

        def append(
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
            nonlocal exchanges, asked, answered
            route = self._routes[name]
            request_bytes = len(request)
            response_bytes = len(response)
            exchanges += 1
            asked += request_bytes
            answered += response_bytes
            open_bytes = self._open_bytes + request_bytes + response_bytes + ENTRY_BYTES
            if open_bytes > self._room:
                self._shed(route, self.reason or OVERLOAD, t_us)
                return 0
            if route.gap_first:
                self._write_gap(route)
                open_bytes += ENTRY_BYTES
            seq = route.seq + 1
            # fmt: off
            self._pack((
                0, name, seq, connection, client, epoch, 0, "", t_us, request_end_ns, first_byte_ns,
                end_ns, request_bytes, response_bytes, request, response, None, None,
            ))
            # fmt: on
            route.seq = seq
            slots[route.ended] = seq
            if not route.first:
                route.first = seq
                route.t_from_us = t_us
            route.t_to_us = t_us
            self._open_bytes = open_bytes
            if open_bytes >= SEAL_BYTES:
                self.flush()
            elif self._timer is None:
                self._arm()
            return seq

        self._settlers.append(settle)
        return append

    def shed(self, route: str, reason: str, t_us: int) -> int:
        """Count an ended exchange that leaves no record into the route's running gap; returns its number."""
        return self._shed(self._routes[route], reason, t_us)

    def delivery(self, delivery: Delivery) -> None:
        """Record that an exchange committed before its last bytes left did not arrive whole."""
        self._control(delivery)

    def event(self, event: Event) -> None:
        """Record something that happened to the recorder."""
        self._control(event)

    def epoch(self, epoch: Epoch) -> None:
        """Put a new identity epoch in force: recorded now, and again at the start of every later volume."""
        self._committer.put_in_force(epoch)
        self._control(epoch)

    def flush(self) -> None:
        """Hand the open segment to the commit thread now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._overdue = False
        for settle in self._settlers:
            settle()
        if not self._open_bytes:
            return
        sealed = Sealed(
            packer=self._packer,
            splices=self._splices,
            routes={r.name: (r.next_unaccounted, r.shed) for r in self._routes.values()},
            ranges=[found for r in self._routes.values() if (found := r.take_range(self._boot))],
            controls=self._controls,
            callbacks=self._callbacks,
            size=self._open_bytes,
        )
        try:
            self._packer = self._committer.packers.pop()
        except IndexError:
            self._packer = new_packer()
        self._pack = self._packer.pack
        self._splices = []
        self._controls = []
        self._callbacks = []
        self._queue(self._open_bytes)
        self._open_bytes = 0
        self._in_flight += 1
        self._committer.submit(sealed)

    async def close(self, timeout_s: float) -> None:
        """Commit what is pending, or after `timeout_s` shed it; then close the volume."""
        loop = self._loop
        if loop is None or self._closed is not None:
            return
        self._closed = loop.create_future()
        if self._gap_timer is not None:
            self._gap_timer.cancel()
            self._gap_timer = None
        self._write_gaps()
        self.flush()
        self._committer.stop()
        if not self._committer.alive:
            return
        done, _ = await asyncio.wait([self._closed], timeout=timeout_s)
        if not done:
            self._committer.stop(abandon=True)
            await asyncio.wait([self._closed], timeout=1.0)

    # --- packing ---

    def _append_large(
        self, route: RouteNumbers, exchange: Exchange, on_durable: Callable[[bool], None] | None
    ) -> None:
        request_bytes = sum(map(len, exchange.request))
        response_bytes = sum(map(len, exchange.response))
        size = request_bytes + response_bytes + ENTRY_BYTES
        if self._open_bytes + size > self._room or max(request_bytes, response_bytes) >= 1 << 32:
            self._refuse(route, exchange, self.reason or OVERLOAD, on_durable)
            return
        if size > SEAL_BYTES:
            # Alone in its segment, so that if no volume can hold it, it is shed alone.
            self.flush()
        if route.gap_first:
            self._write_gap(route)
        exchange.seq = seq = route.seq + 1
        try:
            self._splices.append(pack_scattered(self._packer, exchange, request_bytes, response_bytes))
        except Exception:
            self._lose_open_segment(exchange)
            self._refuse(route, exchange, UNPACKABLE, on_durable)
            return
        route.seq = seq
        self._slots[route.ended] = seq
        route.cover(seq, exchange.t_request_us)
        self._open_bytes += size
        if on_durable is not None:
            self._callbacks.append(on_durable)
            self._schedule_turn()
        if self._open_bytes >= SEAL_BYTES:
            self.flush()
        elif self._timer is None:
            self._arm()

    def _control(self, entry: Control) -> None:
        try:
            self._pack(control_tuple(entry))
        except Exception:
            self._lose_open_segment(entry)
            return
        self._controls.append(entry)
        self._open_bytes += ENTRY_BYTES
        if self._timer is None:
            self._arm()

    def _lose_open_segment(self, culprit: object) -> None:
        """msgpack forgets all it holds when one value cannot be packed: account for all of it as a gap."""
        log.exception("journal: %r cannot be packed; the open segment is shed", type(culprit).__name__)
        for route in self._routes.values():
            self._slots[route.base + Route.SHED] += route.lose_open_segment(UNPACKABLE)
        controls, self._controls = self._controls, []
        callbacks, self._callbacks = self._callbacks, []
        self._splices = []
        self._open_bytes = 0
        self._packer.reset()
        for entry in controls:
            self._control(entry)
        for callback in callbacks:
            self._call_soon(callback, False)
        self._watch_gaps()

    # --- gaps ---

    def _shed(self, route: RouteNumbers, reason: str, t_us: int) -> int:
        if route.gap_first and route.gap_reason != reason:
            self._write_gap(route)
        if route.extend_gap(reason, t_us):
            self._watch_gaps()
        self._slots[route.ended] = route.seq
        self._slots[route.base + Route.SHED] += 1
        return route.seq

    def _refuse(
        self,
        route: RouteNumbers,
        exchange: Exchange,
        reason: str,
        on_durable: Callable[[bool], None] | None,
    ) -> None:
        self._shed(route, reason, exchange.t_request_us)
        exchange.seq = 0  # it left no record that anything could refer to
        if on_durable is not None:
            self._call_soon(on_durable, False)

    def _write_gap(self, route: RouteNumbers) -> None:
        """End the running gap: it goes into the open segment, before anything later of its route."""
        self._pack(control_tuple(route.take_gap(self._boot)))
        self._open_bytes += ENTRY_BYTES
        if self._timer is None:
            self._arm()

    def _write_gaps(self) -> None:
        for route in self._routes.values():
            if route.gap_first:
                self._write_gap(route)

    def _watch_gaps(self) -> None:
        if self._gap_timer is None and self._loop is not None and self._closed is None:
            self._gap_timer = self._loop.call_later(GAP_INTERVAL_S, self._gaps_due)

    def _gaps_due(self) -> None:
        self._gap_timer = None
        if self._blocked:
            self._watch_gaps()
        else:
            self._write_gaps()

    # --- timers and the commit thread's reports ---

    def _arm(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(self._limits.commit_interval_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._in_flight >= 2:
            # The commit thread is behind: a few large segments serve it better than many small ones.
            self._overdue = True
        else:
            self.flush()

    def _schedule_turn(self) -> None:
        """Group commit: everything of this turn of the loop, or of the commit now running, goes together."""
        if self._in_flight:
            self._overdue = True
        elif self._loop is not None and not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn_ended)

    def _turn_ended(self) -> None:
        self._turn_scheduled = False
        self.flush()

    def _call_soon(self, callback: Callable[[bool], None], durable: bool) -> None:
        if self._loop is not None:
            self._loop.call_soon(callback, durable)

    def _queue(self, size: int) -> None:
        self._queued_bytes += size
        self._room = self._limit - self._queued_bytes

    def _post(self, callback: Callable[..., None], *args: object) -> None:
        """Called in the commit thread."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            log.debug("journal: the event loop is gone")

    def _done(self, group: list[Sealed], durable: bool) -> None:
        self._in_flight -= len(group)
        for sealed in group:
            self._queue(-sealed.size)
        self._update()
        for sealed in group:
            for callback in sealed.callbacks:
                try:
                    callback(durable)
                except Exception:
                    log.exception("journal: a waiter for durability failed")
        if self._overdue and not self._in_flight:
            self.flush()

    def _count_shed(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            slot = self._routes[name].base + Route.SHED
            self._slots[slot] = max(0, self._slots[slot] + count)

    def _state(self, reason: str, detail: str) -> None:
        if reason == "closed":
            if self._closed is not None and not self._closed.done():
                self._closed.set_result(None)
            return
        self._blocked = reason
        self.detail = detail
        self._update()
        if not reason:
            self._write_gaps()

    def _update(self) -> None:
        self.reason = self._blocked or (OVERLOAD if self.pending_bytes >= self._full_at else "")
