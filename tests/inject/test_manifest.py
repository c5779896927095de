"""Manifests as text: what is not injected stays byte for byte, what is keeps its words."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sidecar.inject.json_patch import apply
from sidecar.inject.manifest import documents, patched
from sidecar.inject.stream import Basis, inject_documents
from sidecar.inject.workload import members, template_of
from sidecar.inject.yaml_nodes import ManifestError
from tests.support.corpus import INJECTED, STORE, Case

BASIS = Basis("sidecar:9", "9", (STORE,))
POD = "spec:\n  containers:\n  - name: model\n    image: m\n    ports: [{containerPort: 8080}]\n"
SERVICE = "# a comment\napiVersion: v1\nkind: Service\nmetadata: {name: fraud}   # kept\n"


def injected(text: str) -> str:
    return "".join(inject_documents(documents(text), BASIS)[0])


def indented(text: str, by: int) -> str:
    return "".join(" " * by + line for line in text.splitlines(keepends=True))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\n",
        "---\n---\n",
        SERVICE,
        f"---\n{SERVICE}---\n{SERVICE}",
        f"--- # first\n{SERVICE}...\n---\n# only a comment\n---\r\n{SERVICE}",
        f"%YAML 1.1\n---\n{SERVICE}",
        "a: |\n  ---\n  text\n--- \nb: 1",
        "kind: ConfigMap\ndata: {x: '---'}\n",
        '{"kind": "Service"}',
        "{kind: Service}\n",
    ],
)
def test_without_a_workload_the_text_stays_as_it_is(text: str) -> None:
    assert "".join(each.text for each in documents(text)) == text
    assert injected(text) == text


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout"])
def test_every_workload_with_a_template_is_injected(kind: str) -> None:
    text = f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: fraud}}\nspec:\n  template:\n{indented(POD, 4)}"
    value = yaml.safe_load(injected(text))
    assert value["spec"]["template"]["spec"]["initContainers"][0]["name"] == "sidecar"
    assert injected(injected(text)) == injected(text)


def test_cron_jobs_lists_and_bare_pods_are_injected_where_their_pods_are() -> None:
    cron = (
        "kind: CronJob\nmetadata: {name: c}\nspec:\n  jobTemplate:\n    spec:\n      template:\n"
        + indented(POD, 8).replace("        spec:\n", "        spec:\n          restartPolicy: Never\n", 1)
    )
    pod = "kind: Pod\nmetadata: {name: p}\n" + POD
    both = "kind: List\nitems:\n- kind: Service\n  metadata: {name: s}\n- " + indented(pod, 2)[2:]
    nested = "kind: List\nitems:\n- " + indented(both, 2)[2:]
    inner = yaml.safe_load(injected(cron))["spec"]["jobTemplate"]["spec"]["template"]
    assert inner["metadata"]["annotations"]["sidecar.dev/status"]
    assert len(yaml.safe_load(injected(pod))["spec"]["initContainers"]) == 2
    assert len(yaml.safe_load(injected(both))["items"][1]["spec"]["initContainers"]) == 2
    assert len(yaml.safe_load(injected(nested))["items"][0]["items"][1]["spec"]["initContainers"]) == 2


def test_the_other_documents_of_a_stream_keep_their_comments_and_places() -> None:
    text = f"{SERVICE}---\nkind: Pod\nmetadata: {{name: p}}\n{POD}---\n{SERVICE}"
    found = injected(text)
    assert found.startswith(SERVICE + "---\n")
    assert found.endswith("---\n" + SERVICE)


def test_what_is_written_in_a_patched_document_stays_as_written() -> None:
    text = (
        "kind: Pod\nmetadata: {name: p, annotations: {when: 2024-01-01, on: 'off'}}\nspec:\n"
        "  volumes:\n  - {name: m, configMap: {name: x, defaultMode: 0644}}\n"
        '  containers:\n  - name: model\n    image: m\n    args: ["on", \'yes\', "01", 1e3, 0x10]\n'
        "    command:\n    - |\n      two\n      lines\n    - "
        + "long " * 60
        + "\n    ports: [{containerPort: 8080}]\n"
    )
    found = injected(text)
    for words in ("when: 2024-01-01", "on: 'off'", "defaultMode: 0644", "[\"on\", 'yes', \"01\", 1e3, 0x10]",
                  "    - |\n      two\n      lines\n", ("long " * 60).strip()):  # fmt: skip
        assert words in found


def test_aliases_and_merged_keys_are_written_out_and_only_the_named_place_changes() -> None:
    text = (
        "kind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
        "  - &base\n    name: model\n    image: m\n    ports: [{containerPort: 8080}]\n"
        "    livenessProbe: &probe {httpGet: {port: 8080}}\n    readinessProbe: *probe\n"
        "  - <<: *base\n    name: other\n    ports: []\n    livenessProbe: {httpGet: {port: 9, path: /}}\n"
        "    readinessProbe: {exec: {command: [x]}}\n"
    )
    model, other = yaml.safe_load(injected(text))["spec"]["containers"]
    assert model["livenessProbe"]["httpGet"]["port"] == model["readinessProbe"]["httpGet"]["port"] == 15101
    assert other["livenessProbe"]["httpGet"]["port"] == 9
    assert other["image"] == "m"


def test_a_document_that_would_grow_without_bound_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    text = "kind: Pod\nmetadata: {name: p}\n" + "\n".join(lines) + "\n" + POD
    with pytest.raises(ManifestError, match="aliases"):
        injected(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("kind: Pod\n---\na: [1\n", "line 4"), ("a: &a [*a]\nb: *c\n", "undefined alias"), ("\tb: 1", "line 1")],
)
def test_what_is_no_yaml_is_said_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        documents(text)


@pytest.mark.parametrize("case", INJECTED, ids=lambda case: case.name)
def test_patching_text_and_patching_values_agree(case: Case) -> None:
    text = yaml.safe_dump(case.pod)
    patch = case.inject().patch
    (document,) = documents(text)
    assert yaml.safe_load(patched(document, patch)) == apply(case.pod, patch)


def test_json_stays_json() -> None:
    text = '{"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "m", "ports": [{"containerPort": 1}]}]}}'
    value: Any = __import__("json").loads(injected(text))
    assert value["spec"]["initContainers"]


def test_json_objects_one_after_the_other_are_documents() -> None:
    pod = '{"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "m", "ports": [{"containerPort": 1}]}]}}'
    text = f' {pod}\n{{"kind": "Service"}}\n\n{pod} '
    assert [each.value["kind"] for each in documents(text)] == ["Pod", "Service", "Pod"]
    assert "".join(each.text for each in documents(text)) == text
    found = [each.value for each in documents(injected(text))]
    assert [len(each.get("spec", {}).get("initContainers", ())) for each in found] == [2, 0, 2]


@pytest.mark.parametrize(
    "pod", [POD, '{"spec": {"containers": [{"name": "m", "ports": [{"containerPort": 1}]}]}}']
)
def test_line_ends_stay_those_of_the_document(pod: str) -> None:
    text = (
        pod.replace("{", '{"kind": "Pod", ', 1) if pod.startswith("{") else f"kind: Pod\n{pod}---\n{SERVICE}"
    )
    found = injected(text.replace("\n", "\r\n") if "\n" in text else text + "\r\n")
    assert "sidecar-journal" in found
    assert found.count("\n") == found.count("\r\n")


def test_numbers_to_base_60_are_the_texts_that_kubernetes_takes_them_for() -> None:
    text = f"kind: Pod\n{POD}    args: [--from, 12:30:45, 1:2.5, 8080:80]\n    command:\n    - 22:22\n"
    (model,) = yaml.load(injected(text), Loader=yaml.BaseLoader)["spec"]["containers"]
    assert (model["args"], model["command"]) == (["--from", "12:30:45", "1:2.5", "8080:80"], ["22:22"])
    assert "!!" not in injected(text)


def test_annotations_that_are_no_texts_are_warned_of() -> None:
    text = f"kind: Pod\nmetadata: {{name: p, annotations: {{sidecar.dev/upstream-port: 8080, x: 1}}}}\n{POD}"
    _, (done,) = inject_documents(documents(text), BASIS)
    (warning,) = done.outcome.warnings
    assert warning.startswith("annotation sidecar.dev/upstream-port: '8080' is no text: put it in quotes")


@pytest.mark.parametrize(
    ("kind", "is_told"),
    [("LeaderWorkerSet", True), ("RayService", True), ("CustomResourceDefinition", False)],
)
def test_a_kind_with_containers_elsewhere_is_told(kind: str, is_told: bool) -> None:
    text = f"kind: {kind}\nmetadata: {{name: n}}\nspec:\n  workers:\n  - template:\n{indented(POD, 6)}"
    texts, done = inject_documents(documents(text), BASIS)
    assert "".join(texts) == text
    assert [each.outcome.is_injected for each in done] == ([False] if is_told else [])
    assert all("label their namespace" in each.outcome.reason for each in done)


def test_kserve_and_knative_services_are_labelled_for_the_webhook() -> None:
    text = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: m}\nspec: {predictor: {}}\n"
    value = yaml.safe_load(injected(text))
    assert value["metadata"]["labels"] == {"sidecar.dev/inject": "enabled"}
    assert injected(injected(text)) == injected(text)
    knative = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: m}\nspec: {template: {spec: {containers: []}}}\n"
    value = yaml.safe_load(injected(knative))
    assert value["spec"]["template"]["metadata"]["labels"] == {"sidecar.dev/inject": "enabled"}


def test_what_a_label_keeps_out_stays_as_it_is() -> None:
    text = f"kind: Pod\nmetadata: {{name: p, labels: {{sidecar.dev/inject: disabled}}}}\n{POD}"
    texts, (done,) = inject_documents(documents(text), BASIS)
    assert "".join(texts) == text
    assert done.asked_out


def test_objects_without_pods_are_no_workloads() -> None:
    for value in (
        {"kind": "Service"},
        {"kind": "Pod"},
        {"kind": "Pod", "spec": {"containers": 3}},
        {"kind": 3},
    ):
        assert not [found for _, each in members(value) if (found := template_of(each))]
