"""The recorder process: the only part of Sidecar on the traffic path.

Started by the supervisor as `python -m sidecar.recorder FD`. Puts together the
data plane and the journal, and imports nothing that these do not need.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from sidecar import logs
from sidecar.clock import SystemClock
from sidecar.config import Handover, RouteSettings
from sidecar.counters import Counters, Global, Mode
from sidecar.journal.limits import JournalLimits
from sidecar.journal.writer import JournalWriter
from sidecar.model_watch import ModelWatch
from sidecar.proxy.capture import CaptureBudget
from sidecar.proxy.health import HealthServer
from sidecar.proxy.observer import ConnectionObserver
from sidecar.proxy.quick import QuickObserver
from sidecar.proxy.route_context import RouteContext
from sidecar.proxy.splice import Client, SpliceSettings
from sidecar.records import Epoch, Event, Exchange

TICK_S: Final = 0.1
"""How often the mode is looked at, counters are brought up to date and silent upstreams are timed out."""
BACKLOG: Final = 4096
SWITCH_INTERVAL_S: Final = 0.0005
"""The commit thread gives the interpreter back to the loop at least this often."""

log = logging.getLogger("sidecar.recorder")


class Recorder:
    """Everything that lives in the recorder's event loop."""

    def __init__(self, handover: Handover, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        settings = handover.settings
        self.settings = settings
        self.counters = counters
        self.loop = loop
        self.draining = False
        self.connections: set[Client] = set()
        self.clock = SystemClock()
        self.journal = JournalWriter(
            Path(settings.journal),
            handover.boot,
            counters,
            self.clock,
            JournalLimits(
                max_bytes=settings.journal_max_bytes,
                volume_bytes=settings.volume_bytes,
                volume_age_s=settings.volume_age_s,
                commit_interval_s=settings.commit_interval_s,
                pending_bytes=settings.capture_memory,
                body_limit=settings.body_limit,
                before_response=settings.durability == "before_response",
            ),
            handover.epochs,
        )
        self.budget = CaptureBudget(
            settings.capture_memory, settings.body_limit, pending=lambda: self.journal.pending_bytes
        )
        self._watches: list[ModelWatch] = []
        self.routes = {
            route.name: self._route(route, next(each for each in handover.epochs if each.route == route.name))
            for route in settings.routes
        }
        self._mode = counters.get(Global.MODE)
        self._servers: list[asyncio.Server] = []

    def _route(self, route: RouteSettings, epoch: Epoch) -> SpliceSettings:
        settings = self.settings
        held = settings.durability == "before_response"
        context = RouteContext(
            route.name,
            self.clock,
            self.counters.slots,
            self.counters.base(route.name),
            self.budget,
            self.journal.append,
            self.journal.shed,
            answer_first=held,
        )
        context.epoch = epoch.number
        if settings.identity != "static":
            watch = ModelWatch(context, self.counters, self.journal, epoch, route.upstream, self.clock)
            context.watch = watch.answering
            self._watches.append(watch)
        whole = self.journal.whole_appender(route.name)

        def plain(connection: int, client: str, end: Callable[[Exchange], object]) -> ConnectionObserver:
            return ConnectionObserver(context, connection, client, end)

        def quick(connection: int, client: str, end: Callable[[Exchange], object]) -> ConnectionObserver:
            return QuickObserver(context, connection, client, whole)

        return SpliceSettings(
            self.loop,
            context,
            self.journal,
            plain if held else quick,
            route.upstream.host,
            route.upstream.port,
            closed=settings.policy == "closed",
            held=held,
            connect_first=settings.connect == "accept",
            hold_limit_s=settings.hold_limit_s,
            high_water=settings.high_water,
            connect_timeout_s=settings.connect_timeout_s,
            max_connections=settings.max_connections,
            open_connections=self.connections,
        )

    async def start(self, listeners: dict[str, list[int]], health_fds: Sequence[int]) -> None:
        """Open the journal, then accept."""
        self.journal.start(self.loop)
        for watch in self._watches:
            watch.begin()
        self._tick()
        health = HealthServer(lambda: not self.draining)
        for descriptor in health_fds:
            self._servers.append(await self._serve(health, descriptor))
        for name, descriptors in listeners.items():
            route = self.routes[name]
            for descriptor in descriptors:
                self._servers.append(await self._serve(partial(Client, route), descriptor))

    async def _serve(self, factory: Callable[[], asyncio.BaseProtocol], descriptor: int) -> asyncio.Server:
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        return await self.loop.create_server(factory, sock=listener, backlog=BACKLOG)

    def _tick(self) -> None:
        """What need not happen for every exchange."""
        # First of all: whatever fails below, the next tick comes.
        self.loop.call_later(TICK_S, self._tick)
        slots = self.counters.slots
        slots[Global.CAPTURE_BYTES] = max(self.budget.held, 0) + self.journal.pending_bytes
        mode = slots[Global.MODE]
        if mode != self._mode:
            self._mode = mode
            name = "splice_only_on" if mode == Mode.SPLICE_ONLY else "splice_only_off"
            log.warning("recording switched %s", "off" if mode == Mode.SPLICE_ONLY else "on")
            self.journal.event(Event(name, self.clock.wall_us()))
        for watch in self._watches:
            watch.look()
        if self.settings.upstream_timeout_s:
            self._time_out_silent()

    def _time_out_silent(self) -> None:
        limit_s = self.settings.upstream_timeout_s
        before_ns = self.clock.monotonic_ns() - int(limit_s * 1e9)
        for client in list(self.connections):
            since_ns = client.silent_since_ns()
            if since_ns is not None and since_ns <= before_ns:
                client.time_out(limit_s)

    async def drain(self) -> None:
        """Unready at once; stop accepting after `drain_delay`; end within `grace`; commit."""
        self.draining = True
        await asyncio.sleep(self.settings.drain_delay_s)
        for server in self._servers[1:]:
            server.close()
        deadline = self.loop.time() + self.settings.grace_s
        while self.connections and self.loop.time() < deadline:
            for client in list(self.connections):
                if client.idle:
                    client.close()
            await asyncio.sleep(0.02)
        for client in list(self.connections):
            client.shut_down()
        await asyncio.sleep(0)
        await self.journal.close(max(self.settings.grace_s, 5.0))
        self._servers[0].close()


def _raise_file_limit() -> None:
    """As many descriptors as allowed: two for each connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _die_with(life_fd: int, loop: asyncio.AbstractEventLoop) -> None:
    """End at once when the supervisor is gone: its successor takes the journal over."""
    loop.add_reader(life_fd, os._exit, 1)


async def _run(handover: Handover) -> None:
    loop = asyncio.get_running_loop()
    _die_with(handover.life_fd, loop)
    counters = Counters.open(Path(handover.counters_path))
    recorder = Recorder(handover, counters, loop)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await recorder.start(handover.listeners, handover.health_fds)
    gc.collect()
    gc.freeze()
    log.info("recording", extra={"boot": handover.boot, "routes": list(recorder.routes)})
    await stop.wait()
    await recorder.drain()


def main(arguments: list[str]) -> int:
    """Entry point; the one argument is the handover's file descriptor."""
    handover = Handover.read(int(arguments[0]))
    logs.configure(handover.settings.log_format, handover.settings.log_level, "recorder")
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    uvloop.run(_run(handover))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
