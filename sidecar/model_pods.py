"""Which pods are models, and what injection makes of each: where coverage and controller meet injection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.cluster.controller import SETTING_IGNORED
from sidecar.cluster.coverage import Asked
from sidecar.cluster.events import Notice
from sidecar.identity.kubernetes import annotation_for, containers_of, parse_digest_text
from sidecar.inject.keys import MODES
from sidecar.inject.mesh import PROXIES, mesh_of
from sidecar.inject.names import (
    DEFAULTS,
    DIGEST,
    DISABLED,
    ENABLED,
    INJECT,
    KUBERNETES_NAMESPACES,
    STATUS,
)
from sidecar.inject.patch import injected_status
from sidecar.inject.pod import Object, annotations_of, child, children, labels_of, named, port_number
from sidecar.inject.review import Knowledge, Namespace, ignored_settings, injected
from sidecar.inject.settings import Source, read
from sidecar.inject.surroundings import service_ports

_PINNED = re.compile(r"@(sha256:[0-9a-f]{64})$")
_LABEL = re.compile(r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")


@dataclass(frozen=True, slots=True)
class Mark:
    """A label that model pods carry; any value where `value` is None."""

    key: str
    value: str | None = None

    def fits(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.key)
        return found is not None and self.value in (None, found)

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"


KNOWN_MARKS = (
    Mark("serving.kserve.io/inferenceservice"),
    Mark("seldon-deployment-id"),
    Mark("seldon-server-name"),
)
"""KServe's, Seldon Core 1's and 2's."""


def parse_mark(text: str) -> Mark:
    """`KEY` or `KEY=VALUE`. Raises ValueError, phrased to follow the text."""
    key, equals, value = text.partition("=")
    if not _LABEL.match(key) or not _VALUE.match(value):
        raise ValueError("is no label: write KEY or KEY=VALUE")
    return Mark(key, value if equals else None)


class Defaults(Protocol):
    """Knowledge that also has the ConfigMaps of settings themselves."""

    def defaults(self) -> Iterator[tuple[str, Mapping[str, str], str]]:
        """Namespace, settings and uid."""


class ModelPods:
    """A `cluster.controller.Judge` by what is known of the cluster."""

    def __init__(self, known: Knowledge, marks: Sequence[Mark], system_namespace: str) -> None:
        self._known, self._marks, self._system = known, marks, system_namespace

    def keep(self, pod: Object) -> Object:
        """What is held of a pod: of one that is no model, that it is there."""
        metadata = child(pod, "metadata")
        if not self.is_model(pod):
            return {"metadata": {key: metadata.get(key) for key in ("namespace", "name")}}
        return {**pod, "metadata": {key: metadata[key] for key in metadata if key != "managedFields"}}

    def is_model(self, pod: Mapping[str, Any]) -> bool:
        """Whether a label, its namespace's or an injection says so. System namespaces have no models."""
        name = _namespace_of(pod)
        if name in KUBERNETES_NAMESPACES or name == self._system:
            return False
        labels = labels_of(pod)
        return (
            INJECT in labels
            or STATUS in annotations_of(pod)
            or self._namespace(name).labels.get(INJECT) not in (None, DISABLED)
            or any(mark.fits(labels) for mark in self._marks)
        )

    def asked(self, pod: Mapping[str, Any]) -> Asked | None:
        """None for what is no model pod."""
        if not self.is_model(pod):
            return None
        status = injected_status(pod)
        if status is not None:
            return self._with_sidecar(pod, status)
        name = _namespace_of(pod)
        said = (
            ("the pod", labels_of(pod).get(INJECT)),
            ("its namespace", self._namespace(name).labels.get(INJECT)),
        )
        why = f"its annotation {STATUS} tells of a sidecar that it has not"
        if mark := next((mark for mark in self._marks if mark.fits(labels_of(pod))), None):
            why = f"label {mark} says that it is a model, and no {INJECT} is set"
        for place, value in said:
            if value == DISABLED:
                return Asked(False, left_out=True, why_not=f"label {INJECT}: {DISABLED} on {place}")
            if value == ENABLED:
                outcome = injected(dict(pod), name, self._known)
                return Asked(True, why_not=None if outcome.capture is not None else outcome.reason)
            if value is not None:
                why = _wrong_label(place, value)
        return Asked(False, why_not=why)

    def _with_sidecar(self, pod: Mapping[str, Any], status: Object) -> Asked:
        container = status.get("container")
        container = container if isinstance(container, str) else None
        mode = status.get("mode")
        return Asked(
            wanted=True,
            container=container,
            mode=mode if mode in MODES else "?",
            bypass=self._bypass(pod, status),
            digest=_digest(pod, container) if container is not None else None,
        )

    def _bypass(self, pod: Mapping[str, Any], status: Object) -> str | None:
        """A way past the sidecar that the node, Services or a mesh leave open."""
        mode, port = status.get("mode"), status.get("port")
        if mode == "redirect":
            mesh = mesh_of(pod, None)
            if mesh is not None and mesh.proxy_uid is not None and status.get("mesh") != mesh.name:
                return f"{mesh.name}'s proxy came after injection: restart the pod, with the webhook there"
            awaited = str(status.get("mesh"))
            if awaited in PROXIES and named(pod, PROXIES[awaited][0]) is None:
                return (
                    f"its rules sit behind the proxy of {awaited}, which the pod does not have: "
                    "say so by the mesh's own label or annotation, or restart the pod once it is injected"
                )
            return None
        model = named(pod, str(status.get("container")))
        for declared in children(model or {}, "ports"):
            if declared.get("hostPort") and declared.get("containerPort") == port:
                return f"hostPort {declared['hostPort']} leads to port {port}, the model's: take it out"
        for each in service_ports(self._namespace(_namespace_of(pod)).services or (), pod):
            by_name = isinstance(each.target, str) and model is not None and port_number(model, each.target)
            if each.target == port or by_name == port:
                listen = status.get("listen")
                return (
                    f"Service {each.service} targets {each.target}, the model's port: let it target {listen}"
                )
        return None

    def ignored(self, pod: Mapping[str, Any]) -> Sequence[str]:
        """The pod's settings and labels that injection does not heed."""
        value = labels_of(pod).get(INJECT)
        if value == DISABLED or not self.is_model(pod):
            return ()
        wrong = [] if value in (None, ENABLED) else [f"{_wrong_label('the pod', value)}; it is ignored"]
        return (*wrong, *ignored_settings(dict(pod), _namespace_of(pod), self._known))

    def annotation(self, pod: Mapping[str, Any]) -> str | None:
        """The digest's annotation as it should be; None when nothing is to be written."""
        status = injected_status(pod) if "spec" in pod else None
        container = status.get("container") if status is not None else None
        return annotation_for(pod, container, DIGEST) if isinstance(container, str) else None

    def _namespace(self, name: str) -> Namespace:
        return self._known.namespace(name) or Namespace()


class FollowedModelPods(ModelPods):
    """Also tells of ConfigMaps."""

    def __init__(
        self, known: Knowledge, defaults: Defaults, marks: Sequence[Mark], system_namespace: str
    ) -> None:
        super().__init__(known, marks, system_namespace)
        self._defaults = defaults

    def ignored_defaults(self) -> Iterable[Notice]:
        for namespace, texts, uid in self._defaults.defaults():
            for line in read((Source("ConfigMap", texts),), self._known.image)[1]:
                yield Notice(SETTING_IGNORED, line, "Injecting", "ConfigMap", namespace, DEFAULTS, uid)


def _wrong_label(place: str, value: str) -> str:
    return f"label {INJECT} on {place}: {value!r} is neither {ENABLED} nor {DISABLED}"


def _namespace_of(pod: Mapping[str, Any]) -> str:
    return str(child(pod, "metadata").get("namespace") or "")


def _digest(pod: Mapping[str, Any], container: str) -> str | None:
    """The image of the container's last run, as annotation or spec say it; None where neither does."""
    runs = containers_of(pod, container)
    try:
        name, told = parse_digest_text(annotations_of(pod).get(DIGEST, ""))
    except ValueError:
        name, told = "", []
    if runs and name == container:
        for each in told:
            if each.container_id == runs[-1].container_id and each.image_id:
                return each.image_id
    pinned = _PINNED.search(str((named(pod, container) or {}).get("image") or ""))
    return pinned[1] if pinned else None
