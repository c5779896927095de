"""Settings → what tells of the model's container: the pod's annotations in a file, or the pod in the API."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.backoff import Backoff
from sidecar.clock import Clock
from sidecar.config import Handover, Settings
from sidecar.counters import Counters, Route
from sidecar.errors import ConfigError
from sidecar.identities import Identities
from sidecar.identity.downward import Annotations, AnnotationsFile
from sidecar.identity.facts import Facts
from sidecar.identity.kubernetes import containers_of
from sidecar.inject.names import DIGEST, STATUS
from sidecar.privacy.key_file import read_secret
from sidecar.settings_table import BY_KEY

log = logging.getLogger("sidecar.identity")

API_HOST, API_PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT_HTTPS"
LOOK_S = 1.0
_NEEDED = {"downward": ("identity_file",), "pod": ("namespace", "pod_name")}


def check_identity(settings: Settings, environment: Mapping[str, str]) -> None:
    """Raise ConfigError for what the source of identity cannot do without."""
    source = settings.identity
    if source == "static":
        return
    for key in _NEEDED[source]:
        if getattr(settings, key) is None:
            setting = BY_KEY[key]
            raise ConfigError(
                f"identity: {source} needs {key}: give {setting.flag}, {setting.variable} or `{key}:` in YAML"
            )
    if len(settings.routes) > 1:
        raise ConfigError(
            f"identity: {source} follows one container, and there are {len(settings.routes)} routes: "
            "run a sidecar for each, or use identity static"
        )
    if source == "pod" and settings.identity_api is None and not environment.get(API_HOST):
        raise ConfigError(f"identity: pod: this is no pod ({API_HOST} is not set): give --identity-api URL")


def facts_of(settings: Settings) -> Facts | None:
    """What will be told of the model's container; None where nobody tells."""
    return None if settings.identity == "static" else Facts(settings.model_container)


def identities(handover: Handover, facts: Facts | None, clock: Clock) -> Identities | None:
    """What joins the recorder's epochs with the facts. Raises JournalError without the boot's counters."""
    if facts is None:
        return None
    counters = Counters.open(Path(handover.counters_path))
    (route,) = handover.settings.routes
    blind = counters.base(route.name) + Route.BLIND
    # A container of before the node's start is not the one that answers now, whatever is still told of it.
    node_started_us = clock.wall_us() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 - 1_000_000
    return Identities(
        facts,
        handover.boot,
        route.name,
        clock,
        handover.settings.identity_wait_s,
        node_started_us,
        blind=lambda: bool(counters.slots[blind]),
    )


@asynccontextmanager
async def told(
    settings: Settings, facts: Facts | None, environment: Mapping[str, str]
) -> AsyncIterator[None]:
    """Fills the facts from their source, in the background, until the context ends."""
    async with AsyncExitStack() as stack:
        if facts is not None and settings.identity == "downward":
            file = _file(settings, facts)
            facts.look = file.look
            stack.enter_context(file.followed(LOOK_S))
        elif facts is not None:
            following = asyncio.ensure_future(_follow_pod(settings, facts, environment))
            following.add_done_callback(_say_ended)
            stack.callback(following.cancel)
        yield


def _file(settings: Settings, facts: Facts) -> AnnotationsFile:
    def changed(annotations: Annotations) -> None:
        if (text := annotations.get(DIGEST)) is not None:
            facts.tell_text(text)

    def reachable(is_so: bool) -> None:
        facts.reachable = is_so

    assert settings.identity_file is not None
    return AnnotationsFile(
        "identity_file", Path(settings.identity_file), changed, "the model's image is not known", reachable
    )


async def _follow_pod(settings: Settings, facts: Facts, environment: Mapping[str, str]) -> None:
    # Only where it is asked for: other sidecars do not carry it.
    from sidecar.cluster.api import Access, Api
    from sidecar.cluster.reflector import Reflector

    folder = Path(settings.identity_token)
    key = read_secret(Path(settings.hash_key), "hash_key") if settings.hash_key is not None else None
    access = Access(api_address(settings, environment), folder / "token", folder / "ca.crt")

    def changed(kind: str, pod: dict[str, Any]) -> None:
        metadata = pod.get("metadata") or {}
        # A StatefulSet gives the name of a pod that is gone to the next one.
        if kind == "DELETED" or (settings.pod_uid and metadata.get("uid") != settings.pod_uid):
            return
        name = settings.model_container or _injected_for(metadata.get("annotations"))
        if name is None:
            log.warning(
                "pod %s does not say which container is the model: give model_container", settings.pod_name
            )
        else:
            facts.tell(containers_of(pod, name, key))

    backoff = Backoff(0.5, 30.0)
    async with Api(access) as api:
        pod = Reflector(
            api,
            f"/api/v1/namespaces/{settings.namespace}/pods",
            on_change=changed,
            backoff=backoff,
            fieldSelector=f"metadata.name={settings.pod_name}",
        )
        watching = asyncio.ensure_future(pod.run())
        try:
            while not watching.done():
                await asyncio.wait([watching], timeout=LOOK_S)
                facts.reachable = pod.synced.is_set() and not backoff.failures
            watching.result()
        finally:
            watching.cancel()


def _injected_for(annotations: Annotations | None) -> str | None:
    """The container that injection said the model is."""
    try:
        said = json.loads((annotations or {}).get(STATUS, ""))
        name = said.get("container")
    except (ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def _say_ended(following: asyncio.Future[None]) -> None:
    if not following.cancelled() and (error := following.exception()) is not None:
        log.error("the pod is not followed any more: %s", error)


def api_address(settings: Settings, environment: Mapping[str, str]) -> str:
    """The API as configured, else as a pod is told of it."""
    if settings.identity_api is not None:
        return settings.identity_api.rstrip("/")
    host, port = environment.get(API_HOST, ""), environment.get(API_PORT, "443")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
