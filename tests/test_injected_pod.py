"""Injected containers as kubelet starts them: exactly their arguments, variables, files, user and rights."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.identity.kubernetes import digest_text
from sidecar.inject.names import DIGEST as DIGEST_ANNOTATION
from sidecar.records import Container
from tests.support.commands import sidecar
from tests.support.kubelet import Kubelet
from tests.support.pod_network import POD_4, POD_6, pod_network
from tests.support.running import until

Object = dict[str, Any]
MODEL = """
import http.server, socket

class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"predict": [1]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

Server(("::", 8080), Model).serve_forever()
"""
DIGEST = "sha256:" + "ab" * 32
ANNOTATIONS = {
    "sidecar.dev/model-name": "fraud $(HOSTNAME)",
    "sidecar.dev/decision": "outputs.predict[0] == 1",
    "sidecar.dev/baseline": "fraud-baseline",
    "sidecar.dev/watch": "fraud-watch/w.yaml",
    "sidecar.dev/secret": "sidecar-keys",
    "sidecar.dev/hash-key": "/etc/sidecar/secret/hash-key",
    "sidecar.dev/redact": "header:x-user=hash",
    "sidecar.dev/store-secret": "s3-writer",
    # Nothing answers there: what is recorded waits in the journal.
    "sidecar.dev/store-endpoint": "http://127.0.0.1:9",
    "sidecar.dev/store-region": "eu-west-1",
}
WATCH = "bands:\n- {name: yeses, low: 0.1, high: 0.9}\n"


def template(annotations: dict[str, str]) -> Object:
    """What `sidecar inject` makes of a Deployment: its pod template."""
    container = {
        "name": "model",
        "image": f"registry.example/fraud@{DIGEST}",
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    made: Object = {"metadata": {"labels": {"app": "fraud"}, "annotations": annotations}}
    made["spec"] = {"containers": [container]}
    deployment: Object = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "fraud"}}
    deployment["spec"] = {"template": made}
    path = Path("d.yaml")
    path.write_text(yaml.safe_dump(deployment))
    done = sidecar("inject", "-f", path, "--set", "store=s3://evidence/records", "--strict")
    assert done.code == 0, done.err
    found: Object = yaml.safe_load(done.out)["spec"]["template"]
    return found


class Running:
    """The pod's containers, started in kubelet's order."""

    def __init__(self, kubelet: Kubelet) -> None:
        self.kubelet, self.network = kubelet, kubelet.network
        self.start_model()
        self.recorder = kubelet.start("sidecar")
        until(self._is_ready, "the sidecar")
        until(lambda: self.status().get("boot"), "the analyst")
        self.rules = kubelet.run("sidecar-intercept")

    def start_model(self) -> None:
        command = (sys.executable, "-c", MODEL)
        self.model = self.network.start(self.network.pod, *command, log=self.kubelet.folder / "model.log")

    def _is_ready(self) -> bool:
        assert self.recorder.poll() is None, (self.kubelet.folder / "sidecar.log").read_text()
        return self.kubelet.probe("sidecar", "readinessProbe")

    def status(self) -> Object:
        text = self.network.get("http://127.0.0.1:15190/api/v1/status", self.network.pod)
        return {} if text == "failed" else json.loads(text)

    def route(self) -> Object:
        (found,) = self.status()["routes"].values()
        return dict(found)

    def window(self) -> Object:
        """What the statistics count of the one model."""
        found = self.status().get("models", [])
        return dict(found[0]["window"]) if found else {}

    def call(self, address: str = POD_4) -> str:
        done = self.network.run(
            *(
                self.network.client,
                "curl",
                "-gsSf",
                "--noproxy",
                "*",
                "-m",
                "5",
                f"http://{address}:8080/predict",
            ),
            *("-H", "Content-Type: application/json", "-H", "X-User: u", "-d", '{"x": 1.5}'),
        )
        return done.stdout or done.stderr


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("x,predict\n" + "".join(f"{n % 7}.5,{n % 2}\n" for n in range(500)))
    made = sidecar("baseline", "create", "--from", "t.csv", "--outputs", "predict", "--out", "b.json")
    assert made.code == 0, made.err
    maps = {"fraud-baseline": {"baseline.json": Path("b.json").read_text()}, "fraud-watch": {"w.yaml": WATCH}}
    secrets = {
        "sidecar-keys": {"hash-key": b"0f" * 32},
        "s3-writer": {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": b"key"},
    }
    with pod_network("sik") as network:
        yield Running(Kubelet(network, tmp_path, template(ANNOTATIONS), maps, secrets))


@pytest.mark.root
def test_the_injected_containers_record_by_their_settings(pod: Running) -> None:
    assert (pod.rules.returncode, pod.rules.stdout) == (0, "port 8080 leads to 15100\n"), pod.rules.stderr
    for address in (POD_4, f"[{POD_6}]"):
        assert pod.call(address) == '{"predict": [1]}'
    until(lambda: pod.route()["committed_seq"] == 2, "the records")
    assert pod.kubelet.probe("sidecar", "livenessProbe")
    until(lambda: pod.window().get("exchanges") == 2, "the model's statistics")
    status = pod.status()
    assert status["journal"]["folder"] == "/var/lib/sidecar/journal"
    assert (status["store"]["address"], status["store"]["batches_shipped"]) == ("s3://evidence/records", 0)
    (model,) = status["models"]
    assert model["digest"] == DIGEST
    assert model["window"]["features"]["x"]["baseline_mean"] == pytest.approx(3.488), "t.csv's"
    assert model["window"]["bands"]["yeses"][0]["yes"] == 2


@pytest.mark.root
def test_the_annotation_switches_recording_off_and_on_in_the_running_pod(pod: Running) -> None:
    pod.call()
    until(lambda: pod.route()["committed_seq"] == 1, "the record")
    pod.kubelet.annotate("sidecar.dev/splice-only", "true")
    until(lambda: pod.status()["mode"] == "splice_only", "recording switched off")
    assert pod.call() == '{"predict": [1]}'
    until(lambda: pod.route()["spliced"] == 1, "the call counted")
    pod.kubelet.annotate("sidecar.dev/splice-only", None)
    until(lambda: pod.status()["mode"] == "record", "recording switched on")
    assert pod.call() == '{"predict": [1]}'
    until(lambda: pod.route()["committed_seq"] == 3, "the record")
    assert (pod.route()["shed"], pod.status()["starts"]["recorder"]) == (1, 1)


def run_of(image: str, restarts: int, started_us: int) -> Container:
    return Container(
        "i", f"registry.example/fraud@sha256:{image * 64}", f"c-{restarts}", restarts, started_us
    )


@pytest.mark.root
def test_the_controllers_annotation_says_which_image_answers_and_the_next_model_is_another(
    pod: Running,
) -> None:
    """With the sidecar's own user, without a right, in the pod's network: the change of the model is seen."""
    runs = [run_of("1", 0, time.time_ns() // 1000 - 5_000_000)]

    def digests() -> set[str]:
        return {each["digest"] for each in pod.status()["models"]}

    pod.call()
    pod.kubelet.annotate(DIGEST_ANNOTATION, digest_text("model", runs))
    until(lambda: "sha256:" + "1" * 64 in digests(), "the digest of the first container")
    pod.model.kill()
    pod.model.wait()
    time.sleep(1)
    started_us = time.time_ns() // 1000
    pod.start_model()
    until(lambda: pod.call() == '{"predict": [1]}', "the next model")
    pod.kubelet.annotate(DIGEST_ANNOTATION, digest_text("model", [*runs, run_of("2", 1, started_us)]))
    until(lambda: "sha256:" + "2" * 64 in digests(), "the digest of the next container")
    assert "unknown" not in digests()
