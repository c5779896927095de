"""Small requests: throughput, CPU time per request, latency and memory of every proxy, side by side."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.account import Account, settle
from tests.bench.context import Context, Watch, median, say
from tests.bench.peers import Running, small_upstream
from tests.bench.processes import cpu_us, tree
from tests.bench.sidecar_peer import RunningSidecar
from tests.bench.wrk import run_wrk, write_bodies

CONNECTIONS = (1, 32, 128)
WARM_UP_S = 1


@dataclass(frozen=True)
class Sample:
    """One wrk run through one proxy."""

    peer: str
    round: int
    connections: int
    requests: int
    requests_s: float
    cpu_us: float
    """The proxy's own user and system time per request; of Sidecar the recorder's alone."""
    p50_us: int
    p99_us: int
    errors: int
    anonymous_mib: float
    roles_cpu_us: dict[str, float]
    """Per request, by role; Sidecar's analyst lags, so `account` says what an exchange costs it."""
    roles_anonymous_mib: dict[str, float]
    load_busy_ratio: float
    """Share of one core that wrk and the upstream took: near 1 they are the bottleneck."""
    proxy_busy_ratio: float
    foreign_ratio: float
    """CPU time of everything else on the two cores, as a share of them."""
    stolen_ratio: float


@dataclass
class SmallResults:
    samples: list[Sample] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)

    def of(self, peer: str, connections: int) -> list[Sample]:
        return [s for s in self.samples if s.peer == peer and s.connections == connections]

    def middle(self, peer: str, connections: int, field_name: str) -> float | None:
        """The median over the rounds; None when there was no run."""
        values = [float(getattr(s, field_name)) for s in self.of(peer, connections)]
        return median(values) if values else None


def run(context: Context) -> SmallResults:
    results = SmallResults()
    bodies = context.work / "bodies.txt"
    write_bodies(bodies)
    connections = (32,) if context.quick else CONNECTIONS
    with small_upstream(context.work, context.cores) as (upstream, port, sink):
        for number, peer in context.turns():
            with context.guard(peer), peer.start(context.work, context.cores, port, sink) as running:
                before = Watch(running, context.cores)
                warm = run_wrk(bodies, running.port, 32, WARM_UP_S, context.cores.load)
                requests, in_flight = warm.requests, 32
                for count in connections:
                    sample = measure(context, running, bodies, tree(upstream.pid), count, number)
                    results.samples.append(sample)
                    requests, in_flight = requests + sample.requests, in_flight + count
                if isinstance(running, RunningSidecar):
                    account = settle(context, running, before, requests, in_flight, time.monotonic())
                    results.accounts.append(account)
                    say(f"  {peer.name:<14} {account.line()}")
    return results


def measure(
    context: Context, running: Running, bodies: Path, upstream: Iterable[int], connections: int, number: int
) -> Sample:
    """One wrk run, with what it cost the proxy, the load generator and the machine."""
    upstream = list(upstream)
    seconds = context.seconds if connections == 32 else max(3, context.seconds // 2)
    cores = context.cores
    upstream_before = cpu_us(upstream)
    watch = Watch(running, cores)
    result = run_wrk(bodies, running.port, connections, seconds, cores.load)
    span = watch.stop()
    load_us = result.cpu_us + cpu_us(upstream) - upstream_before
    own_us = sum(span.cpu_us.values())
    wall_us = result.duration_us
    sample = Sample(
        peer=running.peer,
        round=number,
        connections=connections,
        requests=result.requests,
        requests_s=result.requests_s,
        cpu_us=span.cpu_us.get("proxy", 0) / max(1, result.requests),
        p50_us=result.p50_us,
        p99_us=result.p99_us,
        errors=result.errors,
        anonymous_mib=span.anonymous_bytes.get("proxy", 0) / 2**20,
        roles_cpu_us={role: cpu / max(1, result.requests) for role, cpu in span.cpu_us.items()},
        roles_anonymous_mib={role: size / 2**20 for role, size in span.anonymous_bytes.items()},
        load_busy_ratio=load_us / wall_us,
        proxy_busy_ratio=own_us / wall_us,
        foreign_ratio=max(0.0, (span.busy_us - load_us - own_us) / (2 * wall_us)),
        stolen_ratio=span.stolen_us / (2 * wall_us),
    )
    say(
        f"  {running.peer:<14} {connections:>4} conn  {sample.requests_s:>8,.0f}/s  "
        f"{sample.cpu_us:>6.1f} µs  p50 {sample.p50_us / 1000:.2f} ms  p99 {sample.p99_us / 1000:.2f} ms  "
        f"errors {sample.errors}  "
        f"load {sample.load_busy_ratio:.2f}  proxy {sample.proxy_busy_ratio:.2f}  "
        f"others {sample.foreign_ratio:.2f}  stolen {sample.stolen_ratio:.2f}"
    )
    return sample
