"""Journal segments → rows, observations and counts: the analyst's work between two commits.

An `Intake` begins with what the last commit knew and is thrown away when its
own commit fails; nothing of it is durable before that.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol

from sidecar.errors import DecodeError
from sidecar.guarding import Guard, fault
from sidecar.journal.reader import Corrupt, Segment
from sidecar.ledger.leaf import LeafEncoder
from sidecar.monitors import Monitor, Monitors
from sidecar.records import Delivery, Epoch, Event, Exchange, Gap, Message, Observation, Outcome
from sidecar.sampling import sample_of
from sidecar.shipping.knowledge import START, Knowledge, LogEnd, MonitorKey
from sidecar.shipping.rows import DAY_US, GroupKey, RowGroup, log_values
from sidecar.splitting import Splitter
from sidecar.suspects import DEATHS, HOPELESS, Suspects

log = logging.getLogger(__name__)

EPOCHS_KEPT = 256
LOGS_KEPT = 256
UNDECODED = "killed the analyst twice"
UNSTORED = "killed the analyst undecoded too: too large for analyst_memory, bodies not kept whole"
KEPT_BYTES = 64 * 1024
"""Of a body that cannot be stored whole, as the recorder keeps of one over `body_limit`."""
LARGE_BYTES = 1 << 20
_NAMED_FIELDS = "concealed/"
"""Totals of an earlier version, one for every redacted field that a client named."""

_TUNNELS = frozenset((Outcome.UPGRADED, Outcome.OPAQUE))


class Decoder(Protocol):
    """What the intake needs of `decode.registry.Decoding`."""

    def observe(self, path: str, request: Message, response: Message) -> Observation: ...


@dataclass(frozen=True, slots=True)
class Analysis:
    """How exchanges are read, counted and guarded; how a monitor is begun and brought back."""

    decoder: Decoder
    new_monitor: Callable[[MonitorKey], Monitor]
    restore_monitor: Callable[[MonitorKey, bytes], Monitor]
    guard: Guard = field(default_factory=Guard)


class Intake:
    """Takes segments in journal order; holds the rows until they are encoded.

    `statistics` outlive the intake only if its commit succeeds. `counting` is
    held while a monitor changes, so that another thread may read summaries.
    """

    def __init__(
        self,
        known: Knowledge,
        analysis: Analysis,
        suspects: Suspects,
        counting: AbstractContextManager[object] | None = None,
    ) -> None:
        self.known = known
        for name in [name for name in known.totals if name.startswith(_NAMED_FIELDS)]:
            del known.totals[name]
        self.groups: dict[GroupKey, RowGroup] = {}
        self._decoder = analysis.decoder
        self._guard = analysis.guard
        self.statistics = Monitors(
            known, analysis.guard, analysis.new_monitor, analysis.restore_monitor, counting or nullcontext()
        )
        self._suspects = suspects
        self._splitter = Splitter()
        self._group: RowGroup | None = None
        self._last_group: tuple[str, str, int, int] = ("", "", -1, -1)
        # After the state was lost, a log that does not begin with 1 is no news.
        self._expects_beginnings = known.cursor != START
        self._faults: set[type[BaseException]] = set()

    @property
    def raw_bytes(self) -> int:
        """Payload bytes in the rows so far."""
        return sum(group.raw_bytes for group in self.groups.values())

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups.values())

    def take(self, segment: Segment) -> None:
        """Turn one segment into rows and observations and move the cursor past it."""
        boot, number = segment.boot, segment.position.segment
        if segment.entries and not isinstance(segment.entries[0], Exchange):
            # A volume begins with its event, then the epochs: rows are filed under a model from the first.
            for entry in segment.entries:
                if isinstance(entry, Epoch):
                    self._epoch(boot, entry)
        for index, entry in enumerate(segment.entries):
            if isinstance(entry, Exchange):
                self._exchange(boot, number, index, entry)
            elif isinstance(entry, Gap):
                self._gap(entry)
            elif isinstance(entry, Delivery):
                self.count("deliveries")
                seen = self._end(boot, entry.route)
                self._rows(boot, entry.route, seen.epoch, entry.t_us).delivery(entry)
            elif isinstance(entry, Event):
                self._event(boot, number, index, entry, sorted(segment.next_seq))
            else:
                self._epoch(boot, entry)
        self._suspects.idle()
        self.count("segments")
        self.known.cursor = segment.position

    def skip(self, corrupt: Corrupt) -> None:
        """Pass a segment that cannot be read; what it held shows as a break in the sequence numbers."""
        log.error(
            "journal segment %d of volume %d cannot be read: %s",
            corrupt.position.segment,
            corrupt.position.volume,
            corrupt.reason,
        )
        self.count("segments_corrupt")
        self.known.cursor = corrupt.position

    def know(self, boot: str, epochs: Sequence[Epoch]) -> None:
        """Take in the identities of a boot before its journal has said them."""
        for epoch in epochs:
            self._epoch(boot, epoch)

    def mark(self, boot: str, route: str, kind: str | None, now_us: int) -> None:
        """Let a log have a file now even without rows; with `kind`, that row of the log's own ends it."""
        log = f"{boot}.{route}"
        groups = [group for group in in_order(self.groups.values()) if group.key.log == log]
        group = groups[-1] if groups else self._rows(boot, route, self._end(boot, route).epoch, now_us)
        group.mark = kind or group.mark

    def has_epochs(self, boot: str, numbers: set[int]) -> bool:
        """Whether anything that is not committed was filed under one of these epochs of a boot."""
        return any(key.boot == boot and key.epoch in numbers for key in self.groups)

    def holds(self, boot: str, route: str) -> bool:
        """Whether rows of that log wait for their file."""
        return any((key.boot, key.route) == (boot, route) for key in self.groups)

    def committed(self) -> None:
        """The rows and counts so far are durable: begin the next batch, the monitors go on."""
        self.groups.clear()
        self.statistics.changed.clear()
        self._group, self._last_group = None, ("", "", -1, -1)

    def forget(self) -> None:
        """Let go of everything that takes memory; only to be thrown away afterwards."""
        self.known = Knowledge()
        self.statistics.forget()
        self.committed()

    def _exchange(self, boot: str, segment: int, index: int, exchange: Exchange) -> None:
        end = self._end(boot, exchange.route)
        if exchange.seq != end.seq + 1:
            self._break(boot, exchange.route, end, exchange.seq, exchange.t_request_us)
        end.seq, end.t_us, end.epoch = exchange.seq, exchange.t_request_us, exchange.epoch
        self._suspects.decoding(segment, index)
        request, response = self._splitter.split(exchange)
        group = self._rows(boot, exchange.route, exchange.epoch, exchange.t_request_us)
        error: str | None = None
        decodes = False
        deaths = self._suspects.deaths(segment, index)
        # By then a batch is one large exchange, so that it is this one that cannot be encoded.
        large = max(len(request.body), len(response.body)) >= LARGE_BYTES
        blind = deaths >= DEATHS and not self._guard.dares(deaths, DEATHS, HOPELESS)
        if blind:
            error = UNDECODED
            self.count("decode_killed")
        elif deaths >= HOPELESS or (large and self._suspects.encode_deaths >= HOPELESS):
            error = UNSTORED
            self.count("decode_killed")
            request, response = _reduced(request), _reduced(response)
        elif _answered(exchange, response):
            if deaths >= DEATHS:
                error = UNDECODED
                self.count("decode_killed")
            else:
                decodes = True

        def observe(request: Message, response: Message) -> tuple[Observation | None, str | None]:
            return self._observe(exchange, request, response)

        if blind:
            kept = self._guard.apply_blind(request, response)
        else:
            kept = self._guard.apply(request, response, observe if decodes else None)
        error = error or kept.error
        sample = sample_of(boot, exchange, response, kept.counted)
        if sample is not None:
            self.statistics.take((exchange.route, group.epoch.digest), sample)
        if kept.counted is None and error is not None:
            self.count("decode_errors")
        if kept.redacted is not None:
            self.count("redacted")
        exchange.client = self._guard.client(exchange.client)
        group.exchange(
            exchange,
            kept.request,
            kept.response,
            kept.observation,
            error,
            kept.keys,
            kept.redacted,
            kept.subject,
        )
        totals = self.known.totals
        totals["exchanges"] = totals.get("exchanges", 0) + 1

    def _observe(
        self, exchange: Exchange, request: Message, response: Message
    ) -> tuple[Observation | None, str | None]:
        if exchange.request_cut is not None or exchange.response_cut is not None:
            return None, "body not kept whole"
        parts = request.start_line.split(b" ")
        path = parts[1].decode("latin-1") if len(parts) == 3 else ""
        try:
            return self._decoder.observe(path, request, response), None
        except DecodeError as error:
            return None, str(error)
        except MemoryError:
            return None, "out of memory while decoding"
        except Exception as error:
            # A decoder's own fault must not stop the recording of what it could not read.
            if type(error) not in self._faults:
                self._faults.add(type(error))
                log.error(
                    "decoder failed on %s.%d; stored undecoded: %s",
                    exchange.route,
                    exchange.seq,
                    fault(error),
                    exc_info=not self._guard.discreet,
                )
            said = "" if self._guard.discreet else f": {error}"
            return None, f"decoder failed: {type(error).__name__}{said}"

    def _gap(self, gap: Gap) -> None:
        end = self._end(gap.boot, gap.route)
        known = end.seq - gap.first_seq + 1
        if known > 0:
            # Part of a volume that was read before it was found corrupt.
            if known >= gap.count:
                return
            gap = replace(gap, first_seq=end.seq + 1, count=gap.count - known)
        if gap.first_seq > end.seq + 1:
            self._break(gap.boot, gap.route, end, gap.first_seq, gap.t_from_us)
        self._write_gap(gap, end)

    def _write_gap(self, gap: Gap, end: LogEnd) -> None:
        end.seq = max(end.seq, gap.first_seq + gap.count - 1)
        self.count("gaps/" + gap.reason)
        self.count("gap_exchanges/" + gap.reason, gap.count)
        self._rows(gap.boot, gap.route, end.epoch, gap.t_from_us).gap(gap)

    def _break(self, boot: str, route: str, end: LogEnd, seq: int, t_us: int) -> None:
        """A sequence number that does not follow the last one: say in the store what is missing."""
        if seq <= end.seq:
            self.count("sequence_regressions")
            return
        if end.seq == 0 and not self._expects_beginnings:
            return
        missing = Gap(boot, route, end.seq + 1, seq - end.seq - 1, end.t_us or t_us, t_us, "journal_damaged")
        log.error("journal lacks exchanges %d to %d of %s.%s", end.seq + 1, seq - 1, boot, route)
        self._write_gap(missing, end)

    def _event(self, boot: str, segment: int, index: int, event: Event, routes: list[str]) -> None:
        """An event belongs to the whole boot; it is kept in the log of the boot's first route."""
        self.count("events")
        route = routes[0] if routes else self._any_route(boot)
        end = self._end(boot, route)
        self._rows(boot, route, end.epoch, event.t_us).event(event, end.seq, segment, index)

    def _any_route(self, boot: str) -> str:
        return min((route for known, route, _ in self.known.epochs if known == boot), default="default")

    def _epoch(self, boot: str, epoch: Epoch) -> None:
        epochs = self.known.epochs
        held = epochs.pop((boot, epoch.route, epoch.number), None)
        # The journal says again and again how an epoch began; what was told of it since stays.
        epochs[boot, epoch.route, epoch.number] = epoch if held is None or held.container is None else held
        while len(epochs) > EPOCHS_KEPT:
            del epochs[next(iter(epochs))]
        end = self._end(boot, epoch.route)
        if end.seq == 0:
            end.epoch = epoch.number

    def _end(self, boot: str, route: str) -> LogEnd:
        name = f"{boot}.{route}"
        ends = self.known.logs
        end = ends.get(name)
        if end is None:
            end = ends[name] = LogEnd()
            while len(ends) > LOGS_KEPT:
                del ends[next(iter(ends))]
        return end

    def _rows(self, boot: str, route: str, epoch: int, t_us: int) -> RowGroup:
        place = (boot, route, epoch, t_us // DAY_US)
        if place == self._last_group and self._group is not None:
            return self._group
        key = GroupKey(*place)
        group = self.groups.get(key)
        if group is None:
            known = self.known.epochs.get((boot, route, epoch)) or Epoch(route, epoch, "unknown")
            leaf = LeafEncoder(log_values(key, known)).leaf
            group = self.groups[key] = RowGroup(key, known, leaf, self._guard.vault())
        self._group, self._last_group = group, place
        return group

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the totals."""
        self.known.totals[name] = self.known.totals.get(name, 0) + by


def in_order(groups: Iterable[RowGroup]) -> list[RowGroup]:
    """Groups in the order they are sealed and shipped: by log, then by what they begin with."""
    return sorted(groups, key=lambda group: (group.key.log, group.first, group.key.date, group.key.epoch))


def _reduced(message: Message) -> Message:
    """The message with the first bytes, length and hash of its body."""
    if len(message.body) <= KEPT_BYTES:
        return message
    digest = message.sha256 or hashlib.sha256(message.body).digest()
    return replace(message, body=message.body[:KEPT_BYTES], sha256=digest)


def _answered(exchange: Exchange, response: Message) -> bool:
    """Whether the exchange is a prediction worth decoding: a whole answer with a 2xx status."""
    return exchange.outcome not in _TUNNELS and response.complete and response.head[9:10] == b"2"
