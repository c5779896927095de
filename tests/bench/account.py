"""The books: everything wrk counted must be in the store, once; how long that takes, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.bench.context import Context, Watch, say
from tests.bench.peers import small_upstream
from tests.bench.processes import anonymous_bytes
from tests.bench.sidecar_peer import RunningSidecar, Sidecar, Tally
from tests.bench.store import StoreTail
from tests.bench.wrk import run_wrk, write_bodies

SLOWEST_EXCHANGES_S = 4_000
"""An analyst that stores fewer per second than this is given up on."""


@dataclass(frozen=True)
class Account:
    peer: str
    requests: int
    """What wrk counted, warm-up included."""
    in_flight: int
    """At most so many more were on their way when wrk ended."""
    stored: int
    twice: int
    gap_exchanges: int
    undecoded: int
    started: int
    shed: int
    analysed_s: float | None
    """From the load's end until the analyst had read the whole journal; None when it did not say."""
    stored_s: float | None
    """From the load's end until the store held every request; None when it never did."""
    files: int
    stored_mib: float
    recorder_cpu_us: float
    """Per exchange, the catching up included."""
    analyst_cpu_us: float
    supervisor_cpu_us: float
    loaded_mib: dict[str, float]
    """RssAnon by role when the load ended."""
    settled_mib: dict[str, float]
    """RssAnon by role when the analyst had caught up."""

    @property
    def complete(self) -> bool:
        """Every request is there, none twice, and nothing more than was in flight."""
        return self.twice == 0 and self.requests <= self.stored <= self.requests + self.in_flight

    def line(self) -> str:
        seconds = "never" if self.stored_s is None else f"{self.stored_s:.1f} s"
        return (
            f"{self.requests:,} counted, {self.stored:,} stored, {self.twice} twice, "
            f"{self.gap_exchanges} in gaps, caught up after {seconds}, "
            f"analyst {self.analyst_cpu_us:.1f} µs an exchange"
        )


def settle(
    context: Context, running: RunningSidecar, since: Watch, requests: int, in_flight: int, ended: float
) -> Account:
    """Wait until the store holds what was sent (or nothing can be expected any more) and take the books."""
    loaded = {role: anonymous_bytes(pids) / 2**20 for role, pids in running.roles.items()}
    # The oldest record of a batch waits up to batch_age (30 s by default) before it is shipped.
    deadline = ended + 75 + requests / SLOWEST_EXCHANGES_S
    tail = StoreTail(running.store)
    analysed: float | None = None
    stored: float | None = None
    while stored is None and time.monotonic() < deadline:
        if running.process is not None:
            running.process.check_alive()
        now = time.monotonic()
        if analysed is None and running.metrics().get("sidecar_analyst_lag_records") == 0:
            analysed = now - ended
        if len(tail.read().record_ids) >= requests:
            stored = now - ended
        else:
            time.sleep(0.5)
    # The exchanges that wrk's end cut off belong to the last batch or to one more.
    while time.monotonic() < deadline and tail.exchanges < Tally.of(running).ended - Tally.of(running).shed:
        time.sleep(0.5)
        tail.read()
    tally = Tally.of(running)
    span = since.stop()
    exchanges = max(1, tally.ended)
    return Account(
        peer=running.peer,
        requests=requests,
        in_flight=in_flight,
        stored=tail.exchanges,
        twice=tail.twice,
        gap_exchanges=tail.gap_exchanges,
        undecoded=tail.undecoded,
        started=tally.started,
        shed=tally.shed,
        analysed_s=analysed,
        stored_s=stored,
        files=tail.files,
        stored_mib=tail.file_bytes / 2**20,
        recorder_cpu_us=span.cpu_us["proxy"] / exchanges,
        analyst_cpu_us=span.cpu_us["analyst"] / exchanges,
        supervisor_cpu_us=span.cpu_us["supervisor"] / exchanges,
        loaded_mib=loaded,
        settled_mib={role: size / 2**20 for role, size in span.anonymous_bytes.items()},
    )


def run_million(
    context: Context, peer: Sidecar, target: int = 1_000_000, at_most_s: int = 180
) -> Account | None:
    """A fresh recorder, a million exchanges at 32 connections, then the books; None when it cannot run."""
    bodies = context.work / "bodies.txt"
    write_bodies(bodies)
    account: Account | None = None
    with (
        context.guard(peer),
        small_upstream(context.work, context.cores) as (_, port, sink),
        peer.start(context.work, context.cores, port, sink) as running,
    ):
        watch = Watch(running, context.cores)
        requests, in_flight, end = 0, 0, time.monotonic() + at_most_s
        while requests < target and time.monotonic() < end:
            requests += run_wrk(bodies, running.port, 32, 5, context.cores.load).requests
            in_flight += 32
        account = settle(context, running, watch, requests, in_flight, time.monotonic())
        say(f"  {account.line()}")
    return account
