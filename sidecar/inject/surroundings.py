"""What injection must know beyond the pod: versions of the cluster, level of the namespace, Services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.inject.names import POD_SECURITY
from sidecar.inject.pod import Object, child, children, labels_of

Version = tuple[int, int]
NATIVE_SINCE: Version = (1, 29)
NAMED_PORTS_SINCE: Version = (1, 32)
"""Services find the named ports of native sidecars from here on (Kubernetes pull request 127976)."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service that leads to the pod."""

    service: str
    index: int
    name: str | None
    target: int | str
    """Number, or the name of a container's port."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Facts that the pod itself does not carry."""

    oldest_node: Version = (1, 33)
    """The kubelet of the oldest node."""
    server: Version = (1, 33)
    openshift: bool = False
    pod_security: str | None = None
    """The namespace's enforced level; None where it has no label."""
    mesh: str | None = None
    """The service mesh that the namespace is in: `istio`, `linkerd` or `ambient`."""
    services: tuple[Object, ...] | None = None
    """Services of the namespace; None when nobody could say."""
    workload: str | None = None
    """Name of the workload, for templates, whose pods have no owner yet."""


def service_ports(services: Iterable[Mapping[str, Any]], pod: Mapping[str, Any]) -> list[ServicePort]:
    """The TCP ports of those Services whose selector takes the pod in."""
    found = []
    marks = labels_of(pod)
    for service in services:
        spec = child(service, "spec")
        selector = child(spec, "selector")
        if not selector or any(marks.get(key) != value for key, value in selector.items()):
            continue
        name = str(child(service, "metadata").get("name") or "?")
        for index, port in enumerate(children(spec, "ports")):
            target = port.get("targetPort", port.get("port"))
            if port.get("protocol", "TCP") == "TCP" and isinstance(target, int | str):
                found.append(ServicePort(name, index, port.get("name"), target))
    return found


def of_namespace(marks: Mapping[str, str], notes: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Pod Security level and mesh, from a namespace's labels and annotations."""
    mesh = None
    if marks.get("istio.io/dataplane-mode") == "ambient":
        mesh = "ambient"
    elif marks.get("istio-injection") == "enabled" or marks.get("istio.io/rev"):
        mesh = "istio"
    elif notes.get("linkerd.io/inject") in ("enabled", "ingress"):
        mesh = "linkerd"
    return marks.get(POD_SECURITY), mesh
