"""The containers and volumes that injection adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sidecar.inject.interception import Capture
from sidecar.inject.names import (
    ADMIN_PORT,
    BASELINE_FOLDER,
    BASELINE_VOLUME,
    HEALTH_PORT,
    INTERCEPT,
    JOURNAL,
    JOURNAL_VOLUME,
    POD_FOLDER,
    POD_VOLUME,
    PROBE_PORT,
    SECRET_FOLDER,
    SECRET_VOLUME,
    SIDECAR,
    STATE_FOLDER,
    TEMPORARY_VOLUME,
    TOKEN_FOLDER,
    TOKEN_VOLUME,
    USER,
    WATCH_FOLDER,
    WATCH_VOLUME,
)
from sidecar.inject.pod import Object, child, named
from sidecar.inject.quantity import in_mebibytes
from sidecar.inject.resources import analyst_memory, init_resources, recorder_resources
from sidecar.inject.settings import InjectSettings
from sidecar.settings_table import BY_KEY

SECRET_MODE = 0o440
"""Keys that others may read are refused."""
JOURNAL_SHARE = (3, 4)
"""Of its volume: an emptyDir over its limit evicts the pod, and the model with it."""
_PINNED = re.compile(r"@(sha256:[0-9a-f]{64})$")
_TOKEN_SOURCES = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
]
_DEFAULT_GRACE_S = 30
_MARGIN_S = 2
_PLACE = {
    "hostPath": "$(SIDECAR_NAMESPACE)_$(POD_NAME)_$(SIDECAR_POD_UID)",
    # By name alone: a StatefulSet's pod finds what the one before it left, and ships it itself.
    "pvc": "$(SIDECAR_NAMESPACE)_$(POD_NAME)",
}
"""The pod's folder in a journal volume that others use too."""
_POD_NAME: Object = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
_READY = (
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', {port}, timeout=2); "
    "c.request('GET', '/{path}'); raise SystemExit(c.getresponse().status != 200)"
)


def recorder(
    pod: Mapping[str, Any], capture: Capture, settings: InjectSettings, workload: str | None
) -> Object:
    """The sidecar's container."""
    container: Object = {
        "name": SIDECAR,
        "image": settings.image,
        "env": _environment(pod, capture, settings, workload),
        "ports": _ports(capture),
        "resources": recorder_resources(pod, settings),
        "securityContext": _unprivileged(_group(pod, settings) if capture.fixed_user else None),
        "readinessProbe": _probe(capture, "readyz") | {"periodSeconds": 5, "timeoutSeconds": 3},
        "livenessProbe": _probe(capture, "healthz")
        | {"periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 6, "initialDelaySeconds": 10},
        "volumeMounts": _mounts(settings),
    }
    if settings.image_pull_policy is not None:
        container["imagePullPolicy"] = settings.image_pull_policy
    if settings.store_secret is not None:
        # Without it shipping fails and is tried again; the model must not wait for a Secret.
        container["envFrom"] = [{"secretRef": {"name": settings.store_secret, "optional": True}}]
    if capture.native:
        container["restartPolicy"] = "Always"
    return container


def interceptor(pod: Mapping[str, Any], capture: Capture, settings: InjectSettings) -> Object:
    """The init container of `redirect`: it sets the rules of the pod's network up, and ends."""
    container: Object = {
        "name": INTERCEPT,
        "image": settings.image,
        "command": ["sidecar", "intercept"],
        "args": intercept_arguments(capture),
        "securityContext": {
            # Without root the capability would not be effective: the API has no ambient capabilities.
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if settings.image_pull_policy is not None:
        container["imagePullPolicy"] = settings.image_pull_policy
    resources = init_resources(pod)
    return container | ({"resources": resources} if resources else {})


def intercept_arguments(capture: Capture) -> list[str]:
    """Flags of `sidecar intercept`."""
    arguments = [
        "--port",
        str(capture.target.port),
        "--to",
        str(capture.listen),
        "--probe-port",
        str(PROBE_PORT),
    ]
    for port in (HEALTH_PORT, ADMIN_PORT):
        arguments += ["--direct", str(port)]
    if capture.mesh is not None:
        arguments += ["--mesh", capture.mesh.name, "--mesh-uid", str(capture.mesh.proxy_uid)]
    return arguments


def volumes(settings: InjectSettings) -> list[Object]:
    """The pod's volumes for the sidecar, JOURNAL_VOLUME first."""
    facts = ("annotations", "labels", "name", "namespace", "uid")
    found: list[Object] = [
        {"name": JOURNAL_VOLUME} | _journal_source(settings),
        {"name": TEMPORARY_VOLUME, "emptyDir": {"sizeLimit": "64Mi"}},
        {
            "name": POD_VOLUME,
            "downwardAPI": {
                "items": [{"path": fact, "fieldRef": {"fieldPath": f"metadata.{fact}"}} for fact in facts]
            },
        },
    ]
    if settings.secret is not None:
        found.append(
            {"name": SECRET_VOLUME, "secret": {"secretName": settings.secret, "defaultMode": SECRET_MODE}}
        )
    if settings.identity == "pod":
        found.append({"name": TOKEN_VOLUME, "projected": {"sources": _TOKEN_SOURCES}})
    for volume, _, (name, key) in _files(settings):
        found.append({"name": volume, "configMap": {"name": name, "items": [{"key": key, "path": key}]}})
    return found


def _journal_source(settings: InjectSettings) -> Object:
    kind, what = settings.journal_volume
    if kind == "hostPath":
        # Not DirectoryOrCreate: kubelet's folder would be root's alone, and the sidecar could not start.
        return {"hostPath": {"path": what, "type": "Directory"}}
    if kind == "pvc":
        return {"persistentVolumeClaim": {"claimName": what}}
    return {"emptyDir": {"sizeLimit": in_mebibytes(settings.max_bytes)}}


def _files(settings: InjectSettings) -> list[tuple[str, str, tuple[str, str]]]:
    """Volume, folder, and ConfigMap with its key, of the files that the sidecar reads."""
    both = (BASELINE_VOLUME, BASELINE_FOLDER, settings.baseline), (WATCH_VOLUME, WATCH_FOLDER, settings.watch)
    return [(volume, folder, source) for volume, folder, source in both if source is not None]


def _mounts(settings: InjectSettings) -> list[Object]:
    place = _PLACE.get(settings.journal_volume[0])
    mounts: list[Object] = [
        {"name": JOURNAL_VOLUME, "mountPath": STATE_FOLDER} | ({"subPathExpr": place} if place else {}),
        {"name": TEMPORARY_VOLUME, "mountPath": "/tmp"},
        {"name": POD_VOLUME, "mountPath": POD_FOLDER, "readOnly": True},
    ]
    if settings.secret is not None:
        mounts.append({"name": SECRET_VOLUME, "mountPath": SECRET_FOLDER, "readOnly": True})
    if settings.identity == "pod":
        mounts.append({"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True})
    for volume, folder, _ in _files(settings):
        mounts.append({"name": volume, "mountPath": folder, "readOnly": True})
    return mounts


def _environment(
    pod: Mapping[str, Any], capture: Capture, settings: InjectSettings, workload: str | None
) -> list[Object]:
    drain, grace, ship = termination(pod, capture.native)
    journal = settings.max_bytes * JOURNAL_SHARE[0] // JOURNAL_SHARE[1]
    values = {
        "listen": f"*:{capture.listen}",
        "model": settings.model_name or workload or capture.target.model,
        "health": f"*:{HEALTH_PORT}",
        "admin": f"*:{ADMIN_PORT}",
        "journal": f"{STATE_FOLDER}/{JOURNAL}",
        "journal_max_bytes": str(journal),
        "analyst_memory": str(analyst_memory(settings)),
        "drain_delay": f"{drain}s",
        "grace": f"{grace}s",
        "ship_timeout": f"{ship}s",
    }
    if "splice-only" not in settings.locked:
        values["annotations_file"] = f"{POD_FOLDER}/annotations"
    values["identity"] = settings.identity
    if settings.identity == "downward":
        values["identity_file"] = f"{POD_FOLDER}/annotations"
    if settings.identity == "pod":
        values["identity_token"] = TOKEN_FOLDER
    if settings.baseline is not None:
        values["baseline_file"] = f"{BASELINE_FOLDER}/{settings.baseline[1]}"
    if settings.watch is not None:
        values["watch_file"] = f"{WATCH_FOLDER}/{settings.watch[1]}"
    if workload is not None:
        values["workload"] = workload
    pinned = _PINNED.search(str((named(pod, capture.target.model) or {}).get("image")))
    if pinned is not None:
        values["image_digest"] = pinned[1]
    plain = {BY_KEY[key].variable: value for key, value in values.items()} | dict(settings.passed)
    return [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *([_POD_NAME] if settings.journal_volume[0] in _PLACE else []),
        {"name": "SIDECAR_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "SIDECAR_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "SIDECAR_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        # The pod's own address rather than loopback, as a client from outside would reach the model. In
        # brackets, which an IPv6 address needs and an IPv4 address may have.
        {"name": "SIDECAR_UPSTREAM", "value": f"http://[$(POD_IP)]:{capture.target.port}"},
        *({"name": name, "value": value.replace("$", "$$")} for name, value in sorted(plain.items())),
    ]


def termination(pod: Mapping[str, Any], native: bool) -> tuple[int, int, int]:
    """Seconds of drain delay, grace and shipping, that fit into the pod's termination grace period.

    A native sidecar gets SIGTERM when the model has ended: nothing is in flight,
    and what is left of the period goes to shipping. A plain container gets it
    together with the model, while clients still arrive.
    """
    period = child(pod, "spec").get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)
    usable = max(0, period - _MARGIN_S) if isinstance(period, int) else _DEFAULT_GRACE_S - _MARGIN_S
    if native:
        ship = min(10, usable * 2 // 3)
        return 0, min(5, usable - ship), ship
    drain, ship = min(5, usable // 5), min(10, usable // 3)
    return drain, min(86_400, usable - drain - ship), ship


def _ports(capture: Capture) -> list[Object]:
    traffic: Object = {"containerPort": capture.listen, "protocol": "TCP"}
    if capture.mode == "port":
        traffic = {"name": capture.target.port_name} | traffic
    return [traffic, {"name": "sidecar-admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}]


def _probe(capture: Capture, path: str) -> Object:
    if capture.mesh is not None and capture.mode != "redirect":
        # A mesh that demands mutual TLS refuses kubelet's plain request, and here no rule leads past it.
        return {"exec": {"command": ["python3", "-c", _READY.format(port=HEALTH_PORT, path=path)]}}
    return {"httpGet": {"path": f"/{path}", "port": HEALTH_PORT}}


def _group(pod: Mapping[str, Any], settings: InjectSettings) -> int:
    """The sidecar's group: the one that the files of its Secret belong to, if it has one."""
    if settings.secret is None or "fsGroup" in child(pod, "spec", "securityContext"):
        return USER
    # Without fsGroup they are root's, and to set it would hand the other containers' volumes over, too.
    return 0


def _unprivileged(group: int | None) -> Object:
    """`group` is None where the cluster gives user and group (OpenShift: a user of its own, and group 0)."""
    context: Object = {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return context if group is None else {"runAsUser": USER, "runAsGroup": group} | context
