"""The files below k8s/: read as they are, built by kubectl, rendered by helm; and the API's schemas."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import utils  # type: ignore[import-untyped]

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
TOOLS = ROOT / ".tools" / "kubernetes"
VERSIONS = tuple(f"1.{minor}" for minor in range(29, 38))
OVERLAYS = tuple(sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml")))
SINCE = {
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): 30,
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): 30,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"): 36,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"): 36,
}
"""Kinds that older Kubernetes does not have; the documents say so where they are offered."""
CUSTOM = "monitoring.coreos.com/"
CERTIFICATES = "cert-manager.io/"
"""Kinds without a schema in the library: see test_monitoring.py and test_chart.py."""

schema_contents = functools.cache(utils.schema_contents)


def documents(text: str) -> list[Object]:
    return [each for each in yaml.safe_load_all(text) if each is not None]


def raw() -> Iterator[tuple[Path, Object]]:
    """Every Kubernetes object as it is written in base and components."""
    for folder in (K8S / "base", K8S / "components"):
        for path in sorted(folder.rglob("*.yaml")):
            for each in documents(path.read_text()):
                if "kind" in each and not str(each.get("apiVersion")).startswith("kustomize.config.k8s.io"):
                    yield path.relative_to(K8S), each


def program(name: str) -> str:
    """kubectl or helm; skips the test where it cannot be had."""
    ours = TOOLS / name / name
    found = str(ours) if ours.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: sh .ci/kubernetes.sh .venv/bin/python")
    return found


@functools.cache
def built(folder: Path) -> tuple[Object, ...]:
    """What kubectl makes of a kustomization."""
    done = subprocess.run(
        [program("kubectl"), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return tuple(documents(done.stdout))


@functools.cache
def rendered(*arguments: str) -> tuple[Object, ...]:
    """What helm makes of the chart."""
    done = subprocess.run(
        [program("helm"), "template", "sidecar", str(K8S / "chart"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(documents(done.stdout))


def invalid(objects: Iterable[Object], version: str) -> list[str]:
    """What the API of this version would refuse, strictly; kinds that it does not have yet are left out."""
    wrong = []
    whole, utils.schema_contents = utils.schema_contents, schema_contents
    try:
        for each in objects:
            kind = (each["apiVersion"], each["kind"])
            if each["apiVersion"].startswith((CUSTOM, CERTIFICATES)) or int(version[2:]) < SINCE.get(kind, 0):
                continue
            try:
                # The library falls back to an older schema where it has none of the version.
                assert utils.validate(each, version, strict=True) == version
            except utils.ValidationError as error:
                wrong.append(f"{'/'.join(kind)} {each['metadata']['name']}: {error.message[:200]}")
    finally:
        utils.schema_contents = whole
    return wrong


def templates(objects: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """Workloads with their pod templates."""
    for each in objects:
        if each["kind"] in ("Deployment", "DaemonSet", "StatefulSet", "Job"):
            yield each, each["spec"]["template"]
        elif each["kind"] == "CronJob":
            yield each, each["spec"]["jobTemplate"]["spec"]["template"]


def containers(template: Object) -> list[Object]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def one(objects: Iterable[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found
