"""The running demo: polls the sidecar, follows the traffic's reports, shifts the population, draws."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from docs.demo.latency import Latency
from docs.demo.lookup import Example
from docs.demo.processes import Child
from docs.demo.readings import Reading, Speed, read_status
from docs.demo.scene import LEAST_RECENT, Look, Scene, plain_line
from docs.demo.serving import Recorder, wait_for
from docs.demo.trouble import DemoError

POLL_S = 0.5
PLAIN_EVERY_S = 5.0
CALM_EXCHANGES = LEAST_RECENT + 10
"""Watched after the baseline and before the shift, so that the calm can be seen."""
LATEST_SHIFT_RATIO = 0.8
"""Of the duration, when a slow machine has not finished the baseline in time."""
EXAMPLE_EVERY_S = 15.0
SETTLE_S = 15.0
SILENCE_S = 20.0
"""Without an answer of the admin address for so long, the demo gives up."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the traffic process last said of itself."""

    sent: int = 0
    errors: int = 0
    last_error: str = ""
    latency: Latency | None = None

    @classmethod
    def parse(cls, line: str | bytes) -> Report:
        fields: dict[str, Any] = json.loads(line)
        latency = Latency.parse(fields["latency"]) if fields["latency"] else None
        return cls(fields["sent"], fields["errors"], fields["last_error"], latency)


@dataclass(slots=True)
class Performance:
    """Everything that runs, and what is known of it."""

    started: list[Child]
    recorder: Recorder
    traffic: Child
    example: Example
    look: Callable[[str], Look]
    server: str
    duration_s: float | None
    shift_at_s: float
    began_s: float
    report: Report = field(default_factory=Report)
    reading: Reading | None = None
    before_shift: Reading | None = None
    """The last one before the population shifted."""
    shifted_at_s: float | None = None
    speed: float = 0.0
    _speed: Speed = field(default_factory=Speed)
    _heard_s: float = 0.0
    _trouble: str = ""
    _listener: threading.Thread | None = None
    _searched_s: float = 0.0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def over(self) -> bool:
        return self.duration_s is not None and self.elapsed_s >= self.duration_s

    def listen(self) -> None:
        """Follows the traffic's reports in a thread of its own until they end."""
        self._heard_s = time.monotonic()
        self._listener = threading.Thread(target=self._follow_reports, daemon=True)
        self._listener.start()

    def _follow_reports(self) -> None:
        assert self.traffic.process.stdout is not None
        for line in self.traffic.process.stdout:
            with contextlib.suppress(ValueError, KeyError):
                self.report = Report.parse(line)

    def poll(self) -> None:
        """One new reading, if the sidecar answers. Raises DemoError when something is dead for good."""
        for child in self.started:
            if not child.alive:
                raise DemoError(f"{child.name} ended by itself: {child.last_words()} (log: {child.log})")
        try:
            self.reading = read_status(self.recorder.status())
        except OSError as error:
            silent_s = time.monotonic() - self._heard_s
            self._trouble = f"no status for {silent_s:.0f} s"
            if silent_s > SILENCE_S:
                raise DemoError(
                    f"the sidecar's admin address does not answer: {error} (log: {self.recorder.child.log})"
                ) from error
            return
        except (KeyError, TypeError) as error:
            raise DemoError(f"/api/v1/status is not what the demo knows: {error!r}") from error
        self._heard_s = time.monotonic()
        self._trouble = f"traffic: {self.report.last_error}" if self.report.errors else ""
        self.speed = self._speed.add(self._heard_s, self.reading.exchanges)
        self._shift_when_due(self.reading)
        self._search_when_due(self.reading)

    def _shift_when_due(self, reading: Reading) -> None:
        """At the set time, but not before the baseline is frozen and some calm has been seen."""
        if self.shifted_at_s is not None or self.elapsed_s < self.shift_at_s:
            return
        calm = reading.watching and reading.watched >= CALM_EXCHANGES
        latest_s = self.duration_s * LATEST_SHIFT_RATIO if self.duration_s else float("inf")
        if calm or self.elapsed_s >= latest_s:
            self.before_shift = reading
            self.shifted_at_s = self.elapsed_s
            os.kill(self.traffic.process.pid, signal.SIGUSR1)

    def _search_when_due(self, reading: Reading) -> None:
        due = time.monotonic() - self._searched_s > EXAMPLE_EVERY_S
        if reading.shipped and due and not self.example.denied:
            self._searched_s = time.monotonic()
            self.example.search_aside()

    def scene(self) -> Scene | None:
        """None before the first reading."""
        if self.reading is None:
            return None
        return Scene(
            elapsed_s=self.elapsed_s,
            duration_s=self.duration_s,
            shift_at_s=self.shift_at_s,
            shifted_at_s=self.shifted_at_s,
            reading=self.reading,
            speed=self.speed,
            latency=self.report.latency,
            trouble=self._trouble,
            look=self.look(self.example.record_id),
            server=self.server,
        )

    def finish_traffic(self) -> None:
        """Ends the traffic; its last report is then known."""
        self.traffic.process.send_signal(signal.SIGTERM)
        if self._listener is not None:
            self._listener.join(timeout=15)
        self.traffic.stop(timeout_s=5)

    def settle(self) -> Reading | None:
        """The reading once the analyst has caught up with everything that was sent, or the last one."""

        def caught_up() -> bool:
            with contextlib.suppress(OSError):
                self.reading = read_status(self.recorder.status())
            reading = self.reading
            return reading is not None and reading.journaled >= self.report.sent and reading.unread == 0

        wait_for(caught_up, SETTLE_S)
        return self.reading


def follow(performance: Performance) -> bool:
    """Shows the performance until it is over (False) or Ctrl-C (True)."""
    performance.listen()
    try:
        with display() as draw:
            while not performance.over:
                performance.poll()
                scene = performance.scene()
                if scene is not None:
                    draw(scene)
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        return True
    return False


@contextlib.contextmanager
def display() -> Iterator[Callable[[Scene], None]]:
    """Panels on a terminal that rich can drive, a line every few seconds anywhere else."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if terminal and importlib.util.find_spec("rich") is not None:
        from rich.console import Console
        from rich.live import Live

        from docs.demo.screen import Screen

        with Live(console=Console(), auto_refresh=False, redirect_stderr=False) as live:
            yield lambda scene: live.update(Screen(scene), refresh=True)
        return
    yield PlainDisplay().draw


class PlainDisplay:
    """A line now and then; the first one at once, the shift and the commands when they come."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._shifted = False
        self._shown = ""

    def draw(self, scene: Scene) -> None:
        if scene.shifted_at_s is not None and not self._shifted:
            self._shifted = True
            print(f"--- the population shifts: {scene.population}", flush=True)
        if scene.elapsed_s >= self._next_s:
            self._next_s = scene.elapsed_s + PLAIN_EVERY_S
            print(plain_line(scene), flush=True)
        if scene.look.show and not self._shown:
            self._shown = scene.look.show
            print(f"--- records in {scene.look.store}; to look at them:", flush=True)
            print("\n".join(f"    {line}" for line in scene.look.lines()), flush=True)
