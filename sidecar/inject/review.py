"""AdmissionReview in, AdmissionReview out (admission.k8s.io/v1), without I/O.

Whatever cannot be injected is admitted as it is: a model pod is never refused
because of its recorder. Only what is no review at all gets an HTTP error, which
the API server treats by the webhook's `failurePolicy`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson

from sidecar.inject.names import DEFAULTS, DISABLED, ENABLED, INJECT, SYSTEM_NAMESPACE
from sidecar.inject.patch import ALREADY, Outcome, inject
from sidecar.inject.pod import Object, annotations_of, child, labels_of
from sidecar.inject.settings import Source, from_annotations, read
from sidecar.inject.surroundings import Surroundings, of_namespace

API_VERSION = "admission.k8s.io/v1"
MOST_WARNING_CHARACTERS = 256
MOST_WARNINGS_CHARACTERS = 4096
"""Beyond these the API server cuts warnings, or drops them."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """What is known of a namespace."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] | None = None
    """Of its ConfigMap; None when it has none."""
    services: tuple[Object, ...] | None = None


class Knowledge(Protocol):
    """What the webhook knows of the cluster when it is asked."""

    @property
    def image(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def around(self) -> Surroundings: ...

    @property
    def cluster_defaults(self) -> Mapping[str, str]: ...

    def namespace(self, name: str) -> Namespace | None:
        """None for a namespace that was not heard of yet."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status, its body, and what happened in one word for the metrics."""

    status: int
    body: bytes
    outcome: str
    reason: str = ""


def review(body: bytes, known: Knowledge) -> Answer:
    """The answer to a webhook call. Never raises for what the body holds."""
    try:
        request = orjson.loads(body)
    except ValueError as error:
        return _refused(f"the body is no JSON: {error}")
    if not isinstance(request, dict) or request.get("kind") != "AdmissionReview":
        return _refused("the body is no AdmissionReview")
    if request.get("apiVersion") != API_VERSION:
        return _refused(f"apiVersion {request.get('apiVersion')!r} is not {API_VERSION}")
    asked = request.get("request")
    if not isinstance(asked, dict) or not isinstance(asked.get("uid"), str) or not asked["uid"]:
        return _refused("the AdmissionReview has no request with a uid")
    pod = asked.get("object")
    if not _is_new_pod(asked) or not isinstance(pod, dict):
        return _admitted(asked["uid"], Outcome([], "not the creation of a pod"), "skipped")
    name = str(asked.get("namespace") or "")
    out = opted_out(pod, known.namespace(name))
    outcome = Outcome([], out) if out is not None else injected(pod, name, known)
    if outcome.capture is not None:
        return _admitted(asked["uid"], outcome, outcome.capture.mode)
    if outcome.reason == ALREADY:
        return _admitted(asked["uid"], outcome, "already")
    return _admitted(asked["uid"], outcome, "opted_out" if outcome.reason.startswith("label ") else "refused")


def _refused(problem: str) -> Answer:
    return Answer(400, orjson.dumps({"error": problem}), "malformed", problem)


def _is_new_pod(asked: Object) -> bool:
    kind = child(asked, "kind")
    return (
        asked.get("operation") == "CREATE"
        and not asked.get("subResource")
        and (kind.get("group"), kind.get("version"), kind.get("kind")) == ("", "v1", "Pod")
    )


def injected(pod: Object, name: str, known: Knowledge) -> Outcome:
    """What injection makes of a pod of the namespace `name`, whoever asked for it."""
    namespace = known.namespace(name)
    around, sources = _around(known.around, namespace), _sources(known, name, namespace)
    settings, warnings = read((*sources, from_annotations(annotations_of(pod))), known.image)
    outcome = inject(pod, settings, around, known.version)
    return replace(outcome, warnings=(*warnings, *outcome.warnings))


def ignored_settings(pod: Object, name: str, known: Knowledge) -> list[str]:
    """The warnings about a pod's own annotations."""
    sources = _sources(known, name, known.namespace(name))
    _, every = read((*sources, from_annotations(annotations_of(pod))), known.image)
    _, others = read(sources, known.image)
    return [each for each in every if each not in others]


def opted_out(pod: Mapping[str, Any], namespace: Namespace | None) -> str | None:
    """Why the pod is not to be recorded. Of an unknown namespace the webhook's selectors are believed."""
    own = labels_of(pod).get(INJECT)
    if own == DISABLED:
        return f"label {INJECT}: {DISABLED} on the pod"
    if own == ENABLED or namespace is None or namespace.labels.get(INJECT) == ENABLED:
        return None
    return f"label {INJECT}: {ENABLED} is neither on the pod nor on its namespace"


def _around(around: Surroundings, namespace: Namespace | None) -> Surroundings:
    if namespace is None:
        # Its level may be any; what the strictest admits, all admit.
        return replace(around, pod_security="restricted")
    level, mesh = of_namespace(namespace.labels, namespace.annotations)
    return replace(around, pod_security=level, mesh=mesh, services=namespace.services)


def _sources(known: Knowledge, name: str, namespace: Namespace | None) -> tuple[Source, ...]:
    own = namespace.defaults if namespace is not None else None
    return (
        Source(f"ConfigMap {SYSTEM_NAMESPACE}/{DEFAULTS}", known.cluster_defaults),
        Source(f"ConfigMap {name}/{DEFAULTS}", own or {}),
    )


def _admitted(uid: str, outcome: Outcome, word: str) -> Answer:
    response: Object = {"uid": uid, "allowed": True}
    if outcome.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(outcome.patch)).decode()
    warnings = list(outcome.warnings)
    if word == "refused":
        warnings.append(f"not injected: {outcome.reason}")
    if warnings:
        response["warnings"] = _shortened(warnings)
    if word in ("refused", "redirect", "port", "shift"):
        response["auditAnnotations"] = {"injection": f"{word}: {outcome.reason}"}
    review = {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
    return Answer(200, orjson.dumps(review), word, outcome.reason)


def _shortened(warnings: list[str]) -> list[str]:
    found: list[str] = []
    left = MOST_WARNINGS_CHARACTERS
    for warning in warnings:
        text = "sidecar: " + " ".join(warning.split())
        text = text if len(text) <= MOST_WARNING_CHARACTERS else text[: MOST_WARNING_CHARACTERS - 1] + "…"
        left -= len(text.encode())
        if left < 0:
            break
        found.append(text)
    return found
