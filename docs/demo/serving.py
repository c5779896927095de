"""Starting what serves: the model server, the sidecar in front of it, the traffic process."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from docs.demo.applications import as_filed
from docs.demo.processes import Child, free_ports, get, wait_until_ready
from docs.demo.setup_steps import REPOSITORY, Ready
from docs.demo.traffic import Caller, Plan
from docs.demo.trouble import DemoError

MODEL_NAME = "mortgage-denial"
SIDECAR = Path(sys.executable).with_name("sidecar")
READY_LIMIT_S = 60.0
ATTEMPTS = 3
"""Somebody may take a free port between finding and binding it."""
BATCH_AGE_S = 5
PROBES = 40
WARM_UP = 20
"""Probes that are not timed."""
MOST_RATE = 50.0
BUSY_RATIO = 0.55
"""Share of one core that the traffic may keep the model server busy."""
PAIR_EVERY = 3
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class ModelServer:
    """One that answers."""

    child: Child
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Recorder:
    """A sidecar that is ready."""

    child: Child
    port: int
    admin_port: int
    store: Path

    def status(self) -> dict[str, Any]:
        """`/api/v1/status`. Raises OSError while the analyst cannot answer."""
        body = get(self.admin_port, "/api/v1/status")
        try:
            parsed: dict[str, Any] = json.loads(body)
        except ValueError as error:
            raise OSError(f"/api/v1/status: {error}") from error
        return parsed


def serve_model(ready: Ready, folder: Path, started: list[Child]) -> ModelServer:
    """Starts the model server and waits until it answers. Raises DemoError."""
    for attempt in range(ATTEMPTS):
        server = _start_model(ready, folder, started)
        probe = "/ping" if ready.server == "mlflow" else "/v2/models/mortgage/ready"
        try:
            wait_until_ready(server.child, server.port, probe, READY_LIMIT_S)
        except DemoError:
            if attempt == ATTEMPTS - 1 or not _port_was_taken(server.child):
                raise
            continue
        return server
    raise AssertionError("unreachable")


def _start_model(ready: Ready, folder: Path, started: list[Child]) -> ModelServer:
    port, grpc_port, metrics_port = free_ports(3)
    environment = {**ONE_THREAD, "PATH": f"{ready.binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    if ready.server == "mlflow":
        environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
        where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        local = ["--model-uri", str(ready.model), "--env-manager", "local"]
        command = [str(ready.binaries / "mlflow"), "models", "serve", *local, *where]
        path = "/invocations"
    else:
        environment |= {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": str(port),
            "MLSERVER_GRPC_PORT": str(grpc_port),
            "MLSERVER_METRICS_PORT": str(metrics_port),
            "MLSERVER_PARALLEL_WORKERS": "0",
        }
        command = [str(ready.binaries / "mlserver"), "start", str(ready.model)]
        path = "/v2/models/mortgage/infer"
    child = Child(ready.server, command, folder / "model-server.log", environment, folder=folder)
    started.append(child)
    return ModelServer(child, port, path)


def record(
    ready: Ready, server: ModelServer, folder: Path, baseline_exchanges: int, started: list[Child]
) -> Recorder:
    """Starts `sidecar run` in front of the model server and waits until it can splice and be asked."""
    if not SIDECAR.exists():
        raise DemoError(f"{SIDECAR} is missing: run `make setup`")
    for attempt in range(ATTEMPTS):
        port, health_port, admin_port = free_ports(3)
        store = folder / "records"
        command = [
            *(str(SIDECAR), "run"),
            *("--listen", f"127.0.0.1:{port}", "--upstream", f"http://127.0.0.1:{server.port}"),
            *("--health", f"127.0.0.1:{health_port}", "--admin", f"127.0.0.1:{admin_port}"),
            *("--store", str(store), "--journal", str(folder / "journal")),
            *("--model", MODEL_NAME, "--artifact", str(ready.artifact)),
            *("--batch-age", f"{BATCH_AGE_S}s", "--baseline-exchanges", str(baseline_exchanges)),
            *("--pane", "2s", "--watermark", "2s", "--statistics-ship", "10s"),
            *("--log-format", "text"),
        ]
        # Settings of the user's own sidecar must not reach this one.
        child = Child("sidecar", command, folder / "sidecar.log", hidden="SIDECAR_")
        started.append(child)
        try:
            wait_until_ready(child, health_port, "/readyz", READY_LIMIT_S)
            wait_until_ready(child, admin_port, "/api/v1/status", READY_LIMIT_S)
        except DemoError:
            if attempt == ATTEMPTS - 1 or not _port_was_taken(child):
                raise
            continue
        return Recorder(child, port, admin_port, store)
    raise AssertionError("unreachable")


def _port_was_taken(child: Child) -> bool:
    with contextlib.suppress(OSError):
        return "address already in use" in child.log.read_text(errors="replace").lower()
    return False


def steady_rate(ready: Ready, server: ModelServer) -> float:
    """Applications a second that this machine's model server takes without strain, `MOST_RATE` at most.

    Also wakes the server up: its first answers take several times as long. Raises DemoError when it
    does not answer as it should.
    """
    plan = plan_for(ready, server, sidecar_port=0, rate=0)
    caller = Caller(server.port, server.path, connections=1)
    rows = json.loads(ready.applications.read_text())["applications"]
    try:
        times = [caller.call(plan.encode(row)) for row in islice(as_filed(rows, seed=0), PROBES)]
    except OSError as error:
        raise DemoError(f"{ready.server} does not answer an application: {error}") from error
    typical_s = statistics.median(times[WARM_UP:])
    calls = 1 + 1 / PAIR_EVERY
    return float(round(max(2.0, min(MOST_RATE, BUSY_RATIO / (typical_s * calls)))))


def plan_for(ready: Ready, server: ModelServer, sidecar_port: int, rate: float) -> Plan:
    return Plan(
        applications=str(ready.applications),
        server=ready.server,
        path=server.path,
        direct_port=server.port,
        sidecar_port=sidecar_port,
        rate=rate,
        pair_every=PAIR_EVERY,
    )


def send_traffic(plan: Plan, folder: Path, started: list[Child]) -> Child:
    """Starts the traffic process; its reports come out of its `stdout`."""
    plan_file = folder / "traffic.json"
    plan_file.write_text(json.dumps(asdict(plan), indent=2) + "\n")
    script = REPOSITORY / "docs" / "demo" / "traffic.py"
    command = [sys.executable, str(script), str(plan_file)]
    child = Child("traffic", command, folder / "traffic.log", piped=True)
    started.append(child)
    return child


def next_folder(home: Path) -> Path:
    """A fresh `run-N`, relative to the current folder when that is shorter to type."""
    numbers = [int(path.name[4:]) for path in home.glob("run-*") if path.name[4:].isdigit()]
    number = max(numbers, default=0) + 1
    while True:
        folder = home / f"run-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise DemoError(f"{folder}: {error.strerror}: give it a writable disk with space") from error
        return folder


def stop_all(started: list[Child]) -> None:
    """Ends everything that was started, the newest first: traffic, sidecar, model server."""
    while started:
        child = started.pop()
        child.stop(timeout_s=40 if child.name == "sidecar" else 5)


def wait_for(condition: Any, timeout_s: float) -> bool:
    """Whether `condition()` became true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
