"""The supervisor's loop: keeps two children alive, and ends them in order.

    running ── SIGTERM, SIGINT, SIGHUP ──▶ draining ── recorder ended ──▶ shipping ── analyst ended ──▶ done

While running or draining, a child that dies is started again: the recorder only
while running, the analyst until it is told to ship, and once for that if it is
down just then. A second SIGINT ends the waiting. Plain selectors: the whole job is to sleep, reap and exec.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

from sidecar.counters import Counters, Global, Mode
from sidecar.errors import UsageError

log = logging.getLogger(__name__)

QUICK_DEATH_S = 1.0
"""A child that lived longer is started again without delay."""
FIRST_DELAY_S = 0.01
RECORDER_DELAY_LIMIT_S = 0.2
"""Traffic waits in the backlog meanwhile, so this stays well below a client's patience."""
ANALYST_DELAY_LIMIT_S = 5.0
STOP_MARGIN_S = 5.0
"""A child may take this much longer than its own deadline before it is killed."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGHUP)
"""A terminal sends these to the whole group; only the supervisor acts on them."""


class Phase(Enum):
    RUNNING = "running"
    DRAINING = "draining"
    SHIPPING = "shipping"
    DONE = "done"


class Backoff:
    """How long to wait before the next start; no wait unless deaths come quickly one after the other."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._quick_deaths = 0

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a child that lived so long: 0 at first, then doubling up to the limit."""
        if lived_s >= QUICK_DEATH_S:
            self._quick_deaths = 0
            return 0.0
        self._quick_deaths += 1
        if self._quick_deaths == 1:
            return 0.0
        return float(min(self._limit_s, FIRST_DELAY_S * 2 ** min(self._quick_deaths - 2, 20)))


class Child:
    """One of the two processes: how to start it, and what has become of it."""

    def __init__(
        self, name: str, command: Sequence[str], handover_fd: int, inherited: Sequence[int], limit_s: float
    ) -> None:
        """`command` is run with the handover's descriptor number as its last argument."""
        self.name = name
        self.backoff = Backoff(limit_s)
        self.process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.start_due_s: float | None = 0.0
        """Monotonic time of the next start; None while it runs or is not wanted."""
        self._command = [*command, str(handover_fd)]
        self._descriptors = (handover_fd, *inherited)

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def start(self, environment: Mapping[str, str], waiting: Sequence[signal.Signals] = ()) -> None:
        """Exec the child; `waiting` signals reach it once it unblocks them.

        Raises OSError when the machine has no room for another process.
        """
        self.started_s = time.monotonic()
        self.start_due_s = None
        with _blocked((*_TERMINAL_SIGNALS, *waiting)):
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, pass_fds=self._descriptors, env=dict(environment)
            )

    def signal(self, number: signal.Signals) -> None:
        # Popen.send_signal would reap an ended child on the way, and its end would go unnoticed.
        if self.process is not None:
            os.kill(self.process.pid, number)


@contextmanager
def _blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Signals that a child inherits as blocked; for the supervisor they only come a moment later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Supervisor:
    """Runs until a signal asks it to stop and both children have ended."""

    def __init__(
        self,
        counters: Counters,
        recorder: Child,
        analyst: Child,
        listeners: Sequence[socket.socket],
        selector: selectors.BaseSelector,
        drain_s: float,
        ship_s: float,
        environment: Mapping[str, str],
    ) -> None:
        """`drain_s` and `ship_s` are what the children are allowed to take after SIGTERM."""
        self.phase = Phase.RUNNING
        self._counters = counters
        self._recorder = recorder
        self._analyst = analyst
        self._listeners = listeners
        self._selector = selector
        self._drain_s = drain_s
        self._ship_s = ship_s
        self._environment = environment
        self._deadline_s: float | None = None
        self._interrupts = 0
        self._killed = False
        self._started_to_ship = False
        self._pid_slots = {recorder: Global.RECORDER_PID, analyst: Global.ANALYST_PID}
        self._start_slots = {recorder: Global.RECORDER_STARTS, analyst: Global.ANALYST_STARTS}

    def run(self) -> int:
        """The exit code: 0, or 1 when a child had to be killed at the end."""
        with self._signals():
            while self.phase is not Phase.DONE:
                self._start_due()
                for key, _ in self._selector.select(self._timeout_s()):
                    key.data()
                self._reap()
                self._enforce_deadline()
        return int(self._killed)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What `sidecar ctl` asked for. Raises UsageError for anything unknown."""
        if request.get("do") == "mode":
            label = request.get("mode")
            modes = {mode_label(mode): mode for mode in Mode}
            if label not in modes:
                raise UsageError(f"mode {label!r}: not one of {', '.join(modes)}")
            self._counters.set(Global.MODE, modes[label])
            log.warning("recording mode is now %s", label)
        elif request.get("do") != "status":
            raise UsageError(f"request {request.get('do')!r}: this sidecar knows `mode` and `status`")
        counters = self._counters
        return {
            "boot": counters.boot,
            "phase": self.phase.value,
            "mode": mode_label(Mode(counters.get(Global.MODE))),
            "processes": {
                "supervisor": os.getpid(),
                "recorder": self._recorder.pid or None,
                "analyst": self._analyst.pid or None,
            },
            "starts": {
                "recorder": counters.get(Global.RECORDER_STARTS),
                "analyst": counters.get(Global.ANALYST_STARTS),
            },
        }

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals wake the selector as bytes on a socket pair."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._selector.register(reader, selectors.EVENT_READ, lambda: self._on_signals(reader))
        before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        # `nohup` ignores SIGHUP for us; that stays.
        wanted = [n for n in (*_STOP_SIGNALS, signal.SIGCHLD) if signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, lambda *_: None) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before_fd)
            self._selector.unregister(reader)
            reader.close()
            writer.close()

    def _on_signals(self, reader: socket.socket) -> None:
        for number in reader.recv(4096):
            if number not in _STOP_SIGNALS:
                continue
            if self.phase is Phase.RUNNING:
                self._drain(signal.Signals(number).name)
            self._interrupts += number == signal.SIGINT
            if self._interrupts >= 2 and self.phase is not Phase.DONE:
                self._deadline_s = time.monotonic()

    def _timeout_s(self) -> float | None:
        due = [
            child.start_due_s for child in (self._recorder, self._analyst) if child.start_due_s is not None
        ]
        if self._deadline_s is not None:
            due.append(self._deadline_s)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start_due(self) -> None:
        for child in (self._recorder, self._analyst):
            if child.start_due_s is not None and child.start_due_s <= time.monotonic():
                self._start(child)

    def _start(self, child: Child) -> None:
        slot = self._start_slots[child]
        # Before the start, so that the child can tell a first start from a restart.
        self._counters.set(slot, self._counters.get(slot) + 1)
        # Told to end while it starts, the analyst must not die of it: it has something to ship.
        waiting = (signal.SIGTERM,) if child is self._analyst else ()
        try:
            child.start(self._environment, waiting)
        except OSError as error:
            child.start_due_s = time.monotonic() + child.backoff.after(0.0) + FIRST_DELAY_S
            log.error("%s cannot be started: %s", child.name, error.strerror)
            return
        self._counters.set(self._pid_slots[child], child.pid)
        log.info("%s started", child.name, extra={"pid": child.pid, "starts": self._counters.get(slot)})

    def _reap(self) -> None:
        """Note every ended child; as a container's first process, also those that others left behind."""
        by_pid = {child.pid: child for child in (self._recorder, self._analyst) if child.process}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            child = by_pid.pop(ended.si_pid, None)
            if child is not None and child.process is not None:
                self._ended(child, child.process.wait())
            else:
                os.waitpid(ended.si_pid, os.WNOHANG)

    def _ended(self, child: Child, status: int) -> None:
        child.process = None
        self._counters.set(self._pid_slots[child], 0)
        how = f"exited with {status}" if status >= 0 else f"was killed by signal {-status}"
        wanted = child is self._recorder if self.phase is Phase.DRAINING else self.phase is Phase.SHIPPING
        if wanted:
            log.log(logging.INFO if status == 0 else logging.ERROR, "%s %s", child.name, how)
            if self.phase is Phase.DRAINING:
                self._ship()
            elif status and not self._started_to_ship and not self._killed:
                self._ship()  # it was dying just when it was told to ship
            else:
                self._finish()
            return
        now_s = time.monotonic()
        delay_s = child.backoff.after(now_s - child.started_s)
        child.start_due_s = now_s + delay_s
        log.error("%s %s, starting it again in %.2f s", child.name, how, delay_s)

    def _drain(self, why: str) -> None:
        log.info("%s: draining", why)
        self.phase = Phase.DRAINING
        # The recorder has its own copies, and decides when connections are refused.
        for listener in self._listeners:
            listener.close()
        self._recorder.start_due_s = None
        if self._recorder.process is None:
            self._ship()
        else:
            self._deadline_s = time.monotonic() + self._drain_s + STOP_MARGIN_S
            self._recorder.signal(signal.SIGTERM)

    def _ship(self) -> None:
        self.phase = Phase.SHIPPING
        if self._analyst.process is None and self._interrupts < 2:
            # It died and waits for its next start, with records to ship or not: only it can tell.
            self._started_to_ship = True
            self._start(self._analyst)
        self._analyst.start_due_s = None
        if self._analyst.process is None:
            log.error("analyst is down: what is not shipped stays in the journal for the next boot")
            self._finish()
        else:
            wait_s = 0.0 if self._interrupts >= 2 else self._ship_s + STOP_MARGIN_S
            self._deadline_s = time.monotonic() + wait_s
            self._analyst.signal(signal.SIGTERM)

    def _finish(self) -> None:
        self.phase = Phase.DONE
        self._deadline_s = None

    def _enforce_deadline(self) -> None:
        if self._deadline_s is None or time.monotonic() < self._deadline_s:
            return
        child = self._recorder if self.phase is Phase.DRAINING else self._analyst
        log.error("%s did not end in time: killing it", child.name)
        self._killed = True
        self._deadline_s = None
        child.signal(signal.SIGKILL)


def mode_label(mode: Mode) -> str:
    """The word for a mode on the command line."""
    return mode.name.lower().replace("_", "-")
