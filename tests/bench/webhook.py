"""Reviews of the webhook under load: `python -m tests.bench.webhook`.

A real `sidecar webhook` on a core of its own, over TLS, in a cluster of so many
namespaces and Services, gets creations of the corpus' pods over connections
that are kept, as from an API server: so many a second, and (wrk) as many as it
answers. Beside it a bare server of the same library that answers every review
unread with the same bytes: the least that Python, aiohttp and TLS take. Prints
one line of JSON for each load, which is bounded in time.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from sidecar.cluster.certificate import make, utc_now
from tests.bench.processes import BenchError, Cores, Process, cpu_us, free_port, wait_listening
from tests.bench.wrk import WrkResult, run_wrk
from tests.support.corpus import CASES
from tests.support.kube_api import KubeApi

Object = dict[str, Any]
NAME = "sidecar-webhook.sidecar-system.svc"
NAMESPACES, SERVICES_EACH = 300, 10
MORE_VARIABLES = 60
WARM_UP_S = 2
READY_S = 60.0
SETTLE_S = 5.0


def reviews() -> Iterator[bytes]:
    """Each pod of the corpus as it stands, and with as many variables as grown applications have."""
    for case in CASES:
        grown = copy.deepcopy(case.pod)
        more = [{"name": f"APPLICATION_SETTING_{n}", "value": "x" * 40} for n in range(MORE_VARIABLES)]
        grown["spec"]["containers"][0].setdefault("env", []).extend(more)
        for number, pod in enumerate((case.pod, grown)):
            request = {
                "uid": f"705ab4f5-6393-11e8-b7cc-{number:04d}{case.name[:2]:0>8}",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "name": None,
                "namespace": "team-0",
                "operation": "CREATE",
                "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
                "object": pod,
                "oldObject": None,
                "dryRun": False,
            }
            review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
            yield json.dumps(review, separators=(",", ":")).encode()


async def fill(kube: KubeApi) -> None:
    """A cluster as webhooks find it: namespaces with Services, two ConfigMaps of ours."""
    kube.page = 500
    for team in range(NAMESPACES):
        labels = {"sidecar.dev/inject": "enabled", "kubernetes.io/metadata.name": f"team-{team}"}
        await kube.put("/api/v1/namespaces", {"metadata": {"name": f"team-{team}", "labels": labels}})
        for number in range(SERVICES_EACH):
            metadata = {"name": f"service-{number}", "namespace": f"team-{team}"}
            spec = {"selector": {"app": f"other-{number}"}, "ports": [{"port": 80, "targetPort": 8080}]}
            await kube.put("/api/v1/services", {"metadata": metadata, "spec": spec})
    for namespace in ("sidecar-system", "team-0"):
        metadata = {"name": "sidecar-defaults", "namespace": namespace}
        data = {"store": "s3://evidence/all", "policy": "open"}
        await kube.put("/api/v1/configmaps", {"metadata": metadata, "data": data})


async def ready(process: Process, admin: int) -> None:
    """Returns once the webhook has read the cluster."""
    end = time.monotonic() + READY_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end:
            process.check_alive()
            try:
                async with session.get(f"http://127.0.0.1:{admin}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise BenchError(f"the webhook is not ready after {READY_S:.0f} s: {process.last_words()}")


async def flooded(process: Process, port: int, connections: int, given: argparse.Namespace) -> Object:
    """As many calls as it answers; medians over the rounds."""
    load = Cores.choose().load
    found: list[tuple[WrkResult, int]] = []
    for _ in range(given.rounds):
        await asyncio.to_thread(run_wrk, given.bodies, port, connections, WARM_UP_S, load, _url(port))
        before = cpu_us([process.pid])
        result = await asyncio.to_thread(
            run_wrk, given.bodies, port, connections, given.seconds, load, _url(port)
        )
        if result.errors:
            raise BenchError(f"{process.name}: {result.errors} calls failed: {process.last_words()}")
        found.append((result, cpu_us([process.pid]) - before))
    return {
        "reviews_s": round(statistics.median(each.requests_s for each, _ in found)),
        "p50_ms": round(statistics.median(each.p50_us / 1000 for each, _ in found), 2),
        "p99_ms": round(statistics.median(each.p99_us / 1000 for each, _ in found), 2),
        "cpu_us": round(statistics.median(used / each.requests for each, used in found)),
    }


async def paced(port: int, rate_s: int, given: argparse.Namespace) -> Object:
    """So many calls a second; medians over the rounds."""
    command = [*given.first, sys.executable, "-m", "tests.bench.paced", _url(port), str(given.bodies)]
    found = []
    for _ in range(given.rounds):
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, str(rate_s), str(given.seconds)],
            capture_output=True,
            text=True,
            timeout=given.seconds + 30,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"the load at {rate_s}/s failed: {done.stderr.strip()[-300:]}")
        found.append(json.loads(done.stdout))
    return {
        name: round(statistics.median(each[name] for each in found), 2)
        for name in ("p50_ms", "p99_ms", "max_ms")
    }


def _url(port: int) -> str:
    return f"https://127.0.0.1:{port}/inject?timeout=3s"


async def bench(given: argparse.Namespace, folder: Path) -> None:
    pair = make([NAME], utc_now())
    tls = folder / "tls"
    tls.mkdir()
    (tls / "tls.crt").write_bytes(pair.certificate)
    (tls / "tls.key").write_bytes(pair.key)
    given.bodies = folder / "reviews"
    every = list(reviews())
    given.bodies.write_bytes(b"\n".join(every) + b"\n")
    core = Cores.choose().proxy
    async with KubeApi(folder) as kube:
        await fill(kube)
        port, admin, bare = free_port(), free_port(), free_port()
        command = [
            *(sys.executable, "-m", "sidecar.cli", "webhook", "--certificates", str(tls)),
            *("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"),
            *("--api", kube.access.url, "--token-file", str(kube.access.token_file)),
            *("--ca-file", str(kube.access.ca_file), "--log-format", "text"),
        ]
        peer = [sys.executable, "-m", "tests.bench.webhook", "--answer", str(bare), str(tls)]
        with (
            Process("webhook", [*given.first, *command], folder / "webhook.log", [core]) as webhook,
            Process("bare", [*given.first, *peer], folder / "bare.log", [core]) as other,
        ):
            await ready(webhook, admin)
            wait_listening(webhook, port)
            wait_listening(other, bare)
            servers = ((webhook, port), (other, bare))
            # Services are read after it is ready, and the first calls of a process are its slowest.
            await asyncio.sleep(SETTLE_S)
            for _, at in servers:
                await asyncio.to_thread(
                    run_wrk, given.bodies, at, 1, WARM_UP_S, Cores.choose().load, _url(at)
                )
            size = round(statistics.mean(map(len, every)))
            print(json.dumps({"reviews": len(every), "mean_bytes": size}), flush=True)
            for rate_s in given.rate:
                found = {each.name: await paced(at, rate_s, given) for each, at in servers}
                print(json.dumps({"rate_s": rate_s, **found}), flush=True)
            for connections in given.connections:
                found = {each.name: await flooded(each, at, connections, given) for each, at in servers}
                print(json.dumps({"connections": connections, **found}), flush=True)


def answer(port: int, tls: Path) -> None:
    """The bare server."""
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    body = json.dumps(review | {"response": {"uid": "u", "allowed": True}}).encode()

    async def inject(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
    app = web.Application()
    app.router.add_post("/inject", inject)
    web.run_app(app, host="127.0.0.1", port=port, ssl_context=context, print=None, access_log=None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.webhook", description=__doc__)
    parser.add_argument(
        "--rate", type=int, action="append", help="calls a second; repeat (20, 100, 400); 0: none"
    )
    parser.add_argument("--connections", type=int, action="append", help="of a flood; repeat (1, 8); 0: none")
    parser.add_argument(
        "--first", action="store_true", help="scheduled before all else on a machine that is busy (root)"
    )
    parser.add_argument("--seconds", type=int, default=8, help="of a round (8)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are of so many (3)")
    parser.add_argument("--answer", nargs=2, metavar=("PORT", "DIR"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        answer(int(given.answer[0]), Path(given.answer[1]))
        return
    if not 1 <= given.seconds <= 60 or not 1 <= given.rounds <= 20:
        parser.error("--seconds must be 1 to 60 and --rounds 1 to 20: the load is bounded in time")
    given.connections = [each for each in given.connections or [1, 8] if each]
    given.rate = [each for each in given.rate or [20, 100, 400] if each]
    given.first = ["chrt", "--rr", "1"] if given.first else []
    with tempfile.TemporaryDirectory(prefix="webhook-") as folder:
        try:
            asyncio.run(bench(given, Path(folder)))
        except BenchError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
