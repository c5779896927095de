"""How a pod's traffic reaches the recorder: `redirect`, `port` or `shift`, chosen per pod, with the reason.

A sidecar without capture is worse than none, so where no mode fits the answer
is a Refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.inject.mesh import Mesh, leads_past, mesh_of
from sidecar.inject.names import (
    ADMIN_PORT,
    DEFAULTS,
    HEALTH_PORT,
    INTERCEPT,
    LISTEN_PORT,
    PREFIX,
    PROBE_PORT,
    SIDECAR,
    SYSTEM_NAMESPACE,
)
from sidecar.inject.pod import (
    annotations_of,
    child,
    children,
    containers,
    named,
    runs_to_completion,
    tcp_ports,
)
from sidecar.inject.settings import InjectSettings
from sidecar.inject.surroundings import NAMED_PORTS_SINCE, NATIVE_SINCE, Surroundings, service_ports
from sidecar.inject.target import NoTarget, Target, find

MIRROR = "kubernetes.io/config.mirror"
OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
OWN_KERNELS = ("gvisor", "runsc")
"""Names of runtime classes whose kernel has no nftables."""
OWN_PORTS = (PROBE_PORT, HEALTH_PORT, ADMIN_PORT)
"""Beside the one that the recorder listens on."""


@dataclass(frozen=True, slots=True)
class Capture:
    """The interception of one pod."""

    mode: str
    reason: str
    target: Target
    listen: int
    native: bool
    mesh: Mesh | None
    fixed_user: bool
    """Whether the sidecar names its user id; OpenShift gives one of its own."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the pod gets no sidecar, with what the reader can do."""

    reason: str


def choose(pod: Mapping[str, Any], settings: InjectSettings, around: Surroundings) -> Capture | Refusal:
    """The pod's interception. The pod must not have been injected yet."""
    hindrance = _hindrance(pod, settings)
    if hindrance is not None:
        return Refusal(hindrance)
    try:
        target = find(pod, settings)
    except NoTarget as missing:
        return Refusal(str(missing))
    mode = _mode(pod, settings, around, target)
    if isinstance(mode, Refusal):
        return mode
    name, reason = mode
    native = _is_native(settings, around, name)
    if runs_to_completion(pod) and not native:
        return Refusal(
            "the pod ends by itself (a Job's), and a plain container would keep it from ending: "
            "it takes native sidecars, nodes and control plane "
            f"from Kubernetes {_text(NAMED_PORTS_SINCE if name == 'port' else NATIVE_SINCE)}"
        )
    listen = settings.listen_port or LISTEN_PORT
    taken = _taken(pod, listen, target.port)
    if taken is not None:
        return Refusal(taken)
    openshift = settings.openshift or around.openshift
    return Capture(name, reason, target, listen, native, mesh_of(pod, around.mesh), not openshift)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _hindrance(pod: Mapping[str, Any], settings: InjectSettings) -> str | None:
    """What forbids injection whatever the interception."""
    spec = child(pod, "spec")
    if MIRROR in annotations_of(pod):
        return "a static pod: kubelet runs it from a file, not from the API"
    if _on_windows(spec):
        return "the pod runs on Windows, which the sidecar does not"
    if spec.get("hostNetwork"):
        return "hostNetwork: the port is the node's, so nothing can be put in front of it inside the pod"
    if not containers(pod):
        return "the pod has no containers"
    for name in (SIDECAR, INTERCEPT):
        if named(pod, name) is not None:
            return f"a container named {name} is there that injection did not make: rename it"
    volumes = [str(each.get("name")) for each in children(spec, "volumes")]
    if ours := sorted(name for name in volumes if name.startswith("sidecar-")):
        return f"volume {ours[0]} has a name that injection uses: rename it"
    if settings.store is None:
        return (
            f"no store: set `store` in ConfigMap {DEFAULTS} of the namespace or of {SYSTEM_NAMESPACE}, "
            f"or {PREFIX}store on the pod"
        )
    return None


def _on_windows(spec: Mapping[str, Any]) -> bool:
    if (name := child(spec, "os").get("name")) is not None:
        return bool(name == "windows")
    if any(child(spec, "nodeSelector").get(label) == "windows" for label in OS_LABELS):
        return True
    required = child(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = children(required, "nodeSelectorTerms")
    return bool(terms) and all(_demands_windows(term) for term in terms)


def _demands_windows(term: Mapping[str, Any]) -> bool:
    return any(
        each.get("key") in OS_LABELS and each.get("operator") == "In" and each.get("values") == ["windows"]
        for each in children(term, "matchExpressions")
    )


def _mode(
    pod: Mapping[str, Any], settings: InjectSettings, around: Surroundings, target: Target
) -> tuple[str, str] | Refusal:
    """Mode and reason, or why none fits."""
    forbidden = _redirect_forbidden(pod, settings, around, target.port)
    if settings.mode == "redirect":
        asked = f"{PREFIX}mode asks for it"
        return (
            Refusal(f"mode redirect: {forbidden[0]}") if forbidden and forbidden[1] else ("redirect", asked)
        )
    if settings.mode is None and forbidden is None:
        return "redirect", f"nothing forbids it; {target.why}"
    why = f"mode {settings.mode}" if settings.mode else forbidden[0] if forbidden else ""
    if target.behind_queue_proxy:
        return Refusal(
            f"{why}: Knative's Services and its activator call the queue-proxy by port number, "
            "which only redirect can capture"
        )
    if settings.mode != "shift":
        hindrance = _port_hindrance(pod, around, target)
        if hindrance is None:
            return "port", f"{why}; Services target the port by its name, {target.port_name}"
        if settings.mode == "port" or settings.listen_port is None:
            return Refusal(f"{why}: {hindrance}")
    if settings.listen_port is None:
        return Refusal(f"{why}: set {PREFIX}listen-port and let the Service target it")
    return "shift", f"{why}; Services must target port {settings.listen_port}"


def _redirect_forbidden(
    pod: Mapping[str, Any], settings: InjectSettings, around: Surroundings, port: int
) -> tuple[str, bool] | None:
    """Why not redirect, and whether not even when asked for."""
    level = around.pod_security or settings.pod_security
    if level != "privileged":
        return f"Pod Security level {level} forbids NET_ADMIN", True
    runtime = child(pod, "spec").get("runtimeClassName")
    if runtime in OWN_KERNELS:
        return f"runtime class {runtime} has a kernel of its own, without nftables", True
    mesh = mesh_of(pod, around.mesh)
    if mesh is not None and mesh.proxy_uid is None:
        return f"how mesh {mesh.name} hands connections over is not known to redirect", True
    if mesh is not None and (note := leads_past(pod, mesh, port)) is not None:
        # The rules sit behind the proxy, for what it hands over.
        return f"annotation {note} leads port {port} past {mesh.name}'s proxy", True
    if settings.openshift or around.openshift:
        return "OpenShift's restricted security context forbids NET_ADMIN", False
    return None


def _port_hindrance(pod: Mapping[str, Any], around: Surroundings, target: Target) -> str | None:
    """Why the sidecar cannot take the port's name over."""
    if target.port_name is None:
        return (
            f"port {target.port} has no name for Services to target: name it in the container's `ports` "
            f"and in the Service's targetPort, or set {PREFIX}listen-port and let the Service target that"
        )
    for each in service_ports(around.services or (), pod):
        if each.target == target.port:
            return (
                f"Service {each.service} targets port {target.port} by number, past the recorder: "
                f"let it target {target.port_name}"
            )
    return None


def _is_native(settings: InjectSettings, around: Surroundings, mode: str) -> bool:
    if settings.native != "auto":
        return settings.native == "on"
    return around.oldest_node >= NATIVE_SINCE and (mode != "port" or around.server >= NAMED_PORTS_SINCE)


def _taken(pod: Mapping[str, Any], listen: int, model_port: int) -> str | None:
    """A port that the sidecar needs and a container of the pod declares."""
    spec = child(pod, "spec")
    needed = (listen, *OWN_PORTS)
    if model_port in needed:
        return f"port {model_port} is the model's, and the sidecar's too: let the model listen elsewhere"
    for container in containers(pod) + children(spec, "initContainers"):
        for each in tcp_ports(container):
            if each["containerPort"] in needed:
                return f"port {each['containerPort']} is taken by container {container.get('name')}"
    return None
