"""Reading a pod as the JSON that the API serves: containers, ports, owners, quality of service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Object = dict[str, Any]
"""A JSON object of the Kubernetes API."""
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
PROBE_KINDS = ("httpGet", "tcpSocket", "grpc")
HOOKS = ("postStart", "preStop")
HOOK_KINDS = ("httpGet", "tcpSocket")
"""By which kubelet calls into a container."""
WORKLOAD_LABELS = ("serving.kserve.io/inferenceservice", "serving.knative.dev/service")
TEMPLATE_HASHES = ("pod-template-hash", "rollouts-pod-template-hash")
"""Labels whose value ends a ReplicaSet's name: of Deployments, and of Argo Rollouts."""
OF_CRON_JOB = r"-(2[6-9]|3[0-9])[0-9]{6}$"
"""How the name of a CronJob's Job ends: minutes since 1970, of 2019 to 2046, which no date looks like."""


def child(value: Mapping[str, Any], *keys: str) -> Object:
    """The object below these keys; empty where there is none, or something else."""
    found: Any = value
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def children(value: Mapping[str, Any], key: str) -> list[Object]:
    """The list under a key. What is no object in it stands as an empty one, so that indexes stay true."""
    found = value.get(key)
    return [each if isinstance(each, dict) else {} for each in found] if isinstance(found, list) else []


def labels_of(pod: Mapping[str, Any]) -> dict[str, str]:
    return _texts(child(pod, "metadata", "labels"))


def annotations_of(pod: Mapping[str, Any]) -> dict[str, str]:
    return _texts(child(pod, "metadata", "annotations"))


def _texts(found: Object) -> dict[str, str]:
    return {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, str)}


def containers(pod: Mapping[str, Any]) -> list[Object]:
    return children(child(pod, "spec"), "containers")


def native_sidecars(pod: Mapping[str, Any]) -> list[Object]:
    """Init containers that keep running beside the others."""
    return [each for each in children(child(pod, "spec"), "initContainers") if is_native(each)]


def is_native(container: Mapping[str, Any]) -> bool:
    return container.get("restartPolicy") == "Always"


def named(pod: Mapping[str, Any], name: str) -> Object | None:
    """The container or init container of that name."""
    spec = child(pod, "spec")
    both = children(spec, "containers") + children(spec, "initContainers")
    return next((each for each in both if each.get("name") == name), None)


def tcp_ports(container: Mapping[str, Any]) -> list[Object]:
    """The container's TCP ports that have a number."""
    return [
        port
        for port in children(container, "ports")
        if port.get("protocol", "TCP") == "TCP" and is_port(port.get("containerPort"))
    ]


def is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


def port_number(container: Mapping[str, Any], port: object) -> int | None:
    """What a probe's or an annotation's port means in this container: a number, or the name of one of its."""
    if isinstance(port, int):
        return port if is_port(port) else None
    if isinstance(port, str) and port.isascii() and port.isdigit():
        return int(port) if is_port(int(port)) else None
    for each in children(container, "ports"):
        if isinstance(port, str) and each.get("name") == port and is_port(each.get("containerPort")):
            return int(each["containerPort"])
    return None


def runs_to_completion(pod: Mapping[str, Any]) -> bool:
    """Whether the pod is a Job's, or ends by itself for another reason."""
    return bool(child(pod, "spec").get("restartPolicy", "Always") != "Always")


def owner(pod: Mapping[str, Any]) -> Object:
    """The owner reference that controls the pod; empty without one."""
    owners = children(child(pod, "metadata"), "ownerReferences")
    return next((each for each in owners if each.get("controller")), {})


def workload_name(pod: Mapping[str, Any]) -> str | None:
    """The name of what made the pod, as people call it: the Deployment, not its ReplicaSet; the CronJob.

    None for a bare pod that has no name yet.
    """
    marks = labels_of(pod)
    for label in WORKLOAD_LABELS:
        if marks.get(label):
            return marks[label]
    made_by = str(owner(pod).get("name") or "")
    suffix = "-" + next((marks[label] for label in TEMPLATE_HASHES if marks.get(label)), "")
    if made_by and suffix != "-":
        return made_by.removesuffix(suffix)
    if owner(pod).get("kind") == "Job":
        return re.sub(OF_CRON_JOB, "", made_by) or None
    metadata = child(pod, "metadata")
    generated = str(metadata.get("generateName") or "").rstrip("-")
    return made_by or str(metadata.get("name") or "") or generated or None


def handlers(container: Mapping[str, Any]) -> Iterator[tuple[str, Object, str]]:
    """Every action by which kubelet calls into the pod: path below the container, the action, its kind.

    Kinds: `httpGet`, `tcpSocket`, `grpc`. `exec` runs inside the container and needs no port.
    """
    for probe in PROBES:
        for kind in PROBE_KINDS:
            if action := child(container, probe, kind):
                yield f"{probe}/{kind}", action, kind
    for hook in HOOKS:
        for kind in HOOK_KINDS:
            if action := child(container, "lifecycle", hook, kind):
                yield f"lifecycle/{hook}/{kind}", action, kind
