"""`sidecar webhook`: injects pods as the API server creates them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sidecar import __version__, logs
from sidecar.cluster.admin import admin_app
from sidecar.cluster.api import Access, Api, Object
from sidecar.cluster.certificate import from_secret
from sidecar.cluster.keeper import Keeper
from sidecar.cluster.lease import Leader
from sidecar.cluster.reflector import Reflector
from sidecar.cluster.webhook import Certificate, Metrics, Reply, review_app
from sidecar.errors import ClusterError
from sidecar.inject.review import review
from sidecar.injecting import IMAGE
from sidecar.resident import (
    LISTEN,
    Work,
    first,
    in_background,
    listen_on,
    replica_options,
    service_account,
    until_signal,
)
from sidecar.settings_values import Address
from sidecar.webhook_knowledge import ClusterKnowledge

log = logging.getLogger("sidecar.webhook")

TEND_S = 30.0
FILES_S = 10.0
"""How often certificate files are looked at; kubelet takes a minute to bring a changed Secret."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that can be set."""

    access: Access
    listen: Address
    admin: Address
    namespace: str
    service: str
    secret: str
    configuration: str
    certificates: Path | None
    image: str
    identity: str
    drain_delay_s: float = 5.0

    @property
    def names(self) -> Sequence[str]:
        name = f"{self.service}.{self.namespace}"
        return f"{name}.svc", f"{name}.svc.cluster.local", name


_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--listen", type=LISTEN, default="*:8443", show_default=True, help="Where reviews come in.")
@click.option("--service", default="sidecar-webhook", show_default=True, help="The Service in front of it.")
@click.option("--secret", default="sidecar-webhook-tls", show_default=True, help="Holds the certificate.")
@click.option(
    "--configuration",
    default="sidecar-webhook",
    show_default=True,
    help="The MutatingWebhookConfiguration whose caBundle is kept.",
)
@click.option(
    "--certificates",
    type=_FILE,
    metavar="DIR",
    help="Serve with tls.crt and tls.key of this folder (cert-manager's), and make none.",
)
@click.option("--image", default=IMAGE, show_default=True, help="The sidecar's image.")
@replica_options
def webhook(
    listen: Address,
    admin: Address,
    namespace: str,
    service: str,
    secret: str,
    configuration: str,
    certificates: Path | None,
    image: str,
    identity: str | None,
    log_format: str,
    **api: Any,
) -> None:
    """Inject the sidecar into pods as they are created.

    Makes its own serving certificate, renews it, and keeps the caBundle of its
    MutatingWebhookConfiguration; replicas agree through a Lease. Ends on SIGTERM.
    """
    access = service_account("webhook", **api)
    logs.configure(log_format, "info", "webhook")
    options = Options(
        access,
        listen,
        admin,
        namespace,
        service,
        secret,
        configuration,
        certificates,
        image,
        identity or socket.gethostname(),
    )
    asyncio.run(until_signal(lambda stop: serve(options, stop)))


async def serve(options: Options, stop: asyncio.Event) -> None:
    """Runs the webhook until `stop` is set. Raises SidecarError when it cannot."""
    metrics = Metrics()
    certificate = Certificate(metrics)
    async with Api(options.access) as api, AsyncExitStack() as stack:
        known = ClusterKnowledge(api, options.namespace, options.image, __version__)

        def decide(body: bytes) -> Reply:
            answer = review(body, known)
            if answer.outcome == "malformed":
                log.warning("a review is malformed: %s", answer.reason)
            return Reply(answer.status, answer.body, answer.outcome)

        def why_unready() -> str | None:
            metrics.api_failures.set(known.failures)
            if stop.is_set():
                return "ending"
            return (
                known.why_unready() if certificate.loaded.is_set() else "there is no serving certificate yet"
            )

        await listen_on(stack, "admin", options.admin, admin_app(why_unready, metrics.registry), None)
        async with in_background(
            known.run(), *_certificate_work(options, api, certificate, metrics)
        ) as failed:
            await first((certificate.loaded, stop), failed)
            if certificate.loaded.is_set():
                await listen_on(
                    stack, "listen", options.listen, review_app(decide, metrics), certificate.context
                )
                log.info("listens on %s", options.listen)
                await first((stop,), failed)
            # Endpoints take a moment to follow: calls still come in while the pod is already ending.
            await asyncio.sleep(options.drain_delay_s if certificate.loaded.is_set() else 0)


def _certificate_work(
    options: Options, api: Api, certificate: Certificate, metrics: Metrics
) -> Sequence[Work]:
    """What keeps the certificate: from files, or from the Secret that the leader writes."""
    if options.certificates is not None:
        # Nobody is elected: a gauge that stays at 0 would say that the leader is missing.
        metrics.registry.unregister(metrics.leader)
        return [_follow_files(options.certificates, certificate)]

    def taken(_: str, secret: Object) -> None:
        pair = from_secret(secret.get("data"))
        try:
            if pair is not None:
                certificate.load_pair(pair)
        except ValueError as error:
            log.warning("secret %s: %s; the last certificate stays in use", options.secret, error)

    path = f"/api/v1/namespaces/{options.namespace}/secrets"
    follower = Reflector(api, path, on_change=taken, fieldSelector=f"metadata.name={options.secret}")
    leader = Leader(api, options.namespace, "sidecar-webhook", options.identity)
    keeper = Keeper(api, options.namespace, options.secret, options.configuration, options.names)
    return [follower.run(), leader.run(), _tend(leader, keeper, metrics)]


async def _tend(leader: Leader, keeper: Keeper, metrics: Metrics) -> None:
    """As the leader: keep the certificate and what the API server trusts."""
    while True:
        metrics.leader.set(leader.is_leader)
        wait = TEND_S
        if leader.is_leader:
            try:
                await keeper.tend()
            except ClusterError as error:
                log.warning("%s", error)
                wait = TEND_S / 6
        else:
            wait = 0.5
        await asyncio.sleep(wait)


async def _follow_files(folder: Path, certificate: Certificate) -> None:
    """Serve with the files' pair, and with the next when they change."""
    while True:
        try:
            certificate.load((folder / "tls.crt").read_bytes(), (folder / "tls.key").read_bytes())
        except (OSError, ValueError) as error:
            log.warning("%s: %s; the last certificate stays in use", folder, error)
        await asyncio.sleep(FILES_S if certificate.loaded.is_set() else 1.0)
