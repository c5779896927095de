"""Pods as the API serves them: injected by the real injection, with the statuses that kubelet writes."""

from __future__ import annotations

from typing import Any

from sidecar.inject.json_patch import apply
from sidecar.inject.patch import inject
from sidecar.inject.settings import Source, read
from sidecar.inject.surroundings import Surroundings

Object = dict[str, Any]
PODS, NAMESPACES, SERVICES = "/api/v1/pods", "/api/v1/namespaces", "/api/v1/services"
CONFIG_MAPS = "/api/v1/configmaps"
EVENTS = "/apis/events.k8s.io/v1/events"
LEASES = "/apis/coordination.k8s.io/v1/leases"
STARTED = "2026-11-25T09:00:00Z"


def image_id(letter: str) -> str:
    return f"registry.example/fraud@sha256:{letter * 64}"


def bare_pod(name: str, namespace: str = "risk", **spec: Any) -> Object:
    """As a workload's owner wrote it, running."""
    container = {"name": "model", "image": "fraud:1", "ports": [{"name": "http", "containerPort": 8080}]}
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "labels": {"app": "fraud"},
            "annotations": {},
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {"containers": [container], **spec},
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    }


def injected_pod(name: str, namespace: str = "risk", image: str = "a", **settings: str) -> Object:
    """With a sidecar, everything running and ready. `settings` are keys of injection."""
    pod = bare_pod(name, namespace)
    texts = {"store": "s3://evidence"} | {key.replace("_", "-"): value for key, value in settings.items()}
    made, warnings = read((Source("--set", texts),), "sidecar:1")
    assert not warnings
    outcome = inject(pod, made, Surroundings(), "1")
    assert outcome.capture is not None, outcome.reason
    injected: Object = apply(pod, outcome.patch)
    injected["status"] |= {
        "containerStatuses": [running("model", image)],
        "initContainerStatuses": [running("sidecar", "f", 7)],
    }
    return injected


def running(
    name: str, image: str, number: int = 1, restarts: int = 0, at: str = STARTED, ready: bool = True
) -> Object:
    """A container's status."""
    return {
        "name": name,
        "image": "registry.example/fraud:1",
        "imageID": image_id(image),
        "containerID": f"containerd://{number:064x}",
        "restartCount": restarts,
        "ready": ready,
        "state": {"running": {"startedAt": at}},
        "lastState": {},
    }


def namespace(name: str, **labels: str) -> Object:
    marks = {f"sidecar.dev/{key}": value for key, value in labels.items()}
    return {"metadata": {"name": name, "labels": marks}}


def defaults(of: str, **texts: str) -> Object:
    return {
        "metadata": {"name": "sidecar-defaults", "namespace": of, "uid": f"uid-{of}-defaults"},
        "data": texts,
    }
