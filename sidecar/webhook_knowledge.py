"""What webhook and controller know of the cluster: namespaces, ConfigMaps, Services; its versions."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator, Mapping

from sidecar.backoff import Backoff
from sidecar.cluster.api import Api, Object
from sidecar.cluster.reflector import Reflector
from sidecar.cluster.versions import is_openshift, versions
from sidecar.errors import ClusterError
from sidecar.inject.names import DEFAULTS
from sidecar.inject.review import Namespace
from sidecar.inject.surroundings import Surroundings

log = logging.getLogger("sidecar.webhook")

VERSIONS_EVERY_S = 600.0


class ClusterKnowledge:
    """An `inject.review.Knowledge` that follows the API."""

    def __init__(self, api: Api, system_namespace: str, image: str, version: str) -> None:
        self.image, self.version = image, version
        self.around = Surroundings()
        self._api, self._system = api, system_namespace
        self._versions_known = asyncio.Event()
        self._namespaces = Reflector(api, "/api/v1/namespaces", _marks)
        self._defaults = Reflector(
            api, "/api/v1/configmaps", _data, fieldSelector=f"metadata.name={DEFAULTS}"
        )
        self._services = Reflector(api, "/api/v1/services", _service, self._service_changed)
        self._by_namespace: dict[str, dict[str, Object]] = {}

    @property
    def cluster_defaults(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self._defaults.objects.get((self._system, DEFAULTS), {}).get("data", {})
        return found

    def namespace(self, name: str) -> Namespace | None:
        """None until the namespace was heard of."""
        found = self._namespaces.objects.get(("", name))
        if found is None:
            return None
        defaults = self._defaults.objects.get((name, DEFAULTS))
        own = name != self._system and defaults is not None
        services = tuple(self._by_namespace.get(name, {}).values())
        return Namespace(
            found["labels"],
            found["annotations"],
            defaults["data"] if own and defaults is not None else None,
            services if self._services.synced.is_set() else None,
        )

    def labels(self, label: str) -> dict[str, str]:
        """The label's value of every namespace that has it."""
        marks = {name: each["labels"].get(label) for (_, name), each in self._namespaces.objects.items()}
        return {name: value for name, value in marks.items() if value is not None}

    def defaults(self) -> Iterator[tuple[str, Mapping[str, str], str]]:
        """Every ConfigMap of settings: its namespace, its settings and its uid."""
        for (namespace, _), found in list(self._defaults.objects.items()):
            yield namespace, found["data"], found["uid"]

    @property
    def failures(self) -> int:
        return sum(each.failures for each in self._reflectors)

    def why_unready(self) -> str | None:
        """What has not been read even once."""
        if not self._namespaces.synced.is_set():
            return "namespaces are not read yet"
        if not self._defaults.synced.is_set():
            return f"ConfigMaps {DEFAULTS} are not read yet"
        return None if self._versions_known.is_set() else "the cluster's version is not known yet"

    async def read(self) -> None:
        """Returns when everything has been read once."""
        for each in (self._namespaces.synced, self._defaults.synced, self._services.synced):
            await each.wait()
        await self._versions_known.wait()

    @property
    def _reflectors(self) -> tuple[Reflector, ...]:
        return self._namespaces, self._defaults, self._services

    async def run(self) -> None:
        """Follows the API until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._reflectors:
                tasks.create_task(each.run())
            tasks.create_task(self._follow_versions())
            tasks.create_task(self._settle())

    async def _settle(self) -> None:
        """Keeps the copies out of garbage collections, which would hold answers up while they walk them."""
        await self.read()
        gc.collect()
        gc.freeze()

    async def _follow_versions(self) -> None:
        backoff = Backoff(1.0, 60.0)
        while True:
            try:
                server, oldest = await versions(self._api)
                self.around = Surroundings(oldest, server, await is_openshift(self._api))
                self._versions_known.set()
                backoff.succeeded()
                wait = VERSIONS_EVERY_S
            except ClusterError as error:
                wait = backoff.failed()
                log.warning("%s; again in %.0f s", error, wait)
            await asyncio.sleep(wait)

    def _service_changed(self, kind: str, service: Object) -> None:
        metadata = service["metadata"]
        of_namespace = self._by_namespace.setdefault(metadata["namespace"], {})
        if kind == "DELETED":
            of_namespace.pop(metadata["name"], None)
            if not of_namespace:
                del self._by_namespace[metadata["namespace"]]
        else:
            of_namespace[metadata["name"]] = service


def _marks(namespace: Object) -> Object:
    metadata = namespace.get("metadata") or {}
    return {key: metadata.get(key) or {} for key in ("labels", "annotations")}


def _data(config_map: Object) -> Object:
    uid = (config_map.get("metadata") or {}).get("uid")
    return {"data": config_map.get("data") or {}, "uid": str(uid or "")}


def _service(service: Object) -> Object:
    metadata, spec = service.get("metadata") or {}, service.get("spec") or {}
    return {
        "metadata": {"name": str(metadata.get("name")), "namespace": str(metadata.get("namespace"))},
        "spec": {"selector": spec.get("selector") or {}, "ports": spec.get("ports") or []},
    }
