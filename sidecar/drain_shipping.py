"""Glue: a dead pod's journal is shipped by an analyst of its own, under a log and a key of its own.

The very process that ships a living pod's journal, with the same bounds and the
same ways to go on after a death; only that no recorder runs beside it, and that
it ends when nothing is left.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sidecar.boot import boot_id, place_of
from sidecar.clock import Clock
from sidecar.config import Handover, Settings
from sidecar.counters import Counters, Global, descriptor_in
from sidecar.errors import JournalError
from sidecar.identity.static import static_epoch
from sidecar.journal.limits import MIB, JournalLimits
from sidecar.journal.writer import JournalWriter
from sidecar.ledger.enrolment import certify
from sidecar.ledger.note import SigningKey
from sidecar.signing import SigningServer
from sidecar.supervisor import ANALYST_DELAY_LIMIT_S, Child

log = logging.getLogger(__name__)

# -P: as `sidecar run` does.
COMMAND = (sys.executable, "-P", "-m", "sidecar.pipeline")
POLL_S = 0.1
MOST_DEATHS = 8
"""Of one analyst; an exchange that kills it is known by then and passed over."""
ACCOUNT_S = 30.0
VOLUME_BYTES = 4 * MIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long one journal may take, and what a stop leaves it."""

    timeout_s: float
    grace_s: float


class Shipping:
    """One attempt at one journal, whose lock the caller holds."""

    def __init__(
        self, settings: Settings, lock_fd: int, enroller: SigningKey | None, clock: Clock, bounds: Bounds
    ) -> None:
        self._settings = settings
        self._lock_fd = lock_fd
        self._enroller = enroller
        self._clock = clock
        self._bounds = bounds
        self._wall_us = clock.wall_us()
        self.boot = boot_id(self._wall_us, os.urandom(5))
        """Signs whatever this attempt seals."""

    def run(self, environment: Mapping[str, str], stop: threading.Event) -> None:
        """Ship what there is until nothing is left, time is over, or `stop` and its grace.

        Raises JournalError when what was begun and never committed cannot be
        accounted for, or the analyst cannot live.
        """
        with ExitStack() as stack:
            counters = self._counters(stack)
            blocked = self._account(counters)
            self._ship(counters, environment, stop)
            if blocked and not stop.is_set():
                # Shipped volumes are gone now, and there is room for the rest.
                blocked = self._account(counters)
                self._ship(counters, environment, stop)
            if blocked:
                raise JournalError(blocked)

    def _counters(self, stack: ExitStack) -> Counters:
        folder = Path(self._settings.journal)
        counters = Counters.create(folder, self.boot, [route.name for route in self._settings.routes])
        stack.callback(counters.close)
        counters.set(Global.BOOT_WALL_US, self._wall_us)
        return counters

    def _account(self, counters: Counters) -> str:
        """Gaps for exchanges that dead recorders began and never committed; why not, if not."""
        settings = self._settings
        # A journal that is as full as it may be still takes this.
        bytes_most = settings.journal_max_bytes + settings.volume_bytes + VOLUME_BYTES
        limits = JournalLimits(max_bytes=bytes_most, volume_bytes=VOLUME_BYTES)
        epochs = [
            static_epoch(each.name, each.model, each.image_digest, each.artifact_digest, self._wall_us)
            for each in settings.routes
        ]

        async def write() -> str:
            folder = Path(settings.journal)
            writer = JournalWriter(folder, self.boot, counters, self._clock, limits, epochs)
            writer.start(asyncio.get_running_loop())
            await writer.close(ACCOUNT_S)
            return writer.detail if writer.reason else ""

        return asyncio.run(write())

    def _ship(self, counters: Counters, environment: Mapping[str, str], stop: threading.Event) -> None:
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            key = SigningKey.generate(f"boot-{self.boot}")
            signer = SigningServer(selector, key, self.boot)
            stack.callback(signer.close)
            child = self._child(counters, key, signer, stack)
            try:
                self._watch(child, selector, environment, stop)
            finally:
                if child.process is not None and child.process.poll() is None:
                    child.process.kill()
                    child.process.wait()

    def _child(self, counters: Counters, key: SigningKey, signer: SigningServer, stack: ExitStack) -> Child:
        life_fd, life_write = os.pipe()
        stack.callback(os.close, life_fd)
        stack.callback(os.close, life_write)
        public_key = key.verifier.public_key
        prefix = place_of(self._settings).prefix
        handover = Handover(
            settings=self._settings,
            boot=self.boot,
            boot_wall_us=self._wall_us,
            counters_path=counters.inheritable,
            listeners={},
            health_fds=[],
            admin_fds=[],
            life_fd=life_fd,
            lock_fd=self._lock_fd,
            signer_fd=signer.theirs.fileno(),
            public_key=public_key,
            enrolment=certify(self._enroller, prefix, self.boot, public_key) if self._enroller else None,
            read_back=True,
        )
        descriptor = handover.write()
        stack.callback(os.close, descriptor)
        inherited = (life_fd, self._lock_fd, handover.signer_fd, descriptor_in(handover.counters_path))
        return Child("analyst", COMMAND, descriptor, inherited, ANALYST_DELAY_LIMIT_S)

    def _watch(
        self,
        child: Child,
        selector: selectors.BaseSelector,
        environment: Mapping[str, str],
        stop: threading.Event,
    ) -> None:
        deadline_s = time.monotonic() + self._bounds.timeout_s
        deaths, stopping = 0, False
        self._start(child, environment)
        while child.process is not None:
            for key, _ in selector.select(POLL_S):
                key.data()
            if stop.is_set() and not stopping:
                stopping = True
                deadline_s = min(deadline_s, time.monotonic() + self._bounds.grace_s)
            status = child.process.poll()
            if time.monotonic() >= deadline_s and status is None:
                # Whatever it is at, the next attempt goes on from its last commit.
                return
            if status == 0:
                return
            if status is not None:
                deaths += 1
                if deaths >= MOST_DEATHS or stopping or time.monotonic() >= deadline_s:
                    raise JournalError(
                        f"journal {self._settings.journal}: its analyst ended with {status}, {deaths} times: "
                        "see its log above; it is tried again"
                    )
                time.sleep(child.backoff.after(time.monotonic() - child.started_s))
                self._start(child, environment)

    def _start(self, child: Child, environment: Mapping[str, str]) -> None:
        # Told to end from the start, it ends once everything is shipped.
        child.start(environment, (signal.SIGTERM,))
        child.signal(signal.SIGTERM)
        assert isinstance(child.process, subprocess.Popen)
