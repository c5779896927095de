"""The MutatingAdmissionPolicy: evaluated as CEL, it makes of a pod what injection makes of it, or nothing."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes_validate import utils  # type: ignore[import-untyped]

from sidecar.inject.json_patch import apply
from sidecar.inject.mesh import PAST_THE_PROXY
from sidecar.inject.names import PREFIX, SIDECAR
from sidecar.inject.patch import Outcome, inject
from sidecar.inject.pod import annotations_of
from sidecar.inject.policy import SINCE, policy
from sidecar.inject.policy_variables import TAKEN
from sidecar.inject.settings import Source, from_annotations, read
from sidecar.inject.surroundings import Surroundings, of_namespace
from tests.support.cel import Policy
from tests.support.cel_literals import mixed
from tests.support.corpus import CASES, IMAGE, STORE, Case

Object = dict[str, Any]
Strategy = st.SearchStrategy[Any]
PORT = 8080


@cache
def rendered(around: Surroundings, texts: tuple[tuple[str, str], ...] = ()) -> Object:
    found, warnings = read((STORE, Source("--set", dict(texts))), IMAGE)
    assert not warnings
    return policy(found, around, "9.0")[0]


@cache
def programs(around: Surroundings, texts: tuple[tuple[str, str], ...] = ()) -> Policy:
    return Policy(rendered(around, texts))


def surroundings(case: Case) -> Surroundings:
    """What the policy is rendered with: it sees no Services, and level and mesh only in the namespace."""
    return Surroundings(case.around.oldest_node, case.around.server, case.around.openshift)


def namespace_of(case: Case) -> Object:
    labels, notes = {}, {}
    if case.given.get("pod_security"):
        labels["pod-security.kubernetes.io/enforce"] = case.given["pod_security"]
    if case.given.get("mesh") == "linkerd":
        notes["linkerd.io/inject"] = "enabled"
    elif case.given.get("mesh"):
        key, value = {
            "istio": ("istio-injection", "enabled"),
            "ambient": ("istio.io/dataplane-mode", "ambient"),
        }[case.given["mesh"]]
        labels[key] = value
    return {"metadata": {"name": "risk", "labels": labels, "annotations": notes}}


def expected(pod: Object, around: Surroundings, texts: tuple[tuple[str, str], ...] = ()) -> Outcome:
    sources = (STORE, Source("--set", dict(texts)), from_annotations(annotations_of(pod)))
    return inject(pod, read(sources, IMAGE)[0], around, "9.0")


def is_left_to_the_webhook(pod: Object) -> bool:
    """The pods that the policy says it does not take."""
    keys = {key.removeprefix(PREFIX) for key in annotations_of(pod) if key.startswith(PREFIX)}
    if annotations_of(pod).keys() & set(PAST_THE_PROXY):
        return True
    return bool(keys - {*TAKEN, "status", "digest", "no-such-setting", "max-byte"})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_policy_makes_of_a_pod_what_injection_makes_of_it(case: Case) -> None:
    level, mesh = of_namespace(*(namespace_of(case)["metadata"][key] for key in ("labels", "annotations")))
    around = replace(surroundings(case), pod_security=level, mesh=mesh)
    patch = programs(surroundings(case)).patch(case.pod, namespace_of(case))
    wanted = expected(case.pod, around)
    if is_left_to_the_webhook(case.pod):
        assert patch == []
    elif wanted.capture is None:
        assert not patch
    else:
        assert patch
        assert apply(case.pod, patch) == apply(case.pod, wanted.patch)


def test_most_of_the_corpus_is_within_the_policys_reach() -> None:
    reached = [case for case in CASES if case.inject().capture and not is_left_to_the_webhook(case.pod)]
    assert len(reached) >= 55


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_injected_pod_is_not_looked_at_again(case: Case) -> None:
    if case.inject().capture is not None:
        pod = apply(case.pod, case.inject().patch)
        assert programs(surroundings(case)).patch(pod, namespace_of(case)) is None


@pytest.mark.parametrize(
    "texts",
    [
        {"secret": "keys", "store-secret": "store", "baseline": "b", "watch": "w/x.yaml"},
        {"max-bytes": "3Gi", "cpu-limit": "2", "memory-limit": "1Gi", "image-pull-policy": "Always"},
        {"native": "off", "openshift": "true", "listen-port": "9000"},
        {"mode": "shift", "listen-port": "9000", "pod-security": "restricted"},
        {"journal-volume": "hostPath:/var/lib/sidecar-journals"},
        {"journal-volume": "pvc:journals"},
        {"locked": "mode, container, upstream-port, model-name, splice-only", "policy": "closed"},
    ],
    ids=lambda texts: next(iter(texts.items()))[1],
)
def test_settings_of_the_rendering_are_in_the_pods(texts: dict[str, str]) -> None:
    given_texts = tuple(texts.items())
    for case in CASES[::3]:
        if is_left_to_the_webhook(case.pod):
            continue
        level, mesh = of_namespace(
            *(namespace_of(case)["metadata"][key] for key in ("labels", "annotations"))
        )
        around = replace(surroundings(case), pod_security=level, mesh=mesh)
        patch = programs(surroundings(case), given_texts).patch(case.pod, namespace_of(case))
        wanted = expected(case.pod, around, given_texts)
        assert apply(case.pod, patch or []) == apply(case.pod, wanted.patch), case.name


ports: Strategy = st.fixed_dictionaries(
    {"containerPort": st.sampled_from([PORT, 8081, 9000, 15101])},
    optional={
        "name": st.sampled_from(["http", "rest-api", "metrics", "grpc", "web"]),
        "protocol": st.sampled_from(["TCP", "UDP"]),
    },
)
actions: Strategy = st.fixed_dictionaries(
    {"port": st.sampled_from([PORT, 9000, "http", "web", "8080"])},
    optional={"host": st.just("10.0.0.9")},
)
probes: Strategy = st.one_of(
    actions.map(lambda action: {"httpGet": action}),
    actions.map(lambda action: {"tcpSocket": action}),
    st.just({"exec": {"command": ["true"]}}),
)
amounts: Strategy = st.sampled_from(["500m", "0.5", "1", "1Gi", "1024Mi"])
resources: Strategy = st.fixed_dictionaries(
    {},
    optional={
        kind: st.dictionaries(st.sampled_from(["cpu", "memory", "ephemeral-storage"]), amounts)
        for kind in ("limits", "requests")
    },
)
containers: Strategy = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["model", "web", "istio-proxy", "queue-proxy", "agent", "kserve-container"]),
        "image": st.sampled_from(["model:1", f"model@sha256:{'a' * 64}"]),
    },
    optional={
        "ports": st.lists(ports, max_size=3),
        "livenessProbe": probes,
        "readinessProbe": probes,
        "lifecycle": actions.map(lambda action: {"preStop": {"httpGet": action}}),
        "resources": resources,
        "restartPolicy": st.just("Always"),
        "securityContext": st.just({"runAsUser": 7}),
    },
)
notes: Strategy = st.fixed_dictionaries(
    {},
    optional={
        PREFIX + "upstream-port": st.sampled_from(["8080", "http", "0", "70000", "no--port", "web"]),
        PREFIX + "container": st.sampled_from(["model", "web", "absent", "Wrong Name"]),
        PREFIX + "model-name": st.sampled_from(["fraud", "a $name", " spaced ", ""]),
        PREFIX + "mode": st.sampled_from(["redirect", "port", "shift", "other"]),
        PREFIX + "listen-port": st.sampled_from(["9100", "80", "15101"]),
        "linkerd.io/inject": st.sampled_from(["enabled", "disabled"]),
        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": st.sampled_from(
            ["", "a,sidecar-tmp"]
        ),
    },
)
labels: Strategy = st.fixed_dictionaries(
    {},
    optional={
        "serving.kserve.io/inferenceservice": st.just("fraud"),
        "pod-template-hash": st.just("5d4"),
        "sidecar.istio.io/inject": st.sampled_from(["true", "false"]),
        "istio.io/dataplane-mode": st.sampled_from(["ambient", "none"]),
    },
)
pods: Strategy = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "annotations": notes,
                "labels": labels,
                "generateName": st.sampled_from(["fraud-5d4-", "fraud"]),
                "name": st.just("fraud-0"),
                "ownerReferences": st.sampled_from(
                    [[{"name": "fraud-5d4", "controller": True}], [{"name": "other"}], []]
                ),
            },
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(containers, min_size=1, max_size=3, unique_by=lambda each: each["name"])},
            optional={
                "initContainers": st.lists(containers, max_size=2, unique_by=lambda each: each["name"]),
                "volumes": st.sampled_from([[], [{"name": "data"}], [{"name": "sidecar-x"}]]),
                "restartPolicy": st.sampled_from(["Always", "Never"]),
                "terminationGracePeriodSeconds": st.sampled_from([0, 1, 7, 30, 600]),
                "securityContext": st.sampled_from([{}, {"fsGroup": 3}]),
                "resources": st.sampled_from([{}, {"limits": {"cpu": "1", "memory": "1Gi"}}]),
                "nodeSelector": st.sampled_from(
                    [{"kubernetes.io/os": "linux"}, {"kubernetes.io/os": "windows"}]
                ),
                "hostNetwork": st.booleans(),
            },
        ),
    }
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(
    pod=pods,
    level=st.sampled_from([None, "privileged", "baseline"]),
    mesh=st.sampled_from([None, "istio"]),
    nodes=st.sampled_from([(1, 28), (1, 30), (1, 36)]),
)
def test_any_pod_gets_what_injection_gives_it(
    pod: Object, level: str | None, mesh: str | None, nodes: tuple[int, int]
) -> None:
    marks = {"istio-injection": "enabled"} if mesh else {}
    marks |= {"pod-security.kubernetes.io/enforce": level} if level else {}
    around = Surroundings(nodes, nodes)
    before = copy.deepcopy(pod)
    patch = programs(around).patch(pod, {"metadata": {"name": "risk", "labels": marks}})
    wanted = expected(pod, replace(around, pod_security=level, mesh=mesh))
    assert apply(pod, patch or []) == apply(pod, wanted.patch)
    assert pod == before


def test_every_variable_uses_only_those_before_it() -> None:
    known: set[str] = set()
    for each in rendered(Surroundings())["spec"]["variables"]:
        assert set(re.findall(r"variables\.(\w+)", each["expression"])) <= known, each["name"]
        known.add(each["name"])
    assert len(known) < 100


def test_expressions_stay_within_what_the_parser_takes() -> None:
    spec = rendered(Surroundings())["spec"]
    every = [each["expression"] for each in spec["variables"] + spec["matchConditions"]]
    every.append(spec["mutations"][0]["jsonPatch"]["expression"])
    assert max(map(len, every)) < 50_000, "the API server's parser takes 100,000 characters"
    assert not any("cel.bind" in each or "transformList" in each for each in every)


@pytest.mark.parametrize("api", SINCE)
def test_policy_and_bindings_are_valid(api: str) -> None:
    found, _ = read((STORE,), IMAGE)
    minor = SINCE[api][1]
    for version in (f"1.{minor}", f"1.{minor + 1}"):
        for document in policy(found, Surroundings(), "9.0", api, namespaces={"team": "risk"}):
            assert utils.validate(document, version, strict=True) == version


def sidecar(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar.cli", "admission-policy", *arguments],
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_prints_the_policy_and_its_bindings() -> None:
    code, out, err = sidecar(
        "--set", "store=s3://evidence/records", "--image", IMAGE, "--kubernetes-version", "1.35"
    )
    assert (code, err) == (0, "")
    documents = list(yaml.safe_load_all(out))
    assert [each["kind"].removeprefix("MutatingAdmissionPolicy") for each in documents] == [
        "",
        "Binding",
        "Binding",
    ]
    assert {each["apiVersion"] for each in documents} == {"admissionregistration.k8s.io/v1beta1"}
    patch = Policy(documents[0]).patch(CASES[0].pod, {"metadata": {}})
    pod = apply(CASES[0].pod, patch or [])
    assert SIDECAR in [each["name"] for each in pod["spec"]["initContainers"]]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "no store"),
        (("--set", "stroe=s3://x/y"), "stroe is no setting"),
        (("--set", "store=s3://x/y", "--kubernetes-version", "1.30"), "came with 1.32"),
        (("--set", "store=s3://x/y", "--namespace-label", "team"), "write KEY=VALUE"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], problem: str) -> None:
    code, out, err = sidecar(*arguments)
    assert (code, out) == (2, "")
    assert problem in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("texts", [{}, {"secret": "s", "journal-volume": "hostPath:/j", "native": "off"}])
def test_literals_are_of_one_type(texts: dict[str, str]) -> None:
    spec = rendered(Surroundings(), tuple(texts.items()))["spec"]
    every = {each["name"]: each["expression"] for each in spec["variables"] + spec["matchConditions"]}
    every["mutation"] = spec["mutations"][0]["jsonPatch"]["expression"]
    assert {name: found for name, expression in every.items() if (found := mixed(expression))} == {}


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("[1, 'a']", 1),
        ("[dyn(1), dyn('a')]", 0),
        ("{'a': 1, 'b': 'c'}", 1),
        ("[x.name, '']", 1),
        ("[string(x.name), '']", 0),
        ("[x]", 0),
        ("x[0] + y[?'a']", 0),
        ("[['a'], ['b', c]]", 2),
        ("{'a': dyn(1), ?'b': (c ? optional.of(dyn('x')) : optional.none())}", 0),
        ("['a, [b', 'c']", 0),
        ("[JSONPatch{op: 'add', value: [1, 'a']}]", 1),
    ],
)
def test_mixed_literals_are_found(expression: str, count: int) -> None:
    assert len(mixed(expression)) == count
