"""What the controller costs in a large cluster: `python -m tests.bench.controller [PODS]`.

A real `sidecar controller` follows so many injected pods and twice as many
others, whose sidecars all answer at once; then the API server forgets what
happened and cuts every watch, so that all is listed anew. Prints one line of
JSON, in about two minutes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from sidecar.inject.names import ADMIN_PORT
from tests.bench.processes import BenchError, Process, anonymous_bytes, cpu_us, free_port
from tests.support.kube_api import KubeApi
from tests.support.model_pods import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    bare_pod,
    defaults,
    injected_pod,
    namespace,
)

TEAMS = 20
EVERY_S = 10
STEADY_S = 30
PATIENCE_S = 300.0
STATUS = {"mode": "record", "version": "1", "routes": {"default": {"started": 1, "readable_bytes": 9}}}


async def fill(kube: KubeApi, pods: int) -> None:
    kube.page = 500
    for team in range(TEAMS):
        await kube.put(NAMESPACES, namespace(f"team-{team}", inject="enabled"))
    await kube.put(CONFIG_MAPS, defaults("sidecar-system", store="s3://evidence"))
    for number in range(pods):
        await kube.put(PODS, injected_pod(f"model-{number}", f"team-{number % TEAMS}"))
    for number in range(2 * pods):
        await kube.put(PODS, bare_pod(f"other-{number}", "others"))


async def sidecars() -> web.AppRunner:
    async def status(_: web.Request) -> web.Response:
        return web.json_response(STATUS)

    app = web.Application()
    app.router.add_get("/api/v1/status", status)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", ADMIN_PORT, backlog=1024).start()
    return runner


async def metrics(port: int) -> dict[str, float]:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
    except aiohttp.ClientError:
        return {}
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


async def until(process: Process, port: int, holds: Callable[[dict[str, float]], bool], what: str) -> float:
    """Seconds until it holds."""
    started = time.monotonic()
    while not holds(await metrics(port)):
        process.check_alive()
        if time.monotonic() - started > PATIENCE_S:
            raise BenchError(f"{what}: not in {PATIENCE_S:.0f} s: {process.last_words()}")
        await asyncio.sleep(0.2)
    return time.monotonic() - started


async def bench(pods: int, folder: Path) -> dict[str, Any]:
    async with KubeApi(folder) as kube:
        await fill(kube, pods)
        answering, port = await sidecars(), free_port()
        command = [
            *(sys.executable, "-m", "sidecar.cli", "controller", "--every", f"{EVERY_S}s"),
            *("--admin", f"127.0.0.1:{port}", "--api", kube.access.url, "--log-format", "text"),
            *("--token-file", str(kube.access.token_file), "--ca-file", str(kube.access.ca_file)),
        ]
        written = 'sidecar_controller_annotations_total{outcome="written"}'
        with Process("controller", command, folder / "controller.log", []) as process:
            seen = await until(
                process, port, lambda found: found.get("sidecar_controller_pods") == pods, "pods"
            )
            annotated = seen + await until(
                process, port, lambda found: found.get(written) == pods, "annotations"
            )
            before, since = cpu_us([process.pid]), time.monotonic()
            await asyncio.sleep(STEADY_S)
            cores = (cpu_us([process.pid]) - before) / (time.monotonic() - since) / 1e6
            kube.compact()
            kube.cut_watches()
            requests = len(kube.requests)
            await asyncio.sleep(EVERY_S + 5)
            writes = sum(
                method != "GET" and "/leases" not in path for method, path, _ in kube.requests[requests:]
            )
            found = await metrics(port)
            memory = anonymous_bytes([process.pid])
        await answering.cleanup()
    covered = sum(value for name, value in found.items() if 'state="covered"' in name)
    return {
        "pods": pods,
        "others": 2 * pods,
        "covered": round(covered),
        "all_annotated_s": round(annotated, 1),
        "look_s": round(found["sidecar_controller_look_seconds"], 2),
        f"cores_at_every_{EVERY_S}s": round(cores, 3),
        "memory_mib": round(memory / 2**20),
        "writes_after_all_is_listed_anew": writes,
    }


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(bench(int(arguments[0]) if arguments else 1000, Path(folder)))))


if __name__ == "__main__":
    main(sys.argv[1:])
