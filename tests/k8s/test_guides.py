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

from tests.support.kubernetes_files import K8S, OVERLAYS, ROOT, program
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


def test_the_patch_of_the_quick_start_is_one(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s", symlinks=True)
    folder = tmp_path / "k8s" / "overlays" / "mine"
    shutil.copytree(K8S / "overlays" / "s3", folder)
    (block,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    with (folder / "kustomization.yaml").open("a") as file:
        file.write(block)
    done = subprocess.run(
        [program("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "store: s3://evidence/fleet" in done.stdout
