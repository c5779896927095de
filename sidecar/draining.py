"""`sidecar drain`: ships the journals of pods that are gone."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import click

from sidecar import logs
from sidecar.boot import read_enrolment_key
from sidecar.cluster.admin import admin_app
from sidecar.cluster.api import Access, Api
from sidecar.drain.metrics import Metrics
from sidecar.drain_run import Means
from sidecar.drain_shipping import Bounds
from sidecar.drain_watch import Drainer, PodSource
from sidecar.objects import command_options
from sidecar.parameters import Parsed
from sidecar.resident import listen_on, service_account, service_account_options, until_signal
from sidecar.settings_values import Address, parse_duration, parse_listen, parse_size, parse_store

log = logging.getLogger("sidecar.drain")

_DURATION = Parsed("DURATION", parse_duration)
_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--journals", type=_FILE, required=True, envvar="SIDECAR_JOURNALS", metavar="DIR",
              help="Folder of the pods' folders: the hostPath, or the claim.")  # fmt: skip
@click.option("--store", "stores", type=Parsed("URL", parse_store), multiple=True, required=True,
              envvar="SIDECAR_STORE", help="A store that may be shipped to, or several.")  # fmt: skip
@click.option("--watch", is_flag=True, help="Go on until SIGTERM.")
@click.option("--node", envvar="SIDECAR_NODE", help="Ask the API for this node's pods (`all`: every pod).")
@click.option("--after", "after_s", type=_DURATION, default="15m", show_default=True,
              help="Without --node: how long nothing was written until a pod counts as gone.")  # fmt: skip
@click.option(
    "--every", "every_s", type=_DURATION, default="30s", show_default=True, help="How often to look."
)
@click.option("--timeout", "timeout_s", type=_DURATION, default="15m", show_default=True,
              help="Most for one journal; then it is another's turn.")  # fmt: skip
@click.option("--grace", "grace_s", type=_DURATION, default="20s", show_default=True,
              help="After SIGTERM: most for what is being drained.")  # fmt: skip
@click.option(
    "--parallel", type=click.IntRange(1, 16), default=2, show_default=True, help="Journals at a time."
)
@click.option("--memory", type=Parsed("SIZE", parse_size), default="384MiB", show_default=True,
              help="Most for the data of each.")  # fmt: skip
@click.option("--cluster", envvar="SIDECAR_CLUSTER", help="The cluster that journals must say they are of.")
@click.option("--hash-key", type=_FILE, envvar="SIDECAR_HASH_KEY", help="The pods' hash key.")
@click.option("--master-key", type=_FILE, envvar="SIDECAR_MASTER_KEY", help="The pods' master key.")
@click.option(
    "--enrolment-key", type=_FILE, envvar="SIDECAR_ENROLMENT_KEY", help="Certifies the drainer's logs."
)
@click.option("--admin", type=Parsed("HOST:PORT", parse_listen), default="*:15190", show_default=True,
              help="With --watch: /healthz, /readyz and /metrics.")  # fmt: skip
@click.option(
    "--log-format", type=click.Choice(["auto", "json", "text"]), default="auto", help="How it logs."
)
@service_account_options
@click.pass_context
def drain(
    context: click.Context,
    /,
    journals: Path,
    stores: tuple[str, ...],
    watch: bool,
    node: str | None,
    after_s: float,
    every_s: float,
    timeout_s: float,
    grace_s: float,
    parallel: int,
    memory: int,
    cluster: str | None,
    hash_key: Path | None,
    master_key: Path | None,
    enrolment_key: Path | None,
    admin: Address,
    log_format: str,
    **api: object,
) -> None:
    """Ship the journals of pods that are gone, and remove them.

    A pod is gone when the API says so (--node) or nothing was written for a
    while (--after), and nobody holds its journal's lock. What it had recorded
    goes into a log of the drainer's own, by the pod's redaction rules; a journal
    whose rules are unknown is not shipped. Without --watch: one round; exit code 1
    if a journal of a pod that is gone is left.
    """
    logs.configure(log_format, "info", "drain")
    environment: Mapping[str, str] = context.find_root().obj or {}
    means = Means(
        stores=tuple(each if "://" in each else str(Path(each).absolute()) for each in stores),
        options=replace(command_options(), token_file=environment.get("SIDECAR_STORE_TOKEN_FILE")),
        hash_key=str(hash_key.absolute()) if hash_key else None,
        master_key=str(master_key.absolute()) if master_key else None,
        enroller=read_enrolment_key(enrolment_key) if enrolment_key else None,
        cluster=cluster,
        memory=memory,
        bounds=Bounds(timeout_s, grace_s),
        environment=dict(environment),
    )
    access = service_account("drain", **api) if node else None  # type: ignore[arg-type]
    root = journals.absolute()
    codes: list[int] = []

    async def serve(stop: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            metrics = Metrics()
            source = await _source(stack, access, node)
            drainer = Drainer(root, means, after_s, source, metrics, parallel)
            stack.push_async_callback(drainer.end)
            if not watch:
                codes.append(await _once(drainer, stop))
                return
            app = admin_app(lambda: "ending" if stop.is_set() else None, metrics.registry)
            await listen_on(stack, "admin", admin, app, None)
            log.info("drains %s", root)
            await _watch(drainer, stop, every_s)

    asyncio.run(until_signal(serve))
    sys.exit(max(codes, default=0))


async def _source(stack: AsyncExitStack, access: Access | None, node: str | None) -> PodSource | None:
    if access is None:
        return None
    return PodSource(await stack.enter_async_context(Api(access)), None if node == "all" else node)


async def _watch(drainer: Drainer, stop: asyncio.Event, every_s: float) -> None:
    while not stop.is_set():
        await drainer.look()
        drainer.work()
        for _ in range(max(1, round(every_s))):
            # What has ended makes room for the next at once.
            try:
                await asyncio.wait_for(stop.wait(), min(1.0, every_s))
                return
            except TimeoutError:
                drainer.work()


async def _once(drainer: Drainer, stop: asyncio.Event) -> int:
    await drainer.look()
    tried: set[str] = set()
    while not stop.is_set():
        drainer.work()
        now = {name for name, known in drainer.journals.items() if known.state == "draining"}
        tried |= now
        if not now:
            break
        settling = asyncio.ensure_future(drainer.settle())
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((settling, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    await drainer.end()
    left = [known for known in drainer.journals.values() if known.gone_s is not None]
    for known in left:
        click.echo(f"{known.pod.name}: {known.state}: {known.said or 'not tried'}", err=True)
    return int(drainer.unsure or any(known.state != "alive" for known in left))
