"""`sidecar inject`: files and stdin in, manifests, differences or a report out, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: fraud, namespace: risk}
spec:
  selector: {matchLabels: {app: fraud}}
  template:
    metadata:
      labels: {app: fraud}
    spec:
      containers:
      - name: model
        image: fraud:1
        ports: [{name: http, containerPort: 8080}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: fraud, namespace: risk}
spec: {selector: {app: fraud}, ports: [{port: 80, targetPort: 8080}]}
"""
STORE = ("--set", "store=s3://evidence/records")


def sidecar(*arguments: str, given: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar.cli", "inject", *arguments],
        input=given.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_stdin_to_stdout_with_a_line_for_each_workload() -> None:
    code, out, err = sidecar("-f", "-", *STORE, given=f"{SERVICE}---\n{DEPLOYMENT}")
    service, deployment = yaml.safe_load_all(out)
    assert code == 0
    assert out.startswith(SERVICE + "---\n")
    assert service["kind"] == "Service"
    assert [each["name"] for each in deployment["spec"]["template"]["spec"]["initContainers"]] == [
        "sidecar",
        "sidecar-intercept",
    ]
    assert err.startswith("deployment/fraud: injected: redirect, port 8080 of container model (")
    assert sidecar("-f", "-", *STORE, given=out)[1] == out


def test_several_files_are_one_stream(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SERVICE.rstrip("\n"))
    (tmp_path / "b.yaml").write_text(DEPLOYMENT)
    code, out, _ = sidecar("-f", str(tmp_path / "a.yaml"), "-f", str(tmp_path / "b.yaml"), *STORE)
    assert code == 0
    assert [each["kind"] for each in yaml.safe_load_all(out)] == ["Service", "Deployment"]


def test_the_report_carries_patches_reasons_and_warnings() -> None:
    code, out, _ = sidecar("-f", "-", *STORE, "--json", "--pod-security", "restricted", given=DEPLOYMENT)
    (found,) = json.loads(out)["workloads"]
    assert code == 0
    assert (found["mode"], found["port"], found["injected"]) == ("port", 8080, True)
    assert "Pod Security level restricted" in found["reason"]
    assert all(each["path"].startswith("/spec/template/") for each in found["patch"])


def test_the_diff_shows_only_what_changes(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(f"{SERVICE}---\n{DEPLOYMENT}")
    _, out, _ = sidecar("-f", str(tmp_path / "d.yaml"), *STORE, "--diff")
    assert out.startswith(f"--- {tmp_path / 'd.yaml'}\n")
    removed = [line for line in out.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert removed == []


def test_strict_fails_when_a_workload_stays_without_and_prints_it_all_the_same() -> None:
    given = DEPLOYMENT.replace("      containers:", "      hostNetwork: true\n      containers:")
    code, out, err = sidecar("-f", "-", *STORE, given=given)
    assert (code, out) == (0, given)
    assert "deployment/fraud: not injected: hostNetwork" in err
    assert sidecar("-f", "-", *STORE, "--strict", given=given)[:2] == (1, given)
    out_by_label = given.replace(
        "labels: {app: fraud}\n    spec", "labels: {app: fraud, sidecar.dev/inject: disabled}\n    spec"
    )
    assert sidecar("-f", "-", *STORE, "--strict", given=out_by_label)[0] == 0


def test_in_port_mode_a_service_of_the_input_that_goes_by_number_is_seen() -> None:
    code, _, err = sidecar(
        "-f", "-", *STORE, "--pod-security", "baseline", "--strict", given=f"{SERVICE}---\n{DEPLOYMENT}"
    )
    assert code == 1
    assert "Service fraud targets port 8080 by number" in err


def test_a_namespace_of_the_input_says_its_level() -> None:
    namespace = (
        "kind: Namespace\nmetadata: {name: risk, labels: {pod-security.kubernetes.io/enforce: baseline}}\n"
    )
    _, _, err = sidecar("-f", "-", *STORE, given=f"{namespace}---\n{DEPLOYMENT}")
    assert "injected: port" in err


def test_shift_prints_the_services_patch() -> None:
    given = f"{SERVICE}---\n{DEPLOYMENT}"
    _, out, err = sidecar("-f", "-", *STORE, "--set", "mode=shift", "--set", "listen-port=9080", given=given)
    assert (
        "deployment/fraud: to do: kubectl patch service fraud --namespace risk --type=json "
        '-p=\'[{"op":"replace","path":"/spec/ports/0/targetPort","value":9080}]\''
    ) in err
    assert out.startswith(SERVICE)


def test_defaults_come_from_a_config_map(tmp_path: Path) -> None:
    path = tmp_path / "defaults.yaml"
    path.write_text(
        "kind: ConfigMap\nmetadata: {name: sidecar-defaults}\ndata: {store: 's3://a/b', max-bytes: 2Gi}\n"
    )
    _, out, _ = sidecar("-f", "-", "--defaults", str(path), given=DEPLOYMENT)
    assert 'sizeLimit: "2Gi"' in out
    assert "s3://a/b" in out


@pytest.mark.parametrize(
    ("arguments", "given", "code", "words"),
    [
        ((), "", 2, "no manifest: give -f FILE"),
        (("-f", "/nowhere.yaml"), "", 2, "/nowhere.yaml: No such file or directory"),
        (("-f", "-"), "a: [1\n", 1, "-: line 2: "),
        (
            ("-f", "-", "--set", "stor=x"),
            DEPLOYMENT,
            2,
            "--set: stor is no setting of injection: give one of ",
        ),
        (("-f", "-", "--set", "store=ftp://x"), DEPLOYMENT, 2, "--set store: 'ftp://x'"),
        (("-f", "-", "--set", "store"), DEPLOYMENT, 2, "write KEY=VALUE"),
        (("-f", "-", "--kubernetes-version", "new"), DEPLOYMENT, 2, "'new' is no version"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], given: str, code: int, words: str) -> None:
    found, out, err = sidecar(*arguments, given=given)
    assert (found, out) == (code, "")
    assert words in err
    assert err.startswith("sidecar: ")
    assert err.count("\n") == 1


def test_without_a_store_nothing_is_injected() -> None:
    code, out, err = sidecar("-f", "-", "--strict", given=DEPLOYMENT)
    assert (code, out) == (1, DEPLOYMENT)
    assert "not injected: no store: set `store` in ConfigMap sidecar-defaults" in err
