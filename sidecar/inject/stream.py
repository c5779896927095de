"""Manifests in, manifests out: what `sidecar inject -f` does to every workload of its input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.inject.keys import shown
from sidecar.inject.manifest import Document, patched
from sidecar.inject.names import DISABLED, ENABLED, INJECT, PREFIX
from sidecar.inject.patch import Outcome, Patch, escaped, inject
from sidecar.inject.pod import Object, annotations_of, child, labels_of
from sidecar.inject.settings import Source, from_annotations, read
from sidecar.inject.surroundings import Surroundings, of_namespace, service_ports
from sidecar.inject.workload import Template, describes_pods, labelled_at, members, template_of


@dataclass(frozen=True, slots=True)
class Injected:
    """What became of one workload."""

    kind: str
    name: str
    namespace: str | None
    outcome: Outcome
    patch: Patch
    """Against the document that holds the workload."""
    asked_out: bool = False
    """Whether a label keeps the sidecar out on purpose."""
    left_to_webhook: bool = False
    """Whether the workload was labelled only, since a controller completes its pods."""
    to_do: tuple[str, ...] = ()
    """Commands that the user must still run."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What holds for the whole input."""

    image: str
    version: str
    sources: tuple[Source, ...] = ()
    around: Surroundings = field(default_factory=Surroundings)


def inject_documents(found: Sequence[Document], basis: Basis) -> tuple[list[str], list[Injected]]:
    """The documents' texts with sidecars, in their order, and what was done to which workload.

    Services and Namespaces among the documents are heeded, not changed. Raises ManifestError.
    """
    every = [each for document in found for _, each in members(_mapping(document.value))]
    texts, done = [], []
    for document in found:
        changes = list(_changes(_mapping(document.value), every, basis))
        patch = [operation for change in changes for operation in change.patch]
        texts.append(patched(document, patch) if patch else document.text)
        done += changes
    return texts, done


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _changes(document: Mapping[str, Any], every: Sequence[Object], basis: Basis) -> Iterable[Injected]:
    for place, workload in members(document):
        prefix = "".join(f"/{step}" for step in place)
        if (path := labelled_at(workload)) is not None:
            yield _label(workload, path, prefix)
        elif (template := template_of(workload)) is not None:
            yield _inject(template, prefix, every, basis)
        elif describes_pods(workload):
            name, namespace = (child(workload, "metadata").get(key) for key in ("name", "namespace"))
            reason = (
                f"where its kind has pod templates is not known: label their namespace {INJECT}: {ENABLED}"
            )
            yield Injected(str(workload["kind"]), str(name or "?"), namespace, Outcome([], reason), [])


def _inject(template: Template, prefix: str, every: Sequence[Object], basis: Basis) -> Injected:
    pod, workload = template.pod, template.workload
    kind, name = str(workload.get("kind")), template.given_name or "?"
    if _label_of(pod, workload) == DISABLED:
        outcome = Outcome([], f"label {INJECT}: {DISABLED}")
        return Injected(kind, name, template.namespace, outcome, [], asked_out=True)
    around = _around(template, every, basis.around)
    settings, warnings = read((*basis.sources, from_annotations(annotations_of(pod))), basis.image)
    outcome = inject(pod, settings, around, basis.version)
    outcome = replace(outcome, warnings=(*_no_texts(pod), *warnings, *outcome.warnings))
    patch = [
        {**operation, "path": prefix + template.pointer + operation["path"]} for operation in outcome.patch
    ]
    to_do = tuple(service_patches(outcome, template, around))
    return Injected(kind, name, template.namespace, outcome, patch, to_do=to_do)


def _no_texts(pod: Object) -> Iterable[str]:
    """Annotations of ours that the API would refuse, and that the settings do not hold."""
    for key, value in child(pod, "metadata", "annotations").items():
        if str(key).startswith(PREFIX) and not isinstance(value, str):
            yield f"annotation {key}: {shown(json.dumps(value))} is no text: put it in quotes; it is ignored"


def _label_of(pod: Object, workload: Object) -> str | None:
    return labels_of(pod).get(INJECT) or labels_of(workload).get(INJECT)


def _around(template: Template, every: Sequence[Object], around: Surroundings) -> Surroundings:
    """The surroundings with what the input itself says of the workload's namespace."""
    namespace = template.namespace
    for each in every:
        if each.get("kind") == "Namespace" and child(each, "metadata").get("name") == namespace:
            level, mesh = of_namespace(labels_of(each), annotations_of(each))
            around = replace(around, pod_security=level or around.pod_security, mesh=mesh or around.mesh)
    services = tuple(
        each
        for each in every
        if each.get("kind") == "Service" and child(each, "metadata").get("namespace") == namespace
    )
    return replace(around, services=services, workload=around.workload or template.given_name)


def service_patches(outcome: Outcome, template: Template, around: Surroundings) -> Iterable[str]:
    """In mode `shift`: the commands that lead Services to the recorder's port."""
    capture = outcome.capture
    if capture is None or capture.mode != "shift":
        return
    target = capture.target
    leading = [
        each
        for each in service_ports(around.services or (), template.pod)
        if each.target in (target.port, target.port_name)
    ]
    where = f" --namespace {template.namespace}" if template.namespace else ""
    places = [(each.service, each.index) for each in leading] or [("SERVICE", 0)]
    for service, index in places:
        yield (
            f"kubectl patch service {service}{where} --type=json -p="
            f'\'[{{"op":"replace","path":"/spec/ports/{index}/targetPort","value":{capture.listen}}}]\''
        )


def _label(workload: Object, path: tuple[str, ...], prefix: str) -> Injected:
    """Asks the webhook to inject the pods that a controller makes of the workload."""
    holder = child(workload, *path)
    name = str(child(workload, "metadata").get("name") or "?")
    kind, namespace = str(workload.get("kind")), child(workload, "metadata").get("namespace")
    current = labels_of(holder).get(INJECT)
    if current == DISABLED:
        outcome = Outcome([], f"label {INJECT}: {DISABLED}")
        return Injected(kind, name, namespace, outcome, [], asked_out=True)
    patch: Patch = []
    if current != ENABLED:
        at = prefix + "".join(f"/{key}" for key in path)
        if not isinstance(holder.get("metadata"), dict):
            patch.append({"op": "add", "path": f"{at}/metadata", "value": {}})
        if not isinstance(child(holder, "metadata").get("labels"), dict):
            patch.append({"op": "add", "path": f"{at}/metadata/labels", "value": {}})
        patch.append({"op": "add", "path": f"{at}/metadata/labels/{escaped(INJECT)}", "value": ENABLED})
    reason = "labelled for the webhook: its controller completes the pods"
    return Injected(kind, name, namespace, Outcome([], reason), patch, left_to_webhook=True)
