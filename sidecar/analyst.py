"""The analyst's loop: journal → intake → one commit → store → journal released.

Exactly once, whatever dies when:

1. rows are read after the cursor, sealed, encoded, and made durable together
   with the cursor, the trees, the statistics and the totals in one transaction;
2. pending batches are put; a put that is repeated has the same name and bytes;
3. a batch in the store is dropped from the state;
4. journal volumes that hold only what is in the store are released.

A death before 1 is done repeats the reading, after it the putting; both are
without effect on what is stored. Everything here runs in one thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.backoff import Backoff
from sidecar.clock import Clock
from sidecar.console.snapshot import Snapshot
from sidecar.errors import JournalFull
from sidecar.identities import Identities
from sidecar.intake import Analysis, Intake, in_order
from sidecar.journal.reader import Corrupt, Segment
from sidecar.monitors import OwnAlarm
from sidecar.pane_shipping import PaneShipper, Whereabouts
from sidecar.records import Epoch, Position
from sidecar.sealing import Sealer
from sidecar.shipping.knowledge import MonitorKey
from sidecar.shipping.sink import Sink
from sidecar.shipping.state import AnalystState
from sidecar.suspects import Suspects
from sidecar.uploading import Uploads

log = logging.getLogger(__name__)

POLL_S = 0.2
"""How often a quiet journal is looked at."""
READ_BYTES = 1 << 19
FLUSHES_WAITING = 4
"""Commits whose batches may wait for the store; beyond, the journal is the buffer."""
LEAST_BATCH_BYTES = 64 * 1024
RELEASE_EVERY_S = 5.0


class Tail(Protocol):
    """What the analyst needs of `journal.reader.JournalReader`."""

    def read(self, after: Position, max_bytes: int) -> Sequence[Segment | Corrupt]: ...

    def release(self, position: Position) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How large and how old a batch may get, and what the statistics begin with."""

    batch_bytes: int = 16 << 20
    batch_age_s: float = 30.0
    heartbeat_s: float = 300.0
    """A log without another leaf for so long says that it is alive."""


@dataclass(frozen=True, slots=True)
class LiveBoot:
    """The boot whose logs this analyst keeps alive and closes: its name, and the identities of its routes."""

    boot: str = ""
    epochs: tuple[Epoch, ...] = ()

    @property
    def routes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(epoch.route for epoch in self.epochs))


class Analyst:
    """One journal's analyst. Call `step` for ever, `finish` at the end.

    `give_back` is called after each commit, when much memory has just become free.
    """

    def __init__(
        self,
        tail: Tail,
        state: AnalystState,
        sink: Sink,
        analysis: Analysis,
        sealer: Sealer,
        suspects: Suspects,
        limits: Limits,
        clock: Clock,
        live: LiveBoot | None = None,
        backoff: Backoff | None = None,
        panes: PaneShipper | None = None,
        identities: Identities | None = None,
        give_back: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._tail = tail
        self._state = state
        self._analysis = analysis
        self._sealer = sealer
        self._live = live or LiveBoot()
        self._suspects = suspects
        self._limits = limits
        self._clock = clock
        self._identities = identities
        self._panes = panes or PaneShipper(Whereabouts(), 0, clock)
        self._give_back = give_back
        self._sleep = sleep
        self._state_backoff = Backoff(cap_s=5.0)
        # Reentrant use is not needed; it guards monitors against the console's thread.
        self.counting = threading.Lock()
        self._batch_limit = max(limits.batch_bytes >> min(suspects.encode_deaths, 16), LEAST_BATCH_BYTES)
        self._commit_at_ns = 0
        self._release_at_ns = 0
        self._state_error = ""
        self._started_us = clock.wall_us()
        self._uploads = Uploads(
            state, sink, clock, backoff or Backoff(), state.load().shipping, lambda: self._release(force=True)
        )
        self._since_ns: int | None = None
        self._since_us = 0
        self._intake = self._fresh_intake()
        self._caught_up_us = 0
        self._at_end = False
        """Whether the last look at the journal found nothing more."""
        self.snapshot = Snapshot()
        self.alarms: tuple[OwnAlarm, ...] = ()
        """Of this sidecar alone, as they stood after the last step: values, for whoever looks at them."""
        self._publish()

    def step(self) -> float:
        """Do what is due. Returns the seconds after which there may be something to do again."""
        self._uploads.ship()
        self._identify()
        busy = self._read()
        self._keep_alive()
        if self._due() or (self._panes.due() and self._now() >= self._commit_at_ns):
            self._flush()
            busy = True
        self._release(force=False)
        self._publish()
        next_ns = self._uploads.next_ns()
        if busy or (next_ns is not None and self._now() >= next_ns):
            return 0.0
        return POLL_S

    def finish(self, deadline_ns: int) -> bool:
        """Read to the journal's end and ship everything, until `deadline_ns` of the monotonic clock.

        True when nothing is left behind. What is left is shipped by the next boot.
        """
        if self._identities is not None:
            self._identities.hurry()
        while self._now() < deadline_ns:
            self._uploads.ship()
            self._identify()
            if not self._read():
                if self._now() < self._commit_at_ns:
                    # Not read to its end: what is there waits for memory or for the state's disk.
                    self._wait_until(min(self._commit_at_ns, deadline_ns))
                    continue
                if self._at_end:
                    self._close_logs()
                if self._waiting() or (self._at_end and self._panes.due_at_end()):
                    self._flush(final=self._at_end)
                elif self._uploads.settled:
                    self._release(force=True)
                    self._publish()
                    return True
                next_ns = self._uploads.next_ns()
                if next_ns is not None and self._now() < next_ns:
                    self._wait_until(min(next_ns, deadline_ns))
        self._publish()
        return False

    def recover(self, reason: str) -> None:
        """Begin again from the last commit, after an error that nobody foresaw."""
        self._give_up(reason)
        self._uploads.reload()
        self._publish()

    def summaries(self) -> list[tuple[MonitorKey, dict[str, object]]]:
        """What each monitor has to say; may be called from another thread."""
        with self.counting:
            return [(key, monitor.summary()) for key, monitor in self._intake.statistics.by_key.items()]

    def _wait_until(self, time_ns: int) -> None:
        self._sleep(max(time_ns - self._now(), 0) / 1e9)

    def _now(self) -> int:
        return self._clock.monotonic_ns()

    def _fresh_intake(self) -> Intake:
        with self.counting:
            intake = Intake(self._state.load(), self._analysis, self._suspects, self.counting)
        intake.know(self._live.boot, self._live.epochs)
        if self._identities is not None:
            self._identities.begin(intake.known)
        if intake.statistics.changed:
            # Statistics that began anew: what they were is not to stay in the state until traffic comes.
            self._wait_since(self._clock.wall_us())
        return intake

    def _identify(self) -> None:
        """Use what was told of the models since: in what is not sealed yet, or in a leaf of its own."""
        if self._identities is None:
            return
        intake = self._intake
        changed = self._identities.settle(intake.known, self._caught_up_us if self._at_end else 0)
        if changed and intake.has_epochs(self._live.boot, changed):
            # What is not committed is read again, as after a crash, and labelled by what is known now.
            with self.counting:
                intake.forget()
            self._intake = intake = self._fresh_intake()
        for log_name in intake.known.due:
            boot, _, route = log_name.partition(".")
            if not intake.holds(boot, route):
                intake.mark(boot, route, None, self._clock.wall_us())
                self._wait_since(self._clock.wall_us())

    def _keep_alive(self) -> None:
        """Begin the log of each route at once, and let an idle one say that it is alive."""
        intake, boot, now_us = self._intake, self._live.boot, self._clock.wall_us()
        for route in self._live.routes:
            tree = self._sealer.tree_of(intake.known, boot, route)
            idle_us = 0 if tree is None or tree.closed else now_us - tree.t_us
            # A heartbeat says that nothing older is left: not while the journal has more than was read.
            idle = self._at_end and idle_us >= self._limits.heartbeat_s * 1e6
            if (tree is None or idle) and not intake.holds(boot, route):
                intake.mark(boot, route, "heartbeat" if tree else None, now_us)
                self._wait_since(now_us)

    def _close_logs(self) -> None:
        """The last leaf of each log that this boot seals, at a shutdown that left nothing unread."""
        intake, boot, now_us = self._intake, self._live.boot, self._clock.wall_us()
        logs = dict.fromkeys((boot, route) for route in self._live.routes)
        logs |= dict.fromkeys((key.boot, key.route) for key in intake.groups)
        logs |= dict.fromkeys(self._sealer.open_logs(intake.known))
        for log_boot, route in logs:
            tree = self._sealer.tree_of(intake.known, log_boot, route)
            if tree is None or not tree.closed:
                intake.mark(log_boot, route, "close", now_us)
                self._wait_since(now_us)

    def _wait_since(self, now_us: int) -> None:
        if self._since_ns is None:
            self._since_ns, self._since_us = self._now(), now_us

    def _waiting(self) -> bool:
        """Whether anything was read that is not committed."""
        return self._since_ns is not None

    def _room(self) -> bool:
        waiting = self._uploads.batches
        befores = {pending.before for pending in waiting}
        size = sum(pending.size for pending in waiting)
        return len(befores) < FLUSHES_WAITING and size < FLUSHES_WAITING * self._limits.batch_bytes

    def _read(self) -> bool:
        """Take the journal's next segments, if there is room for them. True if there were any."""
        self._at_end = False
        if not self._room() or self._now() < self._commit_at_ns or self._full():
            return False
        if self._identities is not None and self._identities.holds():
            return False
        intake = self._intake
        began_us = self._clock.wall_us()
        most = min(READ_BYTES, self._batch_limit)
        segments = self._tail.read(intake.known.cursor, most)
        caught_up = sum(each.raw_bytes for each in segments if isinstance(each, Segment)) < most
        if not segments:
            self._caught_up_us = began_us
            intake.statistics.count_all()
            intake.statistics.advance(began_us)
            self._at_end = True
            return False
        taken = 0
        try:
            for segment in segments:
                if isinstance(segment, Corrupt):
                    intake.skip(segment)
                elif self._identities is None or self._identities.admits(segment, intake.known):
                    intake.take(segment)
                else:
                    # It waits in the journal for what is told of the model that answered in it.
                    caught_up = False
                    break
                taken += 1
                self._wait_since(began_us)
        except MemoryError:
            self._give_up("out of memory while reading the journal: the batch is begun again, smaller")
            return True
        if not taken:
            return self._identities is not None and self._identities.news
        if caught_up:
            self._caught_up_us = began_us
        # Behind the traffic, it is known only as far as it was read: panes of what lies ahead stay open.
        intake.statistics.advance(began_us if caught_up else min(began_us, intake.statistics.latest_us))
        return True

    def _full(self) -> bool:
        return self._intake.raw_bytes >= self._batch_limit

    def _due(self) -> bool:
        if self._since_ns is None or self._now() < self._commit_at_ns:
            return False
        return self._full() or self._now() - self._since_ns >= self._limits.batch_age_s * 1e9

    def _flush(self, final: bool = False) -> None:
        """Seal and encode what was read and commit it with cursor, trees, statistics and totals."""
        intake = self._intake
        try:
            intake.statistics.count_all()
            self._suspects.encoding()
            groups = in_order(intake.groups.values())
            intake.count("unidentified", sum(each.rows for each in groups if each.epoch.digest == "unknown"))
            batches = [self._sealer.seal(group, intake.known) for group in groups]
            intake.count("leaves", sum(each.records for each in batches))
            self._suspects.idle()
            with self.counting:
                waiting = self._uploads.waiting_statistics
                statistics = self._panes.take(
                    intake.statistics.by_key, intake.known, waiting, self._caught_up_us, final
                )
            if statistics:
                intake.statistics.changed.update(intake.statistics.by_key)
            monitors = {key: intake.statistics.by_key[key].state() for key in intake.statistics.changed}
            self._state.commit(intake.known, monitors, batches, self._since_us, statistics)
        except (JournalFull, MemoryError) as error:
            self._give_up(str(error) or "out of memory while encoding a batch")
            return
        self._suspects.committed(intake.known.cursor.segment)
        self._panes.committed(final)
        if self._state_error:
            log.info("analyst state written again")
        self._state_error = ""
        self._state_backoff.succeeded()
        self._batch_limit = min(self._batch_limit * 2, self._limits.batch_bytes)
        self._since_ns = None
        intake.committed()
        self._uploads.reload()
        del batches, monitors
        self._give_back()

    def _give_up(self, reason: str) -> None:
        """Forget what is not committed, as a crash would, and go on with smaller batches."""
        self._suspects.idle()
        self._batch_limit = max(self._batch_limit // 2, LEAST_BATCH_BYTES)
        self._commit_at_ns = self._now() + int(self._state_backoff.failed() * 1e9)
        if not self._state_error:
            log.warning("%s; batches are now of %d bytes", reason, self._batch_limit)
        self._state_error = reason
        self._since_ns = None
        with self.counting:
            # Before the last commit is loaded: there may not be memory for both.
            self._intake.forget()
        self._intake = self._fresh_intake()

    def _release(self, force: bool) -> None:
        if not force and self._now() < self._release_at_ns:
            return
        self._release_at_ns = self._now() + int(RELEASE_EVERY_S * 1e9)
        position = self._state.releasable()
        gone = self._tail.release(position)
        if gone:
            log.debug("journal volumes released: %s", gone)

    def _publish(self) -> None:
        self.alarms = self._intake.statistics.alarms()
        known = self._intake.known
        rows = self._intake.rows
        uploads, waiting = self._uploads, self._uploads.batches
        oldest_us = waiting[0].since_us if waiting else self._since_us if rows else 0
        self.snapshot = Snapshot(
            totals=dict(known.totals),
            shipping=dict(uploads.shipping),
            read_seq={name: end.seq for name, end in known.logs.items()},
            caught_up_us=self._caught_up_us,
            waiting_rows=rows,
            pending=len(waiting),
            pending_bytes=sum(pending.size for pending in waiting),
            pending_rows=sum(pending.records for pending in waiting),
            oldest_us=oldest_us,
            store_error=uploads.records.error,
            store_failures=uploads.records.backoff.failures,
            state_error=self._state_error,
            batch_limit_bytes=self._batch_limit,
            started_us=self._started_us,
            identity=self._identities.counts(known) if self._identities is not None else {},
        )
