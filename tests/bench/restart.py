"""`python -m tests.bench.restart`: how long a pod refuses traffic, or lets it wait, when the sidecar dies.

`recorder`: the recorder's process alone is killed, and its supervisor starts it
again on the same sockets; a request that comes meanwhile waits in the backlog.
`container`: all processes are killed and `sidecar run` is started at once on the
same journal, as kubelet does at a container's first restart (kubelet's own time
and its back-off come on top); requests are refused meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sidecar.counters import Global
from tests.support.load import Load
from tests.support.running import Sidecar, fetch, model_server, until


def answered(port: int) -> bool:
    return fetch(port, "/predict")[0] == 200


def recorder(running: Sidecar) -> tuple[float, ...]:
    """Seconds from the kill to the answer of a request that is sent right after it."""
    pid = running.pid(Global.RECORDER_PID)
    began_s = time.monotonic()
    assert running.kill(Global.RECORDER_PID) == pid
    until(lambda: answered(running.port) or None, "an answer", every_s=0.001)
    took_s = time.monotonic() - began_s
    until(lambda: running.pid(Global.RECORDER_PID) not in (0, pid) or None, "the next recorder")
    # One that dies young again would be started later.
    time.sleep(1.2)
    return (took_s,)


def container(running: Sidecar) -> tuple[float, ...]:
    """Seconds from the start of the process to ready, and to the first answer."""
    running.kill_group()
    began_s = time.monotonic()
    running.launch()
    until(lambda: fetch(running.ports["health"], "/readyz")[0] == 200 or None, "ready", every_s=0.001)
    ready_s = time.monotonic() - began_s
    until(lambda: answered(running.port) or None, "an answer", every_s=0.001)
    return ready_s, time.monotonic() - began_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--records", type=int, default=2000, help="in the journal, not shipped, at each kill")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, model_server() as server:
        running = Sidecar(Path(name), server.port, batch_age="10m")
        running.start()
        try:
            with Load(running.port, 8, pause_s=0.0) as load:
                load.more(given.records)
            for what, kill, parts in (
                ("recorder killed", recorder, ("answer",)),
                ("container killed", container, ("ready", "answer")),
            ):
                times = [kill(running) for _ in range(given.kills)]
                for part, values in zip(parts, zip(*times, strict=True), strict=True):
                    print(
                        f"{what}, {given.kills} times, until {part}: median "
                        f"{statistics.median(values) * 1000:.0f} ms, worst {max(values) * 1000:.0f} ms",
                        flush=True,
                    )
        finally:
            running.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
