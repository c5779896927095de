"""`python -m tests.bench`: the recorder beside nginx, HAProxy, Envoy and aiohttp, on one machine."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import account, bodies, events, install, report, small
from tests.bench.context import Context, say
from tests.bench.peers import Aiohttp, Direct, Envoy, HAProxy, Nginx, Peer
from tests.bench.processes import BenchError, Cores
from tests.bench.report import Results
from tests.bench.sidecar_peer import Sidecar

PHASES = ("small", "million", "bodies", "events")


def all_peers(options: list[str]) -> list[Peer]:
    return [
        Direct(),
        HAProxy(),
        Nginx(mirror=False),
        Nginx(mirror=True),
        Envoy(tap=False),
        Envoy(tap=True),
        Aiohttp(),
        Sidecar("sidecar", "capture and analyst on, both on the proxy's core", options),
        Sidecar(
            "sidecar-apart", "the same, the analyst on the load generator's core", options, analyst_apart=True
        ),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round at 32 connections, nothing else")
    add("--only", metavar="A,B", help="these proxies only, by name")
    add("--phases", metavar="A,B", help=f"these phases only: {', '.join(PHASES)}")
    add("--rounds", type=int, default=3, help="medians are of so many (3)")
    add("--seconds", type=int, default=8, help="of a run at 32 connections; others take half (8)")
    add("--sidecar", metavar="OPTIONS", default="", help="more options for `sidecar run`, as one word")
    add("--work", type=Path, help="folder for journals, stores and taps (a new one in .bench)")
    add("--results", type=Path, default=install.ROOT / "bench-results", help="folder of the JSON")
    add("--no-install", action="store_true", help="leave out what is missing")
    return parser.parse_args()


def make_context(args: argparse.Namespace, work: Path) -> Context:
    """Settings and peers; those that cannot run here are named and left out."""
    options = shlex.split(args.sidecar)
    peers = all_peers(options)
    if args.only:
        wanted = set(args.only.split(","))
        unknown = wanted - {peer.name for peer in peers}
        if unknown:
            raise BenchError(
                f"no proxy named {', '.join(sorted(unknown))}: {', '.join(p.name for p in peers)}"
            )
        peers = [peer for peer in peers if peer.name in wanted]
    skipped = {peer.name: reason for peer in peers if (reason := peer.missing()) is not None}
    rounds, seconds = (1, min(args.seconds, 4)) if args.quick else (args.rounds, args.seconds)
    if not 1 <= seconds <= 60 or not 1 <= rounds <= 20:
        raise BenchError("--seconds must be 1 to 60 and --rounds 1 to 20: the load is bounded in time")
    return Context(work, Cores.choose(), peers, rounds, seconds, args.quick, options, skipped)


def run_phases(context: Context, wanted: set[str]) -> Results:
    results = Results()

    def sidecar() -> Peer | None:
        return next((p for p in context.peers if p.name == "sidecar" and p.name not in context.skipped), None)

    def million() -> None:
        peer = sidecar()
        if isinstance(peer, Sidecar):
            results.million = account.run_million(context, peer)

    def large() -> None:
        everyone = context.peers
        # Where the analyst runs matters little here; the recorder that keeps every byte takes that place.
        chosen = [p for p in everyone if p.name != "sidecar-apart"]
        if sidecar() is not None:
            chosen.append(bodies.whole_sidecar(context.sidecar_options))
        context.peers = chosen
        try:
            results.bodies, results.kept = bodies.run(context)
        finally:
            context.peers = everyone

    def first_events() -> None:
        results.events = events.run(context)

    def requests() -> None:
        results.small = small.run(context)

    steps: dict[str, tuple[str, Callable[[], None]]] = {
        "small": ("Small requests", requests),
        "million": ("A million exchanges", million),
        "bodies": ("16 MiB bodies", large),
        "events": ("Server-sent events", first_events),
    }
    for name, (title, step) in steps.items():
        if name in wanted:
            say(f"\n{title}")
            step()
    return results


def settle_cores(cores: Cores) -> None:
    """Keep the bench itself off the proxy's core."""
    if cores.load is None:
        say("one core only: wrk, upstream and proxy share it, so ratios say little")
    else:
        os.sched_setaffinity(0, {cores.load})


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    install.make_folder()
    reason = None
    if not args.no_install:
        install.install_packages()
        reason = install.install_envoy()
    work = args.work or Path(tempfile.mkdtemp(prefix="run-", dir=install.FOLDER))
    started = time.monotonic()
    try:
        work.mkdir(parents=True, exist_ok=True)
        for needed in ("wrk", "nginx"):
            if install.program(needed) is None:
                raise BenchError(f"{needed} is missing: install Debian's {install.PACKAGES[needed]}")
        context = make_context(args, work.resolve())
        if reason is not None:
            say(reason)
        settle_cores(context.cores)
        default = "small" if args.quick else ",".join(PHASES)
        wanted = set((args.phases or default).split(","))
        if wanted - set(PHASES):
            raise BenchError(f"no phase named {', '.join(sorted(wanted - set(PHASES)))}: {', '.join(PHASES)}")
        for name, why in context.skipped.items():
            say(f"{name}: left out: {why}")
        results = run_phases(context, wanted)
        path = report.write(context, results, args.results)
        say(report.printed(context, results))
        say(f"\n{time.monotonic() - started:.0f} s; written to {path}")
    except BenchError as error:
        say(f"bench: {error}")
        return 1
    finally:
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
