"""Webhook calls: what the API server sends, and what must never happen to a model's pod."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.inject.json_patch import apply
from sidecar.inject.review import MOST_WARNING_CHARACTERS, MOST_WARNINGS_CHARACTERS, Namespace, review
from sidecar.inject.surroundings import Surroundings
from tests.support.corpus import CASES, Case

ENABLED = {"sidecar.dev/inject": "enabled"}
UID = "705ab4f5-6393-11e8-b7cc-42010a800002"


@dataclass
class Known:
    """A cluster as the webhook knows it."""

    namespaces: dict[str, Namespace] = field(default_factory=lambda: {"risk": Namespace(ENABLED)})
    around: Surroundings = field(default_factory=Surroundings)
    cluster_defaults: dict[str, str] = field(default_factory=lambda: {"store": "s3://evidence/records"})
    image: str = "registry.example/sidecar:9"
    version: str = "9.0"

    def namespace(self, name: str) -> Namespace | None:
        return self.namespaces.get(name)


def asked(pod: Any, **changes: Any) -> dict[str, Any]:
    """A review as an API server of 1.36 sends it for a ReplicaSet's pod: no name, only `generateName`."""
    request = {
        "uid": UID,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "name": None,
        "namespace": "risk",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        **changes,
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def answer(value: Any, known: Known | None = None) -> dict[str, Any]:
    found = review(orjson.dumps(value), known or Known())
    assert found.status == 200
    value = orjson.loads(found.body)
    assert (value["apiVersion"], value["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert value["response"]["uid"] == UID
    assert value["response"]["allowed"] is True
    response: dict[str, Any] = value["response"]
    return response


def patch_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    if "patch" not in response:
        return []
    assert response["patchType"] == "JSONPatch"
    found: list[dict[str, Any]] = orjson.loads(base64.b64decode(response["patch"]))
    return found


def plain() -> dict[str, Any]:
    return dict(CASES[0].pod)


def known_of(case: Case) -> Known:
    labels = dict(ENABLED)
    if "pod_security" in case.given:
        labels["pod-security.kubernetes.io/enforce"] = case.given["pod_security"]
    labels |= {
        "istio": {"istio-injection": "enabled"},
        "ambient": {"istio.io/dataplane-mode": "ambient"},
    }.get(case.given.get("mesh", ""), {})
    return Known({"risk": Namespace(labels, services=case.around.services)}, case.around)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_webhook_patches_as_the_command_does(case: Case) -> None:
    response = answer(asked(case.pod), known_of(case))
    assert apply(case.pod, patch_of(response)) == apply(case.pod, case.inject().patch)
    if "refused" in case.expect:
        assert any(case.expect["refused"][:20] in warning for warning in response["warnings"])
    again = answer(asked(apply(case.pod, patch_of(response))), known_of(case))
    assert "refused" in case.expect or patch_of(again) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"subResource": "ephemeralcontainers"},
        {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}},
        {"kind": {"group": "", "version": "v2", "kind": "Pod"}},
        {"kind": None},
        {"object": None},
        {"object": []},
        {"object": {}},
        {"object": {"spec": {"containers": [1, None, {"name": 3, "ports": [7, {"containerPort": "x"}]}]}}},
    ],
)
def test_what_is_not_the_creation_of_a_pod_is_admitted_as_it_is(changes: dict[str, Any]) -> None:
    assert patch_of(answer(asked(plain(), **changes))) == []


def test_a_dry_run_is_answered_alike() -> None:
    assert answer(asked(plain(), dryRun=True)) == answer(asked(plain()))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "no AdmissionReview"),
        (b'{"kind":"Pod"}', "no AdmissionReview"),
        (
            b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1"}}',
            "v1beta1",
        ),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}', "no request"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":7}}', "no request"),
    ],
)
def test_what_is_no_review_is_a_bad_request(body: bytes, words: str) -> None:
    found = review(body, Known())
    assert found.status == 400
    assert words in orjson.loads(found.body)["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("metadata", "spec", "containers", "initContainers", "ports", "name", "annotations", "labels", "resources",
        "livenessProbe", "httpGet", "port", "containerPort", "limits", "volumes", "restartPolicy")  # fmt: skip
PODS = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=30,
)


@given(PODS)
def test_no_pod_can_make_it_raise(pod: Any) -> None:
    assert review(orjson.dumps(asked(pod)), Known()).status == 200


@given(
    st.sampled_from(
        ["labels", "annotations", "containers", "ports", "resources", "volumes", "livenessProbe"]
    ),
    JSON,
)
def test_no_wrong_part_of_a_pod_can_make_it_raise(part: str, value: Any) -> None:
    pod = orjson.loads(orjson.dumps(plain()))
    holder = {"labels": pod["metadata"], "annotations": pod["metadata"], "containers": pod["spec"]}
    holder.setdefault(part, pod["spec"] if part == "volumes" else pod["spec"]["containers"][0])[part] = value
    assert review(orjson.dumps(asked(pod)), Known()).status == 200


def places(value: Any, path: str = "") -> list[str]:
    """JSON pointers of everything inside a value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for step, inner in steps:
        here = f"{path}/{str(step).replace('~', '~0').replace('/', '~1')}"
        found += [here, *places(inner, here)]
    return found


WRONG: tuple[Any, ...] = (None, True, -1, 2**40, "", "x", "8080", [], [[]], {}, {"a": {}}, [None])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_wrong_value_anywhere_in_a_pod_can_make_it_raise(case: Case) -> None:
    known = known_of(case)
    for place in places(case.pod):
        for wrong in WRONG:
            pod = apply(case.pod, [{"op": "replace", "path": place, "value": wrong}])
            assert review(orjson.dumps(asked(pod)), known).status == 200


@pytest.mark.parametrize(
    ("pod_label", "namespace_label", "is_injected"),
    [
        (None, "enabled", True),
        (None, None, False),
        (None, "disabled", False),
        ("enabled", None, True),
        ("enabled", "disabled", True),
        ("disabled", "enabled", False),
        ("yes", "enabled", True),
    ],
)
def test_the_pods_label_wins(pod_label: str | None, namespace_label: str | None, is_injected: bool) -> None:
    pod = orjson.loads(orjson.dumps(plain()))
    if pod_label:
        pod["metadata"]["labels"]["sidecar.dev/inject"] = pod_label
    labels = {"sidecar.dev/inject": namespace_label} if namespace_label else {}
    response = answer(asked(pod), Known({"risk": Namespace(labels)}))
    assert bool(patch_of(response)) == is_injected
    assert "warnings" not in response


def test_of_an_unknown_namespace_the_strictest_level_is_assumed() -> None:
    patch = patch_of(answer(asked(plain()), Known({})))
    assert '"mode":"port"' in orjson.dumps(patch).decode().replace("\\", "")


def test_the_namespaces_defaults_win_over_the_clusters() -> None:
    known = Known({"risk": Namespace(ENABLED, defaults={"store": "gs://risk/x", "polcy": "open"})})
    response = answer(asked(plain()), known)
    assert "gs://risk/x" in orjson.dumps(patch_of(response)).decode()
    assert response["warnings"] == [
        "sidecar: ConfigMap risk/sidecar-defaults polcy: is no setting of injection; it is ignored"
    ]


def test_warnings_stay_within_what_the_api_takes() -> None:
    pod = orjson.loads(orjson.dumps(plain()))
    pod["metadata"]["annotations"] = {f"sidecar.dev/{n}{'x' * 300}": "y\nz" for n in range(100)}
    warnings = answer(asked(pod))["warnings"]
    assert all(len(each) <= MOST_WARNING_CHARACTERS for each in warnings)
    assert sum(len(each.encode()) for each in warnings) <= MOST_WARNINGS_CHARACTERS
    assert not any("\n" in each for each in warnings)


def test_a_mesh_that_comes_later_is_hooked_behind() -> None:
    pod = plain()
    once = apply(pod, patch_of(answer(asked(pod))))
    proxy = {"name": "istio-proxy", "image": "istio", "securityContext": {"runAsUser": 1337}}
    meshed = apply(once, [{"op": "add", "path": "/spec/containers/-", "value": proxy}])
    twice = apply(meshed, patch_of(answer(asked(meshed))))
    (rules,) = [each for each in twice["spec"]["initContainers"] if each["name"] == "sidecar-intercept"]
    assert rules["args"][-4:] == ["--mesh", "istio", "--mesh-uid", "1337"]
    assert patch_of(answer(asked(twice))) == []


def test_a_large_pod_takes_milliseconds() -> None:
    """No measurement, only that nothing grows worse than with the pod's size."""
    pod = orjson.loads(orjson.dumps(plain()))
    pod["spec"]["containers"][0]["env"] = [{"name": f"V{n}", "value": "x" * 200} for n in range(4000)]
    started = time.perf_counter()
    answer(asked(pod))
    assert time.perf_counter() - started < 2
