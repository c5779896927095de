"""One run of wrk: requests, latencies, errors, and what wrk itself cost."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench.payload import applications
from tests.bench.processes import BenchError

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class WrkResult:
    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    max_us: int
    errors: int
    """Connections, reads, writes and timeouts that failed, and answers that were not 2xx or 3xx."""
    cpu_us: int

    @property
    def requests_s(self) -> float:
        return self.requests * 1e6 / self.duration_us


def write_bodies(path: Path) -> None:
    path.write_bytes(b"\n".join(applications(512)) + b"\n")


def run_wrk(
    bodies: Path, port: int, connections: int, seconds: int, core: int | None, url: str | None = None
) -> WrkResult:
    """Drive POSTs at one port, or a URL, for that long. One thread: it has one core.

    wrk counts answers received before its end; up to `connections` more are then in flight and are cut off.
    """
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "10s",
        "-s",
        str(SCRIPT),
    ]
    command += [url or f"http://127.0.0.1:{port}/v1/predict", "--", str(bodies)]

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, preexec_fn=pin
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    line = next((line for line in text.splitlines() if line.startswith("RESULT ")), None)
    if process.returncode != 0 or line is None:
        raise BenchError(f"wrk ended with {process.returncode}: {text.strip()[-800:]}")
    counted = json.loads(line.removeprefix("RESULT "))
    failed = ("connect", "read", "write", "status", "timeout")
    return WrkResult(
        requests=counted["requests"],
        duration_us=counted["duration_us"],
        p50_us=counted["p50_us"],
        p99_us=counted["p99_us"],
        max_us=counted["max_us"],
        errors=sum(counted[name] for name in failed),
        cpu_us=int((usage.ru_utime + usage.ru_stime) * 1e6),
    )
