"""Server-sent events: how long the first one takes, and how long each is on its way."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tests.bench.bodies import run_client
from tests.bench.context import Context, median, say
from tests.bench.peers import flow_upstream


@dataclass(frozen=True)
class EventSample:
    """`first` is from the request to the first event, `delay` the way of any event from server to client."""

    peer: str
    round: int
    streams: int
    events: int
    first_p50_us: float
    first_p99_us: float
    delay_p50_us: float
    delay_p99_us: float


def run(context: Context) -> list[EventSample]:
    samples: list[EventSample] = []
    streams = 40 if context.quick else 100
    with flow_upstream(context.work, context.cores) as (_, port):
        for number, peer in context.turns():
            with context.guard(peer), peer.start(context.work, context.cores, port, port) as running:
                command = [
                    sys.executable,
                    "-m",
                    "tests.bench.flow_client",
                    "events",
                    str(running.port),
                    str(streams),
                ]
                got = run_client(command, context.cores.load)
                sample = EventSample(
                    peer=peer.name,
                    round=number,
                    streams=streams,
                    events=int(got["events"]),
                    first_p50_us=got["first_p50_us"],
                    first_p99_us=got["first_p99_us"],
                    delay_p50_us=got["delay_p50_us"],
                    delay_p99_us=got["delay_p99_us"],
                )
                samples.append(sample)
                say(
                    f"  {peer.name:<14} "
                    f"first event p50 {sample.first_p50_us:.0f} µs p99 {sample.first_p99_us:.0f} µs, "
                    f"each on its way p50 {sample.delay_p50_us:.0f} µs p99 {sample.delay_p99_us:.0f} µs"
                )
    return samples


def middle(samples: list[EventSample], peer: str, name: str) -> float | None:
    """The median over the rounds; None when there was no run."""
    values = [float(getattr(s, name)) for s in samples if s.peer == peer]
    return median(values) if values else None
