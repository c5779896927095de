"""A pod and its settings → the JSON patch (RFC 6902) that puts the sidecar in.

It only appends, except for what interception needs: ports of kubelet's probes,
and in mode `port` the name of the model's port. Applied twice it is as applied
once, since webhooks are called again when another one has changed the pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sidecar.inject.container import interceptor, recorder, termination, volumes
from sidecar.inject.interception import Capture, Refusal, choose
from sidecar.inject.mesh import led_past, mesh_of, probers_of
from sidecar.inject.names import (
    INTERCEPT,
    JOURNAL_VOLUME,
    PROBE_PORT,
    SAFE_TO_EVICT,
    SIDECAR,
    STATUS,
    TEMPORARY_VOLUME,
)
from sidecar.inject.pod import (
    Object,
    annotations_of,
    child,
    children,
    containers,
    handlers,
    is_native,
    named,
    native_sidecars,
    port_number,
    workload_name,
)
from sidecar.inject.resources import shares_pod_resources
from sidecar.inject.settings import InjectSettings
from sidecar.inject.surroundings import Surroundings, service_ports

Patch = list[Object]
"""Operations of RFC 6902, in order."""
ALREADY = "already injected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What injection does to a pod. Without a capture, `reason` says why there is none."""

    patch: Patch
    reason: str
    capture: Capture | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_injected(self) -> bool:
        """Whether the pod has a sidecar afterwards."""
        return self.capture is not None or self.reason == ALREADY


def inject(pod: Mapping[str, Any], settings: InjectSettings, around: Surroundings, version: str) -> Outcome:
    """The patch for a pod, or the reason why there is none. `version` is the sidecar's, for the status.

    The pod is a whole one or the template of a workload.
    """
    status = injected_status(pod)
    if status is not None:
        return Outcome(_moved_behind_mesh(pod, status, around), ALREADY)
    settings, displaced = _placeable(pod, settings, around)
    capture = choose(pod, settings, around)
    if isinstance(capture, Refusal):
        return Outcome([], capture.reason)
    workload = around.workload or workload_name(pod)
    patch = (
        _annotations(pod, status_text(capture, version))
        + _handlers(pod, capture)
        + _probers(pod, capture)
        + _port_name(capture)
        + _appended(pod, "volumes", volumes(settings))
    )
    sidecar = recorder(pod, capture, settings, workload)
    initial = [sidecar] if capture.native else []
    initial += [interceptor(pod, capture, settings)] if capture.mode == "redirect" else []
    patch += _appended(pod, "initContainers", initial)
    patch += [] if capture.native else _appended(pod, "containers", [sidecar])
    warnings = (
        *capture.target.warnings,
        *_warnings(pod, capture),
        *_unreached(pod, capture, around),
        *displaced,
    )
    return Outcome(patch, capture.reason, capture, warnings)


def _placeable(
    pod: Mapping[str, Any], settings: InjectSettings, around: Surroundings
) -> tuple[InjectSettings, list[str]]:
    """The settings with a journal's volume that the pod can have, and what to say of it."""
    kind, what = settings.journal_volume
    level = around.pod_security or settings.pod_security
    if kind == "hostPath" and level != "privileged":
        # The API would refuse the pod.
        said = f"journal-volume hostPath: Pod Security level {level} forbids it; the journal is an emptyDir"
        return replace(settings, journal_volume=("emptyDir", "")), [said]
    if kind == "pvc" and "fsGroup" not in child(pod, "spec", "securityContext"):
        return settings, [
            f"journal-volume pvc: without an fsGroup in the pod, claim {what} may be root's alone"
        ]
    return settings, []


def injected_status(pod: Mapping[str, Any]) -> Object | None:
    """What an earlier injection said of itself; None when the pod has no sidecar of ours."""
    if named(pod, SIDECAR) is None:
        return None
    try:
        status = json.loads(annotations_of(pod).get(STATUS, ""))
    except (ValueError, RecursionError):
        return None
    return status if isinstance(status, dict) else None


def status_text(capture: Capture, version: str) -> str:
    """The annotation that says what injection did, as JSON."""
    said = {
        "version": version,
        "mode": capture.mode,
        "reason": capture.reason,
        "container": capture.target.model,
        "port": capture.target.port,
        "listen": capture.listen,
        "native": capture.native,
        "mesh": capture.mesh.name if capture.mesh is not None else None,
    }
    return json.dumps(said, separators=(",", ":"))


def _annotations(pod: Mapping[str, Any], status: str) -> Patch:
    metadata = pod.get("metadata")
    patch: Patch = [] if isinstance(metadata, dict) else [_add("/metadata", {})]
    if not isinstance(child(pod, "metadata").get("annotations"), dict):
        patch.append(_add("/metadata/annotations", {}))
    evictable = [name for name in annotations_of(pod).get(SAFE_TO_EVICT, "").split(",") if name]
    evictable += [name for name in (JOURNAL_VOLUME, TEMPORARY_VOLUME) if name not in evictable]
    patch.append(_add(f"/metadata/annotations/{escaped(SAFE_TO_EVICT)}", ",".join(evictable)))
    patch.append(_add(f"/metadata/annotations/{escaped(STATUS)}", status))
    return patch


def _handlers(pod: Mapping[str, Any], capture: Capture) -> Patch:
    """Kubelet's calls to the captured port, led past the recorder."""
    patch: Patch = []
    for key in ("initContainers", "containers"):
        for index, container in enumerate(children(child(pod, "spec"), key)):
            if key == "initContainers" and not is_native(container):
                continue
            for path, action, _ in handlers(container):
                if action.get("host") or port_number(container, action.get("port")) != capture.target.port:
                    continue
                if capture.mode == "redirect":
                    port = PROBE_PORT
                elif isinstance(action.get("port"), str):
                    port = capture.target.port
                else:
                    continue
                patch.append({"op": "replace", "path": f"/spec/{key}/{index}/{path}/port", "value": port})
    return patch


def _probers(pod: Mapping[str, Any], capture: Capture) -> Patch:
    """Kubelet's calls that Istio has taken over already: its agent makes them as the proxy's user."""
    if capture.mode != "redirect":
        return []
    found = [(path, text, led_past(text, capture.target.port, PROBE_PORT)) for path, text in probers_of(pod)]
    return [{"op": "replace", "path": path, "value": led} for path, text, led in found if led != text]


def _port_name(capture: Capture) -> Patch:
    """In mode `port`: the name goes over to the sidecar's port, and the Services with it."""
    if capture.mode != "port":
        return []
    target = capture.target
    return [{"op": "remove", "path": f"/spec/containers/{target.index}/ports/{target.port_index}/name"}]


def _appended(pod: Mapping[str, Any], key: str, values: list[Object]) -> Patch:
    if not values:
        return []
    patch: Patch = [] if isinstance(child(pod, "spec").get(key), list) else [_add(f"/spec/{key}", [])]
    return patch + [_add(f"/spec/{key}/-", value) for value in values]


def _moved_behind_mesh(pod: Mapping[str, Any], status: Object, around: Surroundings) -> Patch:
    """When a mesh's injector came after ours: the interception is hooked behind its proxy."""
    mesh = mesh_of(pod, around.mesh)
    if status.get("mode") != "redirect" or mesh is None or status.get("mesh") == mesh.name:
        return []
    every = children(child(pod, "spec"), "initContainers")
    index = next((at for at, each in enumerate(every) if each.get("name") == INTERCEPT), None)
    if index is None or mesh.proxy_uid is None:
        return []
    arguments = [*every[index].get("args", []), "--mesh", mesh.name, "--mesh-uid", str(mesh.proxy_uid)]
    said = json.dumps(status | {"mesh": mesh.name}, separators=(",", ":"))
    return [
        {"op": "replace", "path": f"/spec/initContainers/{index}/args", "value": arguments},
        {"op": "replace", "path": f"/metadata/annotations/{escaped(STATUS)}", "value": said},
    ]


def _warnings(pod: Mapping[str, Any], capture: Capture) -> list[str]:
    found = []
    target = capture.target
    ports = children(children(child(pod, "spec"), "containers")[target.index], "ports")
    if capture.mode != "redirect":
        if target.port_index is not None and ports[target.port_index].get("hostPort"):
            found.append(f"hostPort of port {target.port} leads to the model, past the recorder")
        if capture.mode == "port":
            found.append(
                f"Services that target {target.port} by number pass the recorder by; "
                f"{target.port_name} leads to it"
            )
    if shares_pod_resources(pod):
        found.append(
            "the pod as a whole has resources: the sidecar shares them, so raise them by what it needs"
        )
    shipping = termination(pod, capture.native)[2]
    if shipping < 5:
        found.append(
            f"terminationGracePeriodSeconds leaves {shipping} s to ship what is recorded; "
            "what is not shipped at the pod's end is lost"
        )
    return found


def _unreached(pod: Mapping[str, Any], capture: Capture, around: Surroundings) -> list[str]:
    """Services lead elsewhere, as to a proxy for signing in, which calls the model inside the pod."""
    led = service_ports(around.services or (), pod)
    numbers = {each.target if isinstance(each.target, int) else _number_of(pod, each.target) for each in led}
    if not led or capture.mode == "shift" or capture.target.port in numbers:
        return []
    others = ", ".join(sorted({str(each.target) for each in led}))
    return [
        f"no Service of the pod targets port {capture.target.port}, which is captured; they target {others}: "
        "set upstream-port, and container, to what clients call"
    ]


def _number_of(pod: Mapping[str, Any], name: str) -> int | None:
    """A port by its name, as a Service finds it: over all containers."""
    found = (port_number(each, name) for each in containers(pod) + native_sidecars(pod))
    return next((number for number in found if number is not None), None)


def _add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}


def escaped(key: str) -> str:
    """A key as it stands in a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
