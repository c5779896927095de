"""Which container is the model, and which port of the pod leads to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.inject.mesh import PROXY_CONTAINERS
from sidecar.inject.names import PREFIX
from sidecar.inject.pod import (
    Object,
    annotations_of,
    children,
    containers,
    handlers,
    labels_of,
    port_number,
    tcp_ports,
)
from sidecar.inject.settings import InjectSettings

QUEUE_PROXY = "queue-proxy"
QUEUE_PORT = "queue-port"
KSERVE_LABEL = "serving.kserve.io/inferenceservice"
QUEUE_CERTIFICATES = "/var/lib/knative/certs"
"""Mounted where Knative encrypts inside the cluster; the calls then come in on another port, as TLS."""
KSERVE_AGENT = "agent"
KSERVE_TRANSFORMER = "transformer-container"
KSERVE_PORT = 8080
MODEL_NAMES = ("kserve-container", "user-container")
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
PROXIES = PROXY_CONTAINERS | {QUEUE_PROXY}
"""Containers that are never taken for the model, unless an annotation names them."""
SERVING = ("http", "h2c", "user-port", "rest", "predict", "serving", "api", "web")
"""How the names of ports that serve a model begin, the likeliest first."""
SIDE_DOORS = ("metric", "prom", "admin", "health", "debug", "probe", "jmx")
"""What the names of ports for metrics, probes or debugging hold."""


@dataclass(frozen=True, slots=True)
class Target:
    """The port to capture: the model's own, or that of a helper which calls the model inside the pod."""

    model: str
    index: int
    """Of the container that owns the port, in `spec.containers`."""
    port: int
    port_index: int | None
    """In that container's `ports`; None when it declares none of that number."""
    port_name: str | None
    why: str
    warnings: tuple[str, ...] = ()
    behind_queue_proxy: bool = False
    """Whether the port is that of Knative's queue-proxy."""


class NoTarget(Exception):
    """No port can be told to be the model's; the message is the reason, and the remedy."""


def find(pod: Mapping[str, Any], settings: InjectSettings) -> Target:
    """The port to capture. Raises NoTarget."""
    every = containers(pod)
    model, warnings = _model(pod, settings)
    name = str(every[model].get("name"))
    helper = _helper(pod, model)
    given = settings.upstream_port
    if helper is not None:
        index, port = helper
        why = f"{every[index]['name']} calls the model inside the pod, so its port is captured"
        if given is not None:
            warnings.append(f"{PREFIX}upstream-port {given} is not captured: {why}, {port}")
    elif given is not None:
        number = port_number(every[model], given)
        if number is None:
            raise NoTarget(f"container {name} declares no port named {given}: correct {PREFIX}upstream-port")
        index, port = model, number
        why = f"{PREFIX}upstream-port"
    else:
        index, (port, why) = model, _port(pod, every[model], warnings)
    for each in tcp_ports(every[model]) if helper is None else []:
        if each["containerPort"] != port and not _is_side_door(each):
            called = f" ({each['name']})" if each.get("name") else ""
            warnings.append(f"port {each['containerPort']}{called} of container {name} is not recorded")
    place = _declared(every[index], port)
    port_name = children(every[index], "ports")[place].get("name") if place is not None else None
    queue_proxy = every[index].get("name") == QUEUE_PROXY
    return Target(name, index, port, place, port_name, why, tuple(warnings), queue_proxy)


def _model(pod: Mapping[str, Any], settings: InjectSettings) -> tuple[int, list[str]]:
    """Index of the model's container, and warnings when it is a choice among several."""
    every = containers(pod)
    names = [each.get("name") for each in every]
    if settings.container is not None:
        if settings.container not in names:
            raise NoTarget(f"there is no container {settings.container}: correct {PREFIX}container")
        return names.index(settings.container), []
    for name in (*MODEL_NAMES, annotations_of(pod).get(DEFAULT_CONTAINER)):
        if name is not None and name in names:
            return names.index(name), []
    own = [index for index, each in enumerate(every) if str(each.get("name")) not in PROXIES]
    if len(own) == 1:
        return own[0], []
    serving = [index for index in own if tcp_ports(every[index])]
    if not serving:
        raise NoTarget(
            f"several containers and none declares a port: set {PREFIX}container and {PREFIX}upstream-port"
        )
    if len(serving) == 1:
        return serving[0], []
    shown = ", ".join(str(names[index]) for index in serving)
    return serving[0], [
        f"containers {shown} declare ports; {names[serving[0]]} is taken for the model: set {PREFIX}container"
    ]


def _helper(pod: Mapping[str, Any], model: int) -> tuple[int, int] | None:
    """Container and port through which Knative or KServe reach the model inside the pod; the outermost's."""
    found = {str(each.get("name")): (at, each) for at, each in enumerate(containers(pod)) if at != model}
    if QUEUE_PROXY in found:
        index, proxy = found[QUEUE_PROXY]
        if any(each.get("mountPath") == QUEUE_CERTIFICATES for each in children(proxy, "volumeMounts")):
            raise NoTarget(
                "Knative encrypts inside the cluster, so that what comes in is TLS until the queue-proxy: "
                "switch its system-internal-tls off, and leave encryption to a mesh"
            )
        return index, port_number(proxy, QUEUE_PORT) or 8012
    if KSERVE_LABEL not in labels_of(pod):
        return None
    for name, otherwise in ((KSERVE_AGENT, None), (KSERVE_TRANSFORMER, KSERVE_PORT)):
        if name in found:
            index, helper = found[name]
            ports = tcp_ports(helper)
            if ports or otherwise:
                return index, int(ports[0]["containerPort"] if ports else otherwise or 0)
    return None


def _port(pod: Mapping[str, Any], container: Object, warnings: list[str]) -> tuple[int, str]:
    name = container.get("name")
    ports = tcp_ports(container)
    if len(ports) == 1:
        return int(ports[0]["containerPort"]), f"the port of container {name}"
    if ports:
        doors = [each for each in ports if not _is_side_door(each)] or ports
        best = min(doors, key=_rank)
        if len(doors) > 1:
            warnings.append(
                f"container {name} declares several ports; {best['containerPort']} is taken for the model's: "
                f"set {PREFIX}upstream-port"
            )
        return int(best["containerPort"]), f"the likeliest of container {name}'s ports"
    for path, action, _ in handlers(container):
        number = port_number(container, action.get("port"))
        if number is not None and not action.get("host"):
            return number, f"the port of container {name}'s {path.split('/')[0]}"
    if name in MODEL_NAMES and KSERVE_LABEL in labels_of(pod):
        return KSERVE_PORT, "KServe's port for models that declare none"
    raise NoTarget(f"container {name} declares no TCP port: declare it, or set {PREFIX}upstream-port")


def _rank(port: Object) -> int:
    name = str(port.get("name") or "")
    return next((place for place, start in enumerate(SERVING) if name.startswith(start)), len(SERVING))


def _is_side_door(port: Object) -> bool:
    """A port for metrics, probes or debugging, by its name."""
    name = str(port.get("name") or "")
    return any(word in name for word in SIDE_DOORS)


def _declared(container: Object, port: int) -> int | None:
    for index, each in enumerate(children(container, "ports")):
        if each.get("containerPort") == port and each.get("protocol", "TCP") == "TCP":
            return index
    return None
