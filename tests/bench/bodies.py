"""16 MiB bodies up and down: throughput through every proxy, and what the recorder kept of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.bench import install
from tests.bench.context import Context, Watch, median, say
from tests.bench.payload import DOWNLOAD_SEED, LARGE_BYTES, UPLOAD_SEED, large_body, large_digest
from tests.bench.peers import Running, flow_upstream
from tests.bench.processes import BenchError
from tests.bench.sidecar_peer import RunningSidecar, Sidecar, Tally
from tests.bench.store import BodyCheck, check_bodies

CONNECTIONS = 4
FREE_BYTES = 12 << 30
"""What journal, store and a tap's files may need at most while they exist."""
CAPTURE_MEMORY = "2GiB"
"""All that one run sends: what the journal has not taken yet must never be cut for want of memory."""
WRITERS = ("envoy+tap", "sidecar", "sidecar 32MiB")


def whole_sidecar(options: list[str]) -> Sidecar:
    """The recorder that keeps every byte of a 16 MiB body."""
    about = f"body limit 32 MiB, capture memory {CAPTURE_MEMORY}: every byte journaled"
    limits = ["--body-limit", "32MiB", "--capture-memory", CAPTURE_MEMORY, "--journal-max-bytes", "8GiB"]
    return Sidecar("sidecar 32MiB", about, [*limits, *options])


@dataclass(frozen=True)
class BodySample:
    peer: str
    round: int
    direction: str
    bodies: int
    mib_s: float
    cpu_ms: float
    """The proxy's own CPU time per body; of Sidecar the recorder's alone."""
    journaled_mib_s: float | None
    """Bytes over the time until the last of them was committed; Sidecar only."""
    capture_peak_mib: float | None
    anonymous_mib: float


@dataclass(frozen=True)
class Kept:
    """What one Sidecar's store held after its transfers."""

    peer: str
    round: int
    direction: str
    sent: int
    check: BodyCheck


def touch_memory(folder: Path, size_mib: int) -> tuple[float, float]:
    """Write and remove a large file; MiB/s of the writes into the page cache, and with the disk's sync.

    Virtual machines hand back memory that they do not use, and pay about 4 µs for each KiB when they touch
    it again: ten times the copy itself. Peers that write files are spared that, so that what is measured is
    their own work; those that only forward never meet it.
    """
    chunk = large_body(UPLOAD_SEED)
    path = folder / "touched"
    try:
        with path.open("wb") as file:
            started = time.monotonic()
            for _ in range(size_mib * 2**20 // len(chunk)):
                file.write(chunk)
            file.flush()
            written = time.monotonic()
            os.fdatasync(file.fileno())
        return size_mib / (written - started), size_mib / (time.monotonic() - started)
    finally:
        path.unlink(missing_ok=True)


def transfer(kind: str, port: int, bodies: int, core: int | None) -> float:
    """Seconds that many bodies took through that port."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.flow_client",
        kind,
        str(port),
        str(CONNECTIONS),
        str(bodies),
    ]
    return float(run_client(command, core)["seconds"])


def run_client(command: list[str], core: int | None) -> dict[str, float]:
    pinned = ["taskset", "-c", str(core), *command] if core is not None else command
    done = subprocess.run(pinned, capture_output=True, text=True, cwd=install.ROOT, check=False, timeout=180)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise BenchError(f"the client failed: {lines[-1] if lines else done.returncode}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


class CapturePeak:
    """Looks at the recorder's captured bytes every 5 ms while a transfer runs."""

    def __init__(self, running: RunningSidecar) -> None:
        self._running = running
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.bytes = 0

    def _follow(self) -> None:
        while not self._stop.wait(0.005):
            self.bytes = max(self.bytes, Tally.of(self._running).capture_bytes)

    def __enter__(self) -> CapturePeak:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def run(context: Context) -> tuple[list[BodySample], list[Kept]]:
    samples: list[BodySample] = []
    kept: list[Kept] = []
    free = shutil.disk_usage(context.work).free
    if free < FREE_BYTES:
        context.skipped["large bodies"] = (
            f"needs {FREE_BYTES >> 30} GiB free under {context.work}, there are {free >> 30}"
        )
        return samples, kept
    for state in ("cold", "warm"):
        written, synced = touch_memory(context.work, 1024)
        context.disk_mib_s[state] = {"written": written, "synced": synced}
        say(f"  {state} memory: file writes {written:,.0f} MiB/s, {synced:,.0f} MiB/s with the disk's sync")
    count = 32 if context.quick else 96
    with flow_upstream(context.work, context.cores) as (_, port):
        for number, peer in context.turns():
            for direction in ("up", "down"):
                with context.guard(peer), peer.start(context.work, context.cores, port, port) as running:
                    samples.append(measure(context, running, direction, count, number))
                    if isinstance(running, RunningSidecar):
                        kept.append(look(running, direction, count, number))
    return samples, kept


def measure(context: Context, running: Running, direction: str, count: int, number: int) -> BodySample:
    transfer(direction, running.port, CONNECTIONS, context.cores.load)
    if running.peer in WRITERS:
        touch_memory(context.work, 2 * count * LARGE_BYTES // 2**20)
    watch = Watch(running, context.cores)
    journaled: float | None = None
    peak: float | None = None
    if isinstance(running, RunningSidecar):
        with CapturePeak(running) as capture:
            started = time.monotonic()
            seconds = transfer(direction, running.port, count, context.cores.load)
            # The client's own start-up lies before its first request, not before our clock's.
            overhead = time.monotonic() - started - seconds
            wait_journaled(running, count + CONNECTIONS)
            journaled = count * LARGE_BYTES / 2**20 / max(1e-6, time.monotonic() - started - overhead)
        peak = capture.bytes / 2**20
    else:
        seconds = transfer(direction, running.port, count, context.cores.load)
    span = watch.stop()
    sample = BodySample(
        peer=running.peer,
        round=number,
        direction=direction,
        bodies=count,
        mib_s=count * LARGE_BYTES / 2**20 / seconds,
        cpu_ms=span.cpu_us.get("proxy", 0) / 1000 / count,
        journaled_mib_s=journaled,
        capture_peak_mib=peak,
        anonymous_mib=span.anonymous_bytes.get("proxy", 0) / 2**20,
    )
    extra = "" if journaled is None else f"  journaled {journaled:,.0f} MiB/s  capture peak {peak:,.0f} MiB"
    rate = f"{sample.mib_s:>7,.0f} MiB/s  {sample.cpu_ms:>6.2f} ms a body"
    say(f"  {running.peer:<14} {direction:<5} {rate}{extra}")
    return sample


def wait_journaled(running: RunningSidecar, exchanges: int, timeout_s: float = 60.0) -> None:
    """Until every exchange is durable or shed."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        tally = Tally.of(running)
        if tally.ended >= exchanges and max(tally.committed, tally.shed) >= exchanges:
            return
        time.sleep(0.005)
    raise BenchError(
        f"{exchanges} large exchanges are not in the journal after {timeout_s:.0f} s: {Tally.of(running)}"
    )


def look(running: RunningSidecar, direction: str, count: int, number: int) -> Kept:
    """Wait for the store and compare its bodies with what was sent."""
    side, method = ("request", "POST") if direction == "up" else ("response", "GET")
    digest = large_digest(UPLOAD_SEED if direction == "up" else DOWNLOAD_SEED)
    sent = count + CONNECTIONS
    end = time.monotonic() + 120
    check = BodyCheck(0, 0, 0)
    while time.monotonic() < end:
        metrics = running.metrics()
        tally = Tally.of(running)
        if metrics.get("sidecar_analyst_lag_records") == 0 and tally.committed >= sent:
            check = check_bodies(running.store, side, method, digest, LARGE_BYTES)
            if check.whole + check.hashed + check.wrong + tally.shed >= sent:
                break
        time.sleep(2)
    say(
        f"  {running.peer:<14} {direction:<5} of {sent} bodies the store holds {check.whole} whole, "
        f"{check.hashed} as length and hash, {check.wrong} wrong"
    )
    return Kept(running.peer, number, direction, sent, check)


def middle(samples: Sequence[BodySample], peer: str, direction: str, name: str = "mib_s") -> float | None:
    """The median over the rounds; None when there was no run."""
    found = [getattr(s, name) for s in samples if s.peer == peer and s.direction == direction]
    values = [float(value) for value in found if value is not None]
    return median(values) if values else None
