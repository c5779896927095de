"""What the injected containers may use, so that the pod keeps its class of service and its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.inject.pod import Object, child, children, containers, native_sidecars
from sidecar.inject.quantity import amount, equal, in_mebibytes
from sidecar.inject.settings import InjectSettings

LOG_ALLOWANCE_BYTES = 256 * 2**20
"""Beside the journal's volume, a container's logs count against its limit of ephemeral storage."""
_OTHERS_LIMIT = "1"
"""Cores, where every other container has a limit and the settings give none."""
MEMORY_BESIDE_ANALYST_BYTES = 128 * 2**20
"""Supervisor, recorder, and what the recorder captures (64 MiB)."""


def is_guaranteed(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's quality of service is Guaranteed: limits everywhere, and requests equal to them."""
    spec = child(pod, "spec")
    own = child(spec, "resources")
    if own:
        return _limits_are_requests(own)
    every = children(spec, "containers") + children(spec, "initContainers")
    return bool(every) and all(_limits_are_requests(child(each, "resources")) for each in every)


def _limits_are_requests(resources: Object) -> bool:
    limits, requests = child(resources, "limits"), child(resources, "requests")
    return all(
        name in limits and equal(limits[name], requests.get(name, limits[name])) for name in ("cpu", "memory")
    )


def shares_pod_resources(pod: Mapping[str, Any]) -> bool:
    """Whether the pod as a whole has requests or limits, which all its containers together must not pass."""
    resources = child(pod, "spec", "resources")
    return bool(child(resources, "requests") or child(resources, "limits"))


def limits_storage(pod: Mapping[str, Any]) -> bool:
    """Whether kubelet holds the pod's containers to a limit of ephemeral storage.

    The journal's volume counts against the sum of these limits, so the sidecar
    must then bring one of its own. Where nobody has one, it must not: its limit
    would become the whole pod's, and evict the model for what the model writes.
    """
    running = containers(pod) + native_sidecars(pod)
    return any("ephemeral-storage" in child(each, "resources", "limits") for each in running)


def recorder_resources(pod: Mapping[str, Any], settings: InjectSettings) -> Object:
    """Requests and limits of the sidecar's container."""
    volume = in_mebibytes(settings.max_bytes)
    # Only an emptyDir counts as the pod's own storage.
    ephemeral = settings.journal_volume[0] == "emptyDir"
    requests: Object = {"ephemeral-storage": volume} if ephemeral else {}
    limits: Object = {}
    if ephemeral and limits_storage(pod):
        limits["ephemeral-storage"] = in_mebibytes(settings.max_bytes + LOG_ALLOWANCE_BYTES)
    if not shares_pod_resources(pod):
        if is_guaranteed(pod):
            cores = settings.cpu_limit or settings.cpu_request
            memory = settings.memory_limit
            requests |= {"cpu": cores, "memory": memory}
            limits |= {"cpu": cores, "memory": memory}
        else:
            requests |= {"cpu": settings.cpu_request, "memory": settings.memory_request}
            limits["memory"] = settings.memory_limit
            cores_limit = settings.cpu_limit or (_OTHERS_LIMIT if _all_limit_cpu(pod) else None)
            if cores_limit is not None:
                limits["cpu"] = cores_limit
    return {"requests": requests} | ({"limits": limits} if limits else {})


def _all_limit_cpu(pod: Mapping[str, Any]) -> bool:
    """Then a ResourceQuota may demand it of every container, and would refuse the pod without ours."""
    return all("cpu" in child(each, "resources", "limits") for each in containers(pod))


def init_resources(pod: Mapping[str, Any]) -> Object:
    """Of the short-lived container that sets the rules up."""
    if shares_pod_resources(pod):
        return {}
    limits = {"cpu": "100m", "memory": "128Mi"}
    requests = limits if is_guaranteed(pod) else {"cpu": "10m", "memory": "32Mi"}
    return {"requests": dict(requests), "limits": limits}


def analyst_memory(settings: InjectSettings) -> int:
    """Bytes that are left for the analyst below the container's limit; at most its own default."""
    beside = MEMORY_BESIDE_ANALYST_BYTES
    return min(512 * 2**20, int(amount(settings.memory_limit)) - beside)
