"""Service meshes: whose proxy stands between the network and the model.

An Istio or Linkerd proxy takes every incoming connection and opens one of its
own to the model, from inside the pod. Interception then sits behind the proxy:
in the output chain, for connections of the proxy's user id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.inject.pod import annotations_of, child, children, containers, labels_of, named

PROXIES = {"istio": ("istio-proxy", 1337), "linkerd": ("linkerd-proxy", 2102)}
"""Container, and the user id it has when the pod does not say."""
OTHER_PROXIES = ("kuma-sidecar", "consul-dataplane", "consul-connect-envoy-sidecar", "osm-envoy")
"""Proxies of meshes whose own rules are not known here."""
ISTIO_PROBERS = "ISTIO_KUBE_APP_PROBERS"
"""Variable of Istio's proxy: the probes that it took over from kubelet, as compact JSON, ports as numbers."""
PAST_THE_PROXY = (
    "sidecar.istio.io/interceptionMode",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "config.linkerd.io/skip-inbound-ports",
)
"""Annotations by which what comes in may not pass the proxy as it usually does."""
_RANGE = re.compile(r"^([0-9]{1,5})(?:-([0-9]{1,5}))?$", re.ASCII)
PROXY_CONTAINERS = frozenset({name for name, _ in PROXIES.values()} | set(OTHER_PROXIES))


@dataclass(frozen=True, slots=True)
class Mesh:
    """`istio` or `linkerd` with its proxy's user id; others have no proxy that could be hooked behind."""

    name: str
    proxy_uid: int | None = None


def mesh_of(pod: Mapping[str, Any], namespace_mesh: str | None) -> Mesh | None:
    """The mesh that the pod is in, or will be once the mesh's own injector has seen it."""
    for name, (container, uid) in PROXIES.items():
        if (proxy := named(pod, container)) is not None:
            return Mesh(name, child(proxy, "securityContext").get("runAsUser", uid))
    other = next((each["name"] for each in containers(pod) if each.get("name") in OTHER_PROXIES), None)
    if other is not None:
        return Mesh(other)
    expected = _asked_for(pod, namespace_mesh)
    if expected is None or expected == "ambient":
        return Mesh(expected) if expected else None
    return Mesh(expected, PROXIES[expected][1])


def _asked_for(pod: Mapping[str, Any], namespace_mesh: str | None) -> str | None:
    marks, notes = labels_of(pod), annotations_of(pod)
    istio = marks.get("sidecar.istio.io/inject") or notes.get("sidecar.istio.io/inject")
    linkerd = notes.get("linkerd.io/inject")
    mode = marks.get("istio.io/dataplane-mode")
    if mode == "ambient" or notes.get("ambient.istio.io/redirection") == "enabled":
        return "ambient"
    if istio == "true":
        return "istio"
    if linkerd in ("enabled", "ingress"):
        return "linkerd"
    out = {"istio": istio == "false", "linkerd": linkerd == "disabled", "ambient": mode == "none"}
    return None if namespace_mesh is None or out.get(namespace_mesh) else namespace_mesh


def probers_of(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The probes that Istio's agent makes in kubelet's stead: JSON pointer of the text, and the text."""
    for key in ("containers", "initContainers"):
        for index, container in enumerate(children(child(pod, "spec"), key)):
            if container.get("name") != PROXIES["istio"][0]:
                continue
            for place, variable in enumerate(children(container, "env")):
                if variable.get("name") == ISTIO_PROBERS and isinstance(variable.get("value"), str):
                    yield f"/spec/{key}/{index}/env/{place}/value", variable["value"]


def led_past(probers: str, port: int, probe_port: int) -> str:
    """The same probes with another port in place of one; a quotation mark inside a text is escaped there."""
    for end in (",", "}"):
        probers = probers.replace(f'"port":{port}{end}', f'"port":{probe_port}{end}')
    return probers


def leads_past(pod: Mapping[str, Any], mesh: Mesh, port: int) -> str | None:
    """The annotation by which the port's traffic does not pass the mesh's proxy, if there is one."""
    notes = annotations_of(pod)
    how, excluded, included, skipped = PAST_THE_PROXY
    if mesh.name == "istio":
        if notes.get(how, "REDIRECT") != "REDIRECT":
            return how
        if _lists(notes.get(excluded, ""), port):
            return excluded
        if not _lists(notes.get(included, "*"), port):
            return included
    return skipped if mesh.name == "linkerd" and _lists(notes.get(skipped, ""), port) else None


def _lists(text: str, port: int) -> bool:
    """Whether a list such as `8080,9000-9010` or `*` holds the port. What is no port counts for nothing."""
    for each in text.split(","):
        found = _RANGE.match(each.strip())
        if each.strip() == "*" or (found and int(found[1]) <= port <= int(found[2] or found[1])):
            return True
    return False
