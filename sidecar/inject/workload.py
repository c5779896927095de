"""Where pods are described: any workload's object → its pod template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.inject.pod import Object, child, children

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_USUAL = ("spec", "template")
"""Where Deployments, Jobs and the workloads of most others have it."""
_MADE_BY_CONTROLLER = {
    ("serving.kserve.io", "InferenceService"): (),
    ("serving.knative.dev", "Service"): ("spec", "template"),
    ("serving.knative.dev", "Configuration"): ("spec", "template"),
}
"""Whose pods get containers of their controller's: they can only be asked for, by labels at this place."""

_NO_WORKLOADS = frozenset({"CustomResourceDefinition", "ServingRuntime", "ClusterServingRuntime"})
"""Kinds that speak of containers and make none."""


@dataclass(frozen=True, slots=True)
class Template:
    """A pod's description inside a workload."""

    path: tuple[str, ...]
    """Keys from the workload to the template."""
    pod: Object
    workload: Object

    @property
    def pointer(self) -> str:
        return "".join(f"/{key}" for key in self.path)

    @property
    def name(self) -> str:
        return f"{str(self.workload.get('kind', '?')).lower()}/{self.given_name or '?'}"

    @property
    def given_name(self) -> str | None:
        metadata = child(self.workload, "metadata")
        return metadata.get("name") or str(metadata.get("generateName") or "").rstrip("-") or None

    @property
    def namespace(self) -> str | None:
        return child(self.workload, "metadata").get("namespace")


def members(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Object]]:
    """The objects that a document holds, with their place in it: itself, or what a List lists."""
    kind = document.get("kind")
    items = document.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            if isinstance(item, dict):
                for place, found in members(item):
                    yield ("items", index, *place), found
    elif isinstance(kind, str):
        yield (), dict(document)


def template_of(workload: Object) -> Template | None:
    """The workload's pod template, or None when the object describes no pods."""
    path = _TEMPLATES.get(str(workload.get("kind")), _USUAL)
    pod = child(workload, *path)
    if not isinstance(child(pod, "spec").get("containers"), list):
        return None
    group = str(workload.get("apiVersion", "")).partition("/")[0]
    return None if (group, workload.get("kind")) in _MADE_BY_CONTROLLER else Template(path, pod, workload)


def labelled_at(workload: Object) -> tuple[str, ...] | None:
    """Where a label on the workload reaches its pods, for workloads whose pods a controller completes."""
    group = str(workload.get("apiVersion", "")).partition("/")[0]
    return _MADE_BY_CONTROLLER.get((group, str(workload.get("kind"))))


def describes_pods(value: Any, kind: str | None = None) -> bool:
    """Whether an object without a pod template where one is looked for holds containers all the same."""
    if kind is None:
        kind = str(value.get("kind"))
    if kind in _NO_WORKLOADS:
        return False
    if isinstance(value, list):
        return any(describes_pods(each, kind) for each in value)
    if not isinstance(value, dict):
        return False
    if any("image" in each for each in children(value, "containers")):
        return True
    return any(describes_pods(each, kind) for each in value.values())
