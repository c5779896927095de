"""What one look at a cluster, or at some of its namespaces, finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from sidecar.cluster.api import Api, Object
from sidecar.errors import ClusterError


@dataclass(slots=True)
class Snapshot:
    """What is needed to judge pods, as the API gave it; by namespace."""

    namespaces: dict[str, Object] = field(default_factory=dict)
    config_maps: dict[str, Object] = field(default_factory=dict)
    """Of the one name that was asked for."""
    services: dict[str, list[Object]] | None = field(default_factory=dict)
    """None where they may not be read."""


async def look(api: Api, namespaces: Sequence[str], config_map: str, system_namespace: str) -> Snapshot:
    """All namespaces when none is named. `config_map` is read in each, and in the system's.

    Raises ClusterError; a namespace that does not exist is one.
    """
    found = Snapshot()
    if namespaces:
        for name in namespaces:
            found.namespaces[name] = await api.get(f"/api/v1/namespaces/{quote(name)}")
        system = await _get(api, f"/api/v1/namespaces/{quote(system_namespace)}/configmaps/{config_map}")
        if system is not None:
            found.config_maps[system_namespace] = system
    else:
        items, _ = await api.list("/api/v1/namespaces")
        found.namespaces = {str(each["metadata"]["name"]): each for each in items}
    for place in _places(namespaces):
        items, _ = await api.list(f"{place}/configmaps", fieldSelector=f"metadata.name={config_map}")
        found.config_maps |= {str(each["metadata"]["namespace"]): each for each in items}
        await _services(api, f"{place}/services", found)
    return found


async def pods(
    api: Api, namespaces: Sequence[str], keep: Callable[[Object], Object], field_selector: str
) -> list[Object]:
    """What `keep` makes of the pods of these namespaces, of all when none is named. Raises ClusterError."""
    found: list[Object] = []
    for place in _places(namespaces):
        items, _ = await api.list(f"{place}/pods", keep, fieldSelector=field_selector)
        found += items
    return found


def _places(namespaces: Sequence[str]) -> list[str]:
    return [f"/api/v1/namespaces/{quote(name)}" for name in namespaces] or ["/api/v1"]


async def _services(api: Api, path: str, found: Snapshot) -> None:
    try:
        items, _ = await api.list(path)
    except ClusterError as error:
        if error.status != 403:
            raise
        found.services = None
    if found.services is not None:
        for each in items:
            found.services.setdefault(str(each["metadata"]["namespace"]), []).append(each)


async def _get(api: Api, path: str) -> Object | None:
    try:
        return await api.get(path)
    except ClusterError as error:
        if error.status != 404:
            raise
        return None
