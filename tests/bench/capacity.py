"""What a sidecar costs at rates that one model sees: `python -m tests.bench.capacity [RATE …]`.

At full speed many exchanges share a wake-up and a sync; a model that gets a
few hundred requests a second pays them almost alone, so the cost of one is
higher there than in `make bench`. CPU is user plus system time from /proc,
memory `RssAnon`, both of the sidecar's processes alone.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.support.running import Sidecar, model_server, running_sidecar

SECONDS = 15
SETTLE_S = 40
"""For the analyst to ship what came last: a batch's age, and a little."""
CONNECTIONS = 8
NAMES = {"recorder": "sidecar.recorder", "analyst": "sidecar.pipeline"}
BODY = json.dumps(
    {"inputs": [{"name": f"f{i}", "shape": [1, 1], "datatype": "FP64", "data": [i * 1.5]} for i in range(11)]}
).encode()


def processes(of: int) -> dict[str, int]:
    """Process ids by name: the supervisor and its children."""
    found = {"supervisor": of}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            line = (each / "cmdline").read_text()
        except OSError:
            continue
        found |= {name: int(each.name) for name, module in NAMES.items() if parent == of and module in line}
    return found


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def anonymous_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    line = next(each for each in lines if each.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def send(port: int, rate: float, seconds: float) -> int:
    """Requests at a steady rate over kept-alive connections; how many were answered."""
    answered = [0] * CONNECTIONS

    def one(index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        began = time.monotonic()
        for number in range(int(rate * seconds / CONNECTIONS)):
            connection.request("POST", "/v2/models/m/infer", BODY, {"Content-Type": "application/json"})
            connection.getresponse().read()
            answered[index] += 1
            time.sleep(max(0.0, began + (number + 1) * CONNECTIONS / rate - time.monotonic()))
        connection.close()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered)


def measure(sidecar: Sidecar, rate: float) -> str:
    """One line of the table."""
    assert sidecar.process is not None
    running = processes(sidecar.process.pid)
    before = {name: cpu_s(process) for name, process in running.items()}
    began = time.monotonic()
    answered = send(sidecar.port, rate, SECONDS)
    reached = answered / (time.monotonic() - began)
    time.sleep(SETTLE_S)
    spent = {name: (cpu_s(process) - before[name]) / answered * 1e6 for name, process in running.items()}
    memory = sum(anonymous_mib(process) for process in running.values())
    per_thousand = sum(spent.values()) / 1000
    return (
        f"| {reached:,.0f} | {spent['recorder']:.0f} | {spent['analyst'] + spent['supervisor']:.0f} "
        f"| {per_thousand * rate / 1000:.3f} | {memory:.0f} |"
    )


def main(rates: list[float]) -> None:
    print("| requests/s | recorder µs | analyst µs | cores | MiB |\n|--:|--:|--:|--:|--:|")
    for rate in rates:
        with (
            tempfile.TemporaryDirectory() as folder,
            model_server() as model,
            running_sidecar(Path(folder), model.port, batch_age="30s") as sidecar,
        ):
            send(sidecar.port, rate, 3)
            time.sleep(3)
            print(measure(sidecar, rate), flush=True)


if __name__ == "__main__":
    main([float(each) for each in sys.argv[1:]] or [10, 100, 300, 1000])
