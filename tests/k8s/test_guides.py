"""The guides' kubectl and helm lines are command lines of kubectl and helm, and what they name is there."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.support.kubernetes_files import K8S, OVERLAYS, ROOT, built, one, program, raw, templates
from tests.test_docs import DOCUMENTS, commands

GUIDE = ROOT / "docs" / "kubernetes.md"


def lines(name: str) -> list[tuple[str, list[str]]]:
    """Arguments of every line of that program in the documents, parts of a pipe taken apart."""
    found = []
    for document in DOCUMENTS:
        for words in commands(document):
            text = " ".join(words)
            for part in text.split(" | "):
                arguments = part.split()
                if arguments and arguments[0] == name:
                    found.append((document.name, arguments[1:]))
    return found


@functools.cache
def help_of(name: str, *command: str) -> str:
    done = subprocess.run([program(name), *command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} {' '.join(command)}: {done.stderr}"
    shared = [program(name), "options"] if name == "kubectl" else [program(name), "--help"]
    return done.stdout + subprocess.run(shared, capture_output=True, text=True, check=True).stdout


def parts(arguments: list[str], deep: set[tuple[str, ...]]) -> tuple[tuple[str, ...], list[str]]:
    """The command, of one word or two, and the rest."""
    length = 2 if tuple(arguments[:2]) in deep else 1
    return tuple(arguments[:length]), arguments[length:]


@pytest.mark.parametrize(("document", "arguments"), lines("kubectl"))
def test_a_kubectl_line_has_kubectls_flags(document: str, arguments: list[str]) -> None:
    deep: set[tuple[str, ...]] = {
        ("create", "secret"),
        ("create", "configmap"),
        ("rollout", "restart"),
        ("rollout", "status"),
        ("set", "image"),
    }
    command, rest = parts(arguments, deep)
    if command == ("create", "secret"):
        command, rest = (*command, rest[0]), rest[1:]
    text = help_of("kubectl", *command)
    for word in rest:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            assert re.search(rf"(^|[ ,]){re.escape(flag)}\b", text), f"{document}: kubectl has no {flag}"
    for before, after in pairwise(rest):
        if before == "-k" and after != "k8s/overlays/mine":
            assert (ROOT / after / "kustomization.yaml").exists()


@pytest.mark.parametrize(("document", "arguments"), lines("helm"))
def test_a_helm_line_has_helms_flags_and_renders(document: str, arguments: list[str]) -> None:
    command, rest = parts(arguments, set())
    text = help_of("helm", *command)
    for word in rest:
        if word.startswith("-"):
            assert word.partition("=")[0] in text, f"{document}: helm has no {word}"
    sets = [word for word in rest if word.startswith("--set") or "=" in word]
    done = subprocess.run(
        [program("helm"), "template", "sidecar", str(K8S / "chart"), *sets],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_guide_names_every_component_and_overlay() -> None:
    text = GUIDE.read_text()
    components = {path.parent.name for path in K8S.glob("components/*/kustomization.yaml")}
    for each in components | set(OVERLAYS):
        assert f"`{each}`" in text, each


def test_the_guide_says_of_each_overlay_what_is_in_it() -> None:
    rows = dict(re.findall(r"^\| (`.*?`) \| ((?:webhook|policy).*?) \|$", GUIDE.read_text(), re.MULTILINE))
    said = {name: row for names, row in rows.items() for name in re.findall(r"`([\w-]+)`", names)}
    assert said.keys() == set(OVERLAYS)
    for overlay, row in said.items():
        written = yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text())
        named = {Path(each).name for each in written["components"]}
        told = {each.strip() for each in re.split(r",| and ", row) if each.strip()} - {
            "the store",
            "the mortgage model",
        }
        assert told == named - {overlay if overlay in ("s3", "gcs", "azure") else ""}, overlay


def test_pods_are_made_anew_only_when_the_webhook_is_there() -> None:
    """With `failurePolicy: Ignore` those that come before have no recorder."""
    for block in re.findall(r"^```console\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE):
        if "kubectl apply -k" in block and "overlays/policy" not in block:
            ready = block.index("rollout status deployment/sidecar-webhook")
            assert block.index("kubectl apply") < ready < block.index("kubectl rollout restart")


def test_the_guides_pieces_of_a_kustomization_fit_together(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s", symlinks=True)
    folder = tmp_path / "k8s" / "overlays" / "mine"
    shutil.copytree(K8S / "overlays" / "s3", folder)
    path = folder / "kustomization.yaml"
    whole = yaml.safe_load(path.read_text())
    blocks = re.findall(r"^```yaml\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        for key, written in yaml.safe_load(block).items():
            whole[key] = [*whole.get(key, []), *written]
    path.write_text(yaml.safe_dump(whole))
    made = built(folder)
    assert one(made, "ConfigMap", "sidecar-defaults")["data"]["store"] == "s3://evidence/fleet"
    role = "arn:aws:iam::111122223333:role/sidecar-watch"
    annotations = one(made, "ServiceAccount", "sidecar-watch")["metadata"]["annotations"]
    assert annotations == {"eks.amazonaws.com/role-arn": role}
    ports = one(made, "NetworkPolicy", "sidecar-out")["spec"]["egress"][0]["ports"]
    assert ports[-1] == {"port": 9000}
    for kind, name in (("PrometheusRule", "sidecar"), ("PodMonitor", "sidecar-models")):
        assert one(made, kind, name)["metadata"]["labels"]["release"] == "prometheus"
    for _, template in templates(made):
        assert "release" not in template["metadata"]["labels"], "pods are not rolled for it"


def test_ports_that_the_guide_names_are_those_of_the_manifests() -> None:
    text = GUIDE.read_text().partition("## Network")[2].partition("\n## ")[0]
    ports = one([each for _, each in raw()], "Deployment", "sidecar-webhook")["spec"]["template"]["spec"][
        "containers"
    ][0]["ports"]
    assert {"8443", "15190"} == {str(each["containerPort"]) for each in ports}
    assert "port 8443 of the webhook's pods" in text
    (sentence,) = re.findall(r"They reach ports (.*?) and DNS", text, re.DOTALL)
    out = [each for _, each in raw() if each["metadata"]["name"] == "sidecar-out"]
    assert len(out) == 2, "of the system's namespace and of the drainer's"
    for policy in out:
        (rule,) = policy["spec"]["egress"]
        assert {each["port"] for each in rule["ports"]} == {53, *map(int, re.findall(r"\d+", sentence))}
