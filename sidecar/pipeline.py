# ruff: noqa: E402 - the environment must be set before the libraries that read it are loaded
"""The analyst's process: `python -m sidecar.pipeline FD`.

The main thread runs the admin address; one other thread runs the analyst. The
process is the first to give way: it runs when nobody else wants to, and its data is limited, so that
what it may need never takes the machine or the container from the recorder.
"""

from __future__ import annotations

import os

# Before numpy and Arrow are loaded: a pool of threads per library would cost memory and help nobody.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS"):
    os.environ.setdefault(_name, "1")

import signal

if __name__ == "__main__":
    # Until there is a handler: told to end while it starts, it still ships what there is.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))

import asyncio
import contextlib
import gc
import logging
import resource
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sidecar import __version__, logs
from sidecar.advising import adviser
from sidecar.alerting.target import parse_target
from sidecar.analyst import Analyst, Limits, LiveBoot
from sidecar.clock import Clock, SystemClock
from sidecar.config import Handover, Settings
from sidecar.console.admin import serve
from sidecar.console.board import Board
from sidecar.console.snapshot import Snapshot
from sidecar.counters import Counters, Global
from sidecar.decode.registry import Decoding
from sidecar.errors import JournalFull, SidecarError
from sidecar.guarding import fault, guard_of
from sidecar.identifying import facts_of, identities, told
from sidecar.identity.facts import Facts
from sidecar.intake import Analysis
from sidecar.journal.reader import JournalReader
from sidecar.label_desk import LabelDesk, key_hash
from sidecar.ledger.origin import Place
from sidecar.memory import memory_giver
from sidecar.monitoring import monitoring
from sidecar.pane_shipping import PaneShipper, Whereabouts
from sidecar.sealing import BootFacts, Sealer
from sidecar.shipping.location import Kind, locate
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.sink import Sink, SplitSink
from sidecar.shipping.state import AnalystState
from sidecar.shipping.stores import sink_for
from sidecar.signing import SigningClient
from sidecar.suspects import Suspects

log = logging.getLogger("sidecar.pipeline")

NICENESS = 19
RETRY_S = 1.0
STEP_CPU_S = 20.0
"""A step that computes for longer is stuck in a library that holds the interpreter (an allocator that
finds no memory, say): the kernel then ends this process, and the marker says at which exchange."""
RECORDER_POLL_S = 0.05
LATE_S = 0.5
"""How much longer than `ship_timeout` the analyst may take to notice that time is over."""
STATE_FOLDER = "analyst"
MARKER = "analyst-marker.bin"


def build(
    handover: Handover, clock: Clock, environment: Mapping[str, str], facts: Facts | None = None
) -> Analyst:
    """The analyst of a journal, its state open. `facts`: what will be told of the model's container.

    Raises JournalFull while the disk has no room even for that, other
    SidecarErrors for what waiting cannot mend.
    """
    settings = handover.settings
    journal = Path(settings.journal)
    state = AnalystState.open(journal / STATE_FOLDER, log.error)
    suspects = Suspects(journal / MARKER)
    guard = guard_of(settings, more_computing)
    watching = monitoring(settings, guard.token)
    # Only before the first batch: later on, a missing root is a volume that is not mounted.
    fresh = "batches" not in state.load().shipping
    return Analyst(
        tail=JournalReader(journal, handover.boot, Path(handover.counters_path)),
        state=state,
        sink=sink_of(settings, environment, fresh, handover.read_back),
        analysis=Analysis(
            decoder=Decoding(settings.decoder, settings.decode_limit),
            new_monitor=watching.begin,
            restore_monitor=watching.restore,
            guard=guard,
        ),
        sealer=Sealer(boot_facts(handover), SigningClient(handover.signer_fd), clock),
        suspects=suspects,
        limits=Limits(_batch_bytes(settings, journal), settings.batch_age_s, settings.heartbeat_s),
        clock=clock,
        live=LiveBoot(handover.boot, handover.epochs),
        panes=pane_shipper(settings, clock),
        identities=identities(handover, facts, clock),
        give_back=memory_giver(),
    )


def more_computing() -> None:
    """Lets the step that computes now compute for as long again, where that is limited."""
    left_s = signal.getitimer(signal.ITIMER_PROF)[0]
    if left_s:
        signal.setitimer(signal.ITIMER_PROF, max(left_s, STEP_CPU_S))


def sink_of(
    settings: Settings, environment: Mapping[str, str], create: bool, read_back: bool = False
) -> Sink:
    """The store, with key objects going elsewhere where that was asked for."""
    options = store_options(settings, environment)

    def opened(url: str) -> Sink:
        if read_back:
            # Loaded only for a drainer: a sidecar never reads the store.
            from sidecar.objects import open_store
            from sidecar.reading_back import ReadingBack

            return ReadingBack(sink_for(url, options=options, create=False), open_store(url, options))
        return sink_for(url, options=options, create=create)

    store = opened(settings.store)
    if settings.subjects_store is None:
        return store
    return SplitSink(store, {"subjects/": opened(settings.subjects_store)})


def store_options(settings: Settings, environment: Mapping[str, str]) -> StoreOptions:
    """How the store is talked to; credentials come from the environment, by the platform's own chain."""
    return StoreOptions(
        endpoint=settings.store_endpoint,
        region=settings.store_region,
        ca=settings.store_ca,
        timeout_s=settings.store_timeout_s,
        event_mode=settings.event_mode,
        token_file=settings.store_token_file,
        environment=environment,
    )


def pane_shipper(settings: Settings, clock: Clock) -> PaneShipper:
    """What ships the statistics; a receiver of events could not keep them."""
    place = Whereabouts(*(each or "" for each in _place(settings)))
    keeps = locate(settings.store).kind is not Kind.EVENTS
    return PaneShipper(place, settings.statistics_ship_s if keeps else 0, clock)


def _place(settings: Settings) -> tuple[str | None, ...]:
    return settings.cluster, settings.namespace, settings.workload, settings.pod_uid


def label_desk(settings: Settings, environment: Mapping[str, str], read_back: bool = False) -> LabelDesk:
    """What takes posted labels; a receiver of events could not keep them."""

    def open_sink() -> Sink:
        return sink_of(settings, environment, False, read_back)

    keeps = locate(settings.store).kind is not Kind.EVENTS
    return LabelDesk(
        Path(settings.journal), open_sink if keeps else None, settings.batch_age_s, key_hash(settings)
    )


def boot_facts(handover: Handover) -> BootFacts:
    """What this boot's logs say of it: its settings are in their second leaf."""
    settings = handover.settings
    return BootFacts(
        place=Place(*(part or "" for part in _place(settings))),
        boot=handover.boot,
        version=__version__,
        public_key=handover.public_key,
        enrolment=handover.enrolment,
        settings=_without_secrets(settings),
        store=settings.store,
    )


def _without_secrets(settings: Settings) -> dict[str, Any]:
    """The settings, JSON-able; of receivers of alerts only kind and host, since a path may be a secret."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    return plain | {"alert_url": [parse_target(url).shown for url in settings.alert_url]}


def _batch_bytes(settings: Settings, journal: Path) -> int:
    """The batch size, brought down where the journal's disk is small: batches wait there for the store."""
    try:
        system = os.statvfs(journal)
    except OSError:
        return settings.batch_bytes
    return max(min(settings.batch_bytes, system.f_blocks * system.f_frsize // 16), 256 * 1024)


class Worker(threading.Thread):
    """Runs the analyst until told to stop, then ships what it can within `ship_timeout`."""

    def __init__(
        self,
        handover: Handover,
        clock: Clock,
        done: asyncio.Event,
        loop: asyncio.AbstractEventLoop,
        facts: Facts | None,
    ) -> None:
        super().__init__(name="analyst", daemon=True)
        self.analyst: Analyst | None = None
        self.failure: BaseException | None = None
        self._handover = handover
        self._clock = clock
        self._stopping = threading.Event()
        self._done = done
        self._loop = loop
        self._facts = facts

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        try:
            self.analyst = self._open()
            if self.analyst is not None:
                self._work(self.analyst)
        except BaseException as error:
            self.failure = error
        finally:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._done.set)

    def _open(self) -> Analyst | None:
        # Once even if told to stop already: what a dead analyst left is still to be shipped.
        while True:
            try:
                return build(self._handover, self._clock, dict(os.environ), self._facts)
            except JournalFull as error:
                log.warning("%s; tried again", error)
                if self._stopping.wait(RETRY_S):
                    return None

    def _work(self, analyst: Analyst) -> None:
        while not self._stopping.is_set():
            try:
                # Nothing handles SIGPROF: a handler in Python would never get its turn.
                signal.setitimer(signal.ITIMER_PROF, STEP_CPU_S)
                wait_s = analyst.step()
            except Exception as error:
                # What is not committed is read again; a fault that stays shows in the log and as lag.
                log.error(
                    "analyst failed, beginning again from its last commit: %s",
                    fault(error),
                    exc_info=not _discreet(self._handover.settings),
                )
                analyst.recover(type(error).__name__)
                wait_s = RETRY_S
            if wait_s:
                self._stopping.wait(wait_s)
        ship_s = self._handover.settings.ship_timeout_s
        signal.setitimer(signal.ITIMER_PROF, ship_s + STEP_CPU_S)
        deadline_ns = self._clock.monotonic_ns() + int(ship_s * 1e9)
        if analyst.finish(deadline_ns):
            log.info("everything shipped")
        else:
            log.warning("not everything could be shipped in time: the next start ships it from the journal")


async def run(handover: Handover) -> int:
    """Serve the admin address and work until SIGTERM. Returns the exit code."""
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    counters = Counters.open(Path(handover.counters_path))
    done, stop = asyncio.Event(), asyncio.Event()
    facts = facts_of(handover.settings)
    worker = Worker(handover, clock, done, loop, facts)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    loop.add_reader(handover.life_fd, _orphaned, handover.life_fd)
    worker.start()
    desk = label_desk(handover.settings, dict(os.environ), handover.read_back)
    shipper = threading.Thread(target=desk.run, name="labels", daemon=True)
    shipper.start()
    advising = adviser(handover.settings, clock, lambda: worker.analyst.alarms if worker.analyst else ())
    sending = asyncio.ensure_future(advising.run())
    sending.add_done_callback(_sending_ended)
    board = Board(
        counters,
        clock,
        journal=handover.settings.journal,
        store=handover.settings.store,
        snapshot=lambda: worker.analyst.snapshot if worker.analyst else Snapshot(),
        summaries=lambda: worker.analyst.summaries() if worker.analyst else [],
        labels=desk.counts,
        alerts=advising.counts,
    )
    telling = told(handover.settings, facts, dict(os.environ))
    async with telling, serve(handover.admin_fds, board, desk.take):
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, done)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        # Service managers signal the whole group at once; what the recorder commits while it
        # drains must still be shipped, and the supervisor clears its pid once it has ended.
        while counters.get(Global.RECORDER_PID) and not done.is_set():  # noqa: ASYNC110 - another process's memory
            await asyncio.sleep(RECORDER_POLL_S)
        worker.stop()
        desk.stop()
        # One budget for all of it, also when the store takes a request and never answers.
        until_s = loop.time() + handover.settings.ship_timeout_s
        await asyncio.wait([waits[1]], timeout=handover.settings.ship_timeout_s + LATE_S)
        sending.cancel()
        await asyncio.wait([sending])
        await advising.end(max(0.0, until_s - loop.time()))
        await asyncio.to_thread(shipper.join, max(0.0, until_s - loop.time()))
        waits[0].cancel()
    if not done.is_set():
        log.warning("the store does not answer: what is not shipped stays in the journal for the next start")
        logging.shutdown()
        # Its thread waits inside a request, and no interpreter can end around it.
        os._exit(0)
    if worker.failure is not None:
        if isinstance(worker.failure, SidecarError):
            log.error("%s", worker.failure)
            return worker.failure.exit_code
        shown = None if _discreet(handover.settings) else worker.failure
        log.error("analyst died: %s", fault(worker.failure), exc_info=shown)
        return 1
    return 0


def _sending_ended(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("alerts are not sent any more: %s", fault(error))


def _discreet(settings: Settings) -> bool:
    """Whether an error's words may quote what is redacted or encrypted."""
    return bool(settings.redact) or settings.master_key is not None


def _orphaned(life_fd: int) -> None:
    """The life pipe became readable: only its end can be there, so the supervisor is gone."""
    if os.read(life_fd, 1) == b"":
        os._exit(1)


def _limit(settings: Settings) -> None:
    """Bound this process.

    RLIMIT_DATA counts private writable memory only; RLIMIT_AS would count the
    maps of journal volumes and state as well, which are gigabytes of address
    space and no memory.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = settings.analyst_memory if hard == resource.RLIM_INFINITY else min(settings.analyst_memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    with contextlib.suppress(OSError):
        os.nice(NICENESS - os.nice(0))
    with contextlib.suppress(OSError):
        # Niceness alone lets it finish a slice of milliseconds when the recorder wakes, and requests wait.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> int:
    """Entry point; the handover's descriptor is the only argument."""
    handover = Handover.read(int(sys.argv[1]))
    settings = handover.settings
    logs.configure(settings.log_format, settings.log_level, "analyst")
    _limit(settings)
    # Rows are tuples of immutable values: there is little for the collector to find, and much to walk.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return asyncio.run(run(handover))


if __name__ == "__main__":
    sys.exit(main())
