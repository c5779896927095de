"""`sidecar controller`: labels pods with their image's digest, tells what is wrong, counts coverage."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import click

from sidecar import __version__, logs
from sidecar.cluster.admin import admin_app
from sidecar.cluster.annotator import Annotator
from sidecar.cluster.api import Access, Api, Object
from sidecar.cluster.asking import directly, through_api
from sidecar.cluster.controller import AT_ONCE, EACH_S, Controller, Metrics
from sidecar.cluster.events import Events
from sidecar.cluster.lease import Leader
from sidecar.cluster.reflector import Reflector
from sidecar.inject.names import ADMIN_PORT, DIGEST, INJECT, SIDECAR
from sidecar.injecting import IMAGE
from sidecar.model_pod_options import LIVING, mark_options, marks
from sidecar.model_pods import FollowedModelPods, Mark
from sidecar.parameters import Parsed
from sidecar.resident import (
    first,
    in_background,
    listen_on,
    replica_options,
    service_account,
    until_signal,
)
from sidecar.settings_values import Address, parse_duration
from sidecar.webhook_knowledge import ClusterKnowledge

log = logging.getLogger("sidecar.controller")

LEASE = "sidecar-controller"
REFRESH_S = 10.0
"""All pods are not listed again more often, however many namespaces come."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that can be set."""

    access: Access
    admin: Address
    namespace: str
    image: str
    identity: str
    marks: tuple[Mark, ...]
    selector: str
    every_s: float
    through_api: bool


@click.command()
@click.option("--selector", default="", metavar="SELECTOR", help="Follow only pods with these labels.")
@mark_options
@click.option(
    "--every",
    "every_s",
    type=Parsed("DURATION", parse_duration),
    default="60s",
    show_default=True,
    help="How often all sidecars are asked.",
)
@click.option(
    "--through",
    type=click.Choice(["network", "api"]),
    default="network",
    show_default=True,
    help="How sidecars are reached: at their address, or by the API's proxy.",
)
@click.option("--image", default=IMAGE, hidden=True)
@replica_options
def controller(
    admin: Address,
    namespace: str,
    selector: str,
    also: tuple[Mark, ...],
    labelled_only: bool,
    every_s: float,
    through: str,
    image: str,
    identity: str | None,
    log_format: str,
    **api: Any,
) -> None:
    """Follow the model pods of a cluster.

    Writes each one's image digest into the annotation sidecar.dev/digest, raises
    Events for settings that are ignored and pods that are not recorded, and
    tells Prometheus which pods are covered. Of several replicas one leads, by a
    Lease. Ends on SIGTERM.
    """
    access = service_account("controller", **api)
    logs.configure(log_format, "info", "controller")
    name = identity or socket.gethostname()
    which = marks(also, labelled_only)
    options = Options(
        access, admin, namespace, image, name, which, selector, max(1.0, every_s), through == "api"
    )
    asyncio.run(until_signal(lambda stop: serve(options, stop)))


async def serve(options: Options, stop: asyncio.Event) -> None:
    """Runs the controller until `stop` is set. Raises SidecarError when it cannot."""
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api(options.access, connections=AT_ONCE + 16))
        known = ClusterKnowledge(api, options.namespace, options.image, __version__)
        judge = FollowedModelPods(known, known, options.marks, options.namespace)
        leader = Leader(api, options.namespace, LEASE, options.identity)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=AT_ONCE, force_close=True),
                timeout=aiohttp.ClientTimeout(total=EACH_S),
            )
        )

        def changed(kind: str, pod: Object) -> None:
            acting.changed(kind, pod)

        pods = Reflector(api, "/api/v1/pods", judge.keep, changed, **_query(options))
        acting = Controller(
            pods.objects,
            judge,
            Annotator(
                api,
                DIGEST,
                judge.annotation,
                lambda outcome: metrics.annotations.labels(outcome).inc(),
                lambda: leader.is_leader,
            ),
            Events(api, options.identity, lambda *labels: metrics.events.labels(*labels).inc()),
            through_api(api, ADMIN_PORT) if options.through_api else directly(session, ADMIN_PORT),
            SIDECAR,
            lambda: leader.is_leader and pods.synced.is_set(),
            metrics,
            options.every_s,
        )

        metrics.api_failures.set_function(lambda: known.failures + pods.failures)

        def why_unready() -> str | None:
            if stop.is_set():
                return "ending"
            return known.why_unready() or (None if pods.synced.is_set() else "pods are not read yet")

        await listen_on(stack, "admin", options.admin, admin_app(why_unready, metrics.registry), None)
        work = (known.run(), leader.run(), _follow(known, pods), acting.run())
        async with in_background(*work) as failed:
            log.info("follows the model pods of %s", options.access.url)
            await first((stop,), failed)


def _query(options: Options) -> dict[str, Any]:
    return {"fieldSelector": LIVING} | ({"labelSelector": options.selector} if options.selector else {})


async def _follow(known: ClusterKnowledge, pods: Reflector) -> None:
    """Pods are judged by their namespace's label: they are read after it, and again when it changes."""
    await known.read()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pods.run())
        labels = known.labels(INJECT)
        while True:
            await asyncio.sleep(1.0)
            if (now := known.labels(INJECT)) != labels:
                labels = now
                pods.refresh()
                await asyncio.sleep(REFRESH_S)
