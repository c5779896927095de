"""The manifests: valid for every supported Kubernetes, restricted, consistent in themselves and with the code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from docs.demo.setup_steps import REQUIREMENTS
from sidecar import __version__
from sidecar.cli import cli
from sidecar.inject.json_patch import apply
from sidecar.inject.names import ADMIN_PORT, DEFAULTS, ENABLED, INJECT, PROBE_PORT, SYSTEM_NAMESPACE
from sidecar.inject.patch import inject
from sidecar.inject.policy import LEFT_OUT
from sidecar.inject.settings import Source, read
from sidecar.inject.surroundings import Surroundings
from tests.k8s.derived import DERIVED
from tests.support.cel import evaluated
from tests.support.corpus import CASES, INJECTED
from tests.support.kubernetes_files import (
    K8S,
    OVERLAYS,
    VERSIONS,
    Object,
    built,
    containers,
    invalid,
    one,
    program,
    raw,
    templates,
)

RAW = list(raw())
OBJECTS = [each for _, each in RAW]
WORKLOADS = list(templates(OBJECTS))
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_as_it_is_written(version: str) -> None:
    assert len(OBJECTS) > 40
    assert not invalid(OBJECTS, version)


@every_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_every_overlay_is_built_and_is_valid(overlay: str, version: str) -> None:
    found = built(K8S / "overlays" / overlay)
    assert found
    assert not invalid(found, version)


@pytest.mark.parametrize("path", sorted(K8S.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_every_file_is_named_by_its_kustomization_and_is_there(path: Path) -> None:
    written = yaml.safe_load(path.read_text())
    named = set(written.get("resources", []))
    for each in written.get("configMapGenerator", []):
        named |= {file.partition("=")[2] or file for file in each.get("files", [])}
    for each in written.get("components", []) + sorted(named):
        assert (path.parent / each).exists(), f"{path}: {each}"
    beside = {each.name for each in path.parent.glob("*.*") if each.suffix in (".yaml", ".json", ".py")}
    assert beside - {"kustomization.yaml"} <= {each for each in named if "/" not in each}


@pytest.mark.parametrize("path", DERIVED, ids=lambda path: path.name)
def test_derived_files_are_up_to_date(path: Path) -> None:
    assert path.read_text() == DERIVED[path](), "run: .venv/bin/python -m tests.k8s.derived"


def test_every_image_is_this_version() -> None:
    images = {each["image"] for _, template in WORKLOADS for each in containers(template)}
    images.add(one(OBJECTS, "ConfigMap", DEFAULTS)["data"]["image"])
    assert images == {f"sidecar:{__version__}"}


@every_overlay
def test_injected_pods_get_the_image_of_the_overlay(overlay: str, tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s", symlinks=True)
    folder = tmp_path / "k8s" / "overlays" / overlay
    path = folder / "kustomization.yaml"
    path.write_text(path.read_text().replace("newName: sidecar", "newName: registry.example/sidecar"))
    found = built(folder)
    wanted = f"registry.example/sidecar:{__version__}"
    assert one(found, "ConfigMap", DEFAULTS)["data"]["image"] == wanted
    images = {each["image"] for _, template in templates(found) for each in containers(template)}
    assert {each for each in images if "sidecar:" in each} == {wanted}


def test_settings_of_the_overlays_are_settings_of_injection() -> None:
    for overlay in OVERLAYS:
        data = one(built(K8S / "overlays" / overlay), "ConfigMap", DEFAULTS)["data"]
        assert read((Source("x", data),), "sidecar:1")[1] == []


@pytest.mark.parametrize(
    ("workload", "template"), WORKLOADS, ids=lambda each: each["metadata"].get("name", "")
)
def test_every_container_of_ours_is_restricted(workload: Object, template: Object) -> None:
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec.get("hostNetwork") is None
    for each in containers(template):
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
        assert "memory" in each["resources"]["limits"]
        # Only the owner of the folder that kubelet makes, root, can open it to others.
        assert (context.get("runAsUser") == 0) == (each["name"] == "folder")
    mounts_node = any("hostPath" in each for each in spec.get("volumes", []))
    assert mounts_node == (workload["metadata"]["namespace"] != SYSTEM_NAMESPACE)


@pytest.mark.parametrize(
    ("workload", "template"), WORKLOADS, ids=lambda each: each["metadata"].get("name", "")
)
def test_what_a_pod_refers_to_is_there(workload: Object, template: Object) -> None:
    namespace, spec = workload["metadata"]["namespace"], template["spec"]
    here = {
        (each["kind"], each["metadata"]["name"])
        for each in OBJECTS
        if each["metadata"].get("namespace") == namespace
    }
    here |= {("ConfigMap", "sidecar-retention")}  # made by a generator
    assert ("ServiceAccount", spec["serviceAccountName"]) in here
    volumes = {each["name"]: each for each in spec.get("volumes", [])}
    for each in containers(template):
        ports = {port["name"] for port in each.get("ports", [])}
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in each:
                assert each[probe]["httpGet"]["port"] in ports
        assert {mount["name"] for mount in each.get("volumeMounts", [])} <= volumes.keys()
        for variable in each.get("env", []):
            reference = variable.get("valueFrom", {}).get("configMapKeyRef")
            assert reference is None or ("ConfigMap", reference["name"]) in here
    for volume in volumes.values():
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in here
    needs_token = workload["metadata"]["name"] in ("sidecar-webhook", "sidecar-controller", "sidecar-drain")
    assert spec["automountServiceAccountToken"] is needs_token


@pytest.mark.parametrize(
    ("workload", "template"), WORKLOADS, ids=lambda each: each["metadata"].get("name", "")
)
def test_every_command_line_is_one(workload: Object, template: Object) -> None:
    for each in template["spec"]["containers"]:
        line: list[str] = [*each["command"], *each.get("args", [])]
        assert line[0] == "sidecar"
        name, words = line[1], line[2:]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        known = {option: parameter for parameter in command.params for option in parameter.opts}
        for word in words:
            flag, equals, value = word.partition("=")
            assert flag in known, word
            parameter: Any = known[flag]
            assert bool(equals) != bool(getattr(parameter, "is_flag", False)), word
            if equals and "$(" not in value:
                parameter.type.convert(value, parameter, click.Context(command))
        given = {word.partition("=")[0] for word in words}
        for parameter in command.params:
            if parameter.required:
                from_environment = {variable["name"] for variable in each.get("env", [])}
                assert given & set(parameter.opts) or parameter.envvar in from_environment, parameter.opts
        admin = [port["containerPort"] for port in each.get("ports", []) if port["name"] == "admin"]
        assert admin in ([ADMIN_PORT], [])


def test_selectors_find_their_pods() -> None:
    marks = [template["metadata"]["labels"] for _, template in WORKLOADS]
    for each in OBJECTS:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            selector = spec["selector"]
        elif each["kind"] in ("Deployment", "DaemonSet", "PodDisruptionBudget"):
            selector = spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            selector = spec["podSelector"].get("matchLabels", {})
        else:
            continue
        assert any(selector.items() <= labels.items() for labels in marks), each["metadata"]["name"]


def test_two_replicas_that_nodes_and_drains_do_not_take_together() -> None:
    for name in ("sidecar-webhook", "sidecar-controller"):
        spec = one(OBJECTS, "Deployment", name)["spec"]
        assert spec["replicas"] == 2
        (term,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
        assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]
        assert one(OBJECTS, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1


WEBHOOKS = one(OBJECTS, "MutatingWebhookConfiguration", "sidecar-webhook")["webhooks"]


@pytest.mark.parametrize("webhook", WEBHOOKS, ids=lambda webhook: webhook["name"])
def test_a_webhook_that_is_away_holds_nothing_up(webhook: Object) -> None:
    assert webhook["failurePolicy"] == "Ignore"
    assert webhook["sideEffects"] == "None"
    assert webhook["timeoutSeconds"] == 3
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert webhook["admissionReviewVersions"] == ["v1"]
    (rule,) = webhook["rules"]
    assert rule["operations"] == ["CREATE"]
    assert rule["resources"] == ["pods"]
    name = {"namespace": SYSTEM_NAMESPACE, "name": "sidecar-webhook", "path": "/inject"}
    assert webhook["clientConfig"] == {"service": name}


def selected(selector: Object, labels: Object) -> bool:
    """As the API server matches `matchExpressions`."""
    for each in selector["matchExpressions"]:
        within = labels.get(each["key"]) in each["values"]
        if within != (each["operator"] == "In"):
            return False
    return True


@pytest.mark.parametrize("of_namespace", [None, "enabled", "disabled"])
@pytest.mark.parametrize("of_pod", [None, "enabled", "disabled"])
@pytest.mark.parametrize("name", ["risk", *LEFT_OUT])
def test_labels_choose_and_the_pods_wins(name: str, of_namespace: str | None, of_pod: str | None) -> None:
    namespace = {"kubernetes.io/metadata.name": name} | ({INJECT: of_namespace} if of_namespace else {})
    pod = {INJECT: of_pod} if of_pod else {}
    called = [
        each["name"]
        for each in WEBHOOKS
        if selected(each["namespaceSelector"], namespace) and selected(each["objectSelector"], pod)
    ]
    wanted = name not in LEFT_OUT and (of_pod or of_namespace) == ENABLED
    assert len(called) == wanted


def asked(webhook: Object, pod: Object) -> bool:
    return all(evaluated(each["expression"], {"object": pod}) for each in webhook["matchConditions"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_webhook_is_asked_about_new_pods_of_the_pods_network(case: Any) -> None:
    for webhook in WEBHOOKS:
        assert asked(webhook, case.pod) == (
            not case.pod["spec"].get("hostNetwork", False)
            and "sidecar.dev/status" not in case.pod["metadata"].get("annotations", {})
        )


@pytest.mark.parametrize("case", INJECTED, ids=lambda case: case.name)
def test_it_is_asked_again_only_when_a_mesh_came_later(case: Any) -> None:
    pod = apply(case.pod, case.inject().patch)
    capture = case.inject().capture
    assert capture is not None
    proxy = {"name": "istio-proxy", "image": "proxy", "restartPolicy": "Always"}
    later = apply(pod, [{"op": "add", "path": "/spec/containers/-", "value": proxy}])
    for webhook in WEBHOOKS:
        assert not asked(webhook, pod)
        assert asked(webhook, later) == (capture.mesh is None)


def annotated(pod: Object, **more: str) -> Object:
    metadata = pod["metadata"]
    return {**pod, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **more}}}


def test_the_guard_lets_the_controller_write_one_annotation_and_nothing_else() -> None:
    spec = one(OBJECTS, "ValidatingAdmissionPolicy", "sidecar-controller")["spec"]
    pod: Object = {"metadata": {"annotations": {"a": "1"}, "labels": {"b": "2"}}, "spec": {"containers": []}}

    def admitted(after: Object, before: Object = pod, user: str = "sidecar-controller") -> bool:
        name = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{user}"
        given: Object = {"object": after, "oldObject": before, "request": {"userInfo": {"username": name}}}
        if not all(evaluated(each["expression"], given) for each in spec["matchConditions"]):
            return True
        given["variables"] = {
            each["name"]: evaluated(each["expression"], given) for each in spec["variables"]
        }
        return all(evaluated(each["expression"], given) for each in spec["validations"])

    assert admitted(annotated(pod, **{"sidecar.dev/digest": "x"}))
    assert admitted(
        annotated(pod, **{"sidecar.dev/digest": "y"}), annotated(pod, **{"sidecar.dev/digest": "x"})
    )
    assert not admitted(annotated(pod, a="2"))
    assert not admitted(annotated(pod, other="2"))
    assert not admitted({**pod, "metadata": {"labels": {"b": "2"}}})
    assert not admitted({**pod, "metadata": {**pod["metadata"], "labels": {"b": "3"}}})
    assert not admitted({**pod, "metadata": {**pod["metadata"], "finalizers": ["f"]}})
    assert not admitted({**pod, "spec": {"containers": [{"image": "other"}]}})
    assert admitted({**pod, "spec": {"containers": [{"image": "other"}]}}, user="somebody-else")


def test_kubectl_is_what_builds_the_overlays() -> None:
    done = subprocess.run(
        [program("kubectl"), "version", "--client"], capture_output=True, text=True, check=True
    )
    assert "Kustomize Version" in done.stdout


def test_the_demos_model_is_recorded_and_its_helpers_are_not() -> None:
    found = built(K8S / "overlays" / "demo")
    namespace = one(found, "Namespace", "mortgage")
    assert namespace["metadata"]["labels"] == {INJECT: ENABLED}
    settings, _ = read((Source("x", one(found, "ConfigMap", DEFAULTS)["data"]),), "sidecar:1")
    secrets = [each["metadata"] for each in found if each["kind"] == "Secret"]
    assert {"name": settings.store_secret, "namespace": "mortgage"} in secrets
    for name, wanted in (("mortgage", True), ("applicants", False), ("store", False)):
        template = one(found, "Deployment", name)["spec"]["template"]
        out = template["metadata"]["labels"].get(INJECT) == "disabled"
        assert out is not wanted
        if wanted:
            outcome = inject(template, settings, Surroundings(), __version__)
            assert outcome.capture is not None
            assert (outcome.capture.mode, outcome.capture.target.port) == ("redirect", 8080)
            pod = apply(template, outcome.patch)
            probe = pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"]
            assert probe == PROBE_PORT


def test_the_demos_image_has_what_the_demo_needs() -> None:
    text = (K8S / "overlays" / "demo" / "Dockerfile").read_text()
    for each in REQUIREMENTS["mlserver"]:
        assert each in text


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as kubelet and the init container are")
def test_the_drainer_can_remove_what_kubelet_made_in_the_opened_folder() -> None:
    (init,) = one(OBJECTS, "DaemonSet", "sidecar-drain")["spec"]["template"]["spec"]["initContainers"]
    interpreter, flag, opening = init["command"]
    assert (interpreter, flag) == ("python3", "-c")
    # Not below pytest's own folder, which only root may enter.
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        folder = Path(temporary) / "journals"
        folder.mkdir(mode=0o755)
        subprocess.run([sys.executable, flag, opening.replace("/journals", str(folder))], check=True)
        # A volume's subPath gets kubelet for an owner, and the mode of the volume.
        pod, gone = folder / "risk_fraud_u-1", folder / ".drained-risk_fraud_u-1"
        pod.mkdir()
        pod.chmod(folder.stat().st_mode & 0o7777)
        steps = f"mkdir {pod}/journal && mv {pod} {gone} && rmdir {gone}/journal {gone}"
        subprocess.run(["sh", "-c", steps], check=True, user=65532, group=65532, extra_groups=[])
        assert not list(folder.iterdir())
