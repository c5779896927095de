"""How an injected pod ends: the model first, then the sidecar, which ships the rest within the grace period."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import sidecar
from tests.support.evidence import read_evidence
from tests.support.kubelet import Kubelet
from tests.support.pod_network import POD_4, PodNetwork, pod_network
from tests.support.running import until
from tests.test_injected_pod import MODEL

Object = dict[str, Any]
BUCKET = """
import http.server, pathlib, sys, urllib.parse

class Bucket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = pathlib.Path(sys.argv[1] + urllib.parse.unquote(self.path))
        data = path.read_bytes() if path.exists() else b""
        self.send_response(200 if path.exists() else 404)
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Wed, 25 Nov 2026 10:00:00 GMT")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        path = pathlib.Path(sys.argv[1] + urllib.parse.unquote(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if sys.argv[2] == "hangs":
            import time; time.sleep(3600)
        path.write_bytes(data)
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Bucket).serve_forever()
"""


def injected(kind: str, grace_s: int, folder: Path, **more: str) -> Object:
    """The pod template that `sidecar inject` makes of a workload of that kind."""
    container = {"name": "model", "image": "registry.example/fraud:1", "ports": [{"containerPort": 8080}]}
    spec: Object = {"containers": [container], "terminationGracePeriodSeconds": grace_s}
    annotations = {
        "sidecar.dev/store-secret": "s3-writer",
        "sidecar.dev/store-endpoint": "http://127.0.0.1:9000",
        "sidecar.dev/store-region": "eu-west-1",
        **{f"sidecar.dev/{key.replace('_', '-')}": value for key, value in more.items()},
    }
    template: Object = {"metadata": {"labels": {"app": "fraud"}, "annotations": annotations}, "spec": spec}
    workload: Object = {"kind": kind, "apiVersion": "apps/v1", "metadata": {"name": "fraud"}}
    workload["spec"] = {"template": template}
    if kind != "Deployment":
        workload["apiVersion"] = "batch/v1"
        spec["restartPolicy"] = "Never"
    if kind == "CronJob":
        workload["spec"] = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}}
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(workload))
    done = sidecar("inject", "-f", path, "--set", "store=s3://evidence/records", "--strict")
    assert done.code == 0, done.err
    made: Object = yaml.safe_load(done.out)["spec"]
    found: Object = (made["jobTemplate"]["spec"] if kind == "CronJob" else made)["template"]
    return found


class Pod:
    """One pod whose every container runs, in kubelet's order."""

    def __init__(self, network: PodNetwork, folder: Path, template: Object, bucket: str) -> None:
        secrets = {"s3-writer": {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": b"key"}}
        self.network, self.folder = network, folder
        self.kubelet = Kubelet(network, folder, template, {}, secrets)
        store = (sys.executable, "-c", BUCKET, str(folder / "bucket"), bucket)
        network.start(network.pod, *store, log=folder / "bucket.log")
        self.sidecar = self.kubelet.start("sidecar")
        until(lambda: self.kubelet.probe("sidecar", "readinessProbe") or None, "the sidecar")
        self.kubelet.run("sidecar-intercept")
        self.model = network.start(network.pod, sys.executable, "-c", MODEL, log=folder / "model.log")
        until(lambda: self.call() or None, "the model")

    @property
    def records(self) -> Path:
        return self.folder / "bucket" / "evidence" / "records"

    def call(self) -> bool:
        """One request from another pod."""
        words = ("curl", "-gsSf", "--noproxy", "*", "-m", "5", f"http://{POD_4}:8080/predict")
        done = self.network.run(self.network.client, *words, "-d", '{"id": "x"}')
        return done.returncode == 0

    def end(self) -> float:
        """The model has ended; kubelet tells the sidecar. Seconds until it had ended too."""
        self.model.terminate()
        self.model.wait(10)
        began_s = time.monotonic()
        self.sidecar.send_signal(signal.SIGTERM)
        self.sidecar.wait(60)
        return time.monotonic() - began_s


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    with pod_network("sie") as network:

        def made(kind: str = "Deployment", grace_s: int = 30, bucket: str = "takes", **more: str) -> Pod:
            template = injected(kind, grace_s, tmp_path, **more)
            template["metadata"]["name"] = "fraud-x1"
            return Pod(network, tmp_path, template, bucket)

        yield made


@pytest.mark.root
@pytest.mark.parametrize("kind", ["Job", "CronJob", "Deployment"])
def test_when_the_model_has_ended_the_sidecar_ships_the_rest_and_ends_with_0(
    begin: Callable[..., Pod], kind: str
) -> None:
    pod = begin(kind)
    assert all(pod.call() for _ in range(20))
    assert not pod.records.exists(), "a batch is 30 s old before it is shipped"
    took_s = pod.end()
    assert pod.sidecar.returncode == 0, "a Job with a failed container is no complete Job"
    assert took_s < 30
    assert len(read_evidence(pod.records).exchanges) >= 21
    ran = sidecar("verify", "--store", pod.records, "--json")
    assert ran.code == 0
    assert '"closed":true' in ran.out.replace(" ", "")


@pytest.mark.root
@pytest.mark.parametrize("grace_s", [30, 10, 5])
def test_a_store_that_never_answers_keeps_the_pod_no_longer_than_its_grace_period(
    begin: Callable[..., Pod], grace_s: int
) -> None:
    pod = begin(grace_s=grace_s, bucket="hangs")
    assert pod.call()
    assert pod.end() < grace_s
    assert pod.sidecar.returncode == 0


@pytest.mark.root
def test_a_pod_killed_with_its_journal_on_the_node_is_drained_by_the_same_unprivileged_user(
    begin: Callable[..., Pod],
) -> None:
    pod = begin(journal_volume="hostPath:/var/lib/sidecar-journals")
    assert all(pod.call() for _ in range(20))
    time.sleep(0.5)
    pod.sidecar.kill()
    pod.sidecar.wait()
    journals = pod.folder / "volumes" / "sidecar-journal"
    assert [each.name for each in journals.iterdir()] == ["risk_fraud-x1_u-1"]
    drainer = pod.kubelet.container("sidecar") | {
        "command": ["sidecar", "drain"],
        "args": ["--journals", "/journals", "--store", "s3://evidence/records", "--after", "0s"],
        "volumeMounts": [{"name": "sidecar-journal", "mountPath": "/journals"}],
        "env": [
            {"name": "SIDECAR_STORE_ENDPOINT", "value": "http://127.0.0.1:9000"},
            {"name": "SIDECAR_STORE_REGION", "value": "eu-west-1"},
        ],
    }

    def drained() -> bool | None:
        # The children of what was killed hold its lock for a moment.
        done = pod.kubelet.run_beside(drainer)
        assert done.returncode == 0, done.stderr
        return not list(journals.iterdir()) or None

    until(drained, "the journal drained")
    found = read_evidence(pod.records)
    assert len(found.exchanges) + found.missing_count >= 21
    assert sidecar("verify", "--store", pod.records).code == 0


def test_a_job_gets_no_plain_container_which_would_keep_it_from_ending(tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    injected_job = injected("Job", 30, tmp_path)
    assert [each["name"] for each in injected_job["spec"]["containers"]] == ["model"]
    (native, _) = injected_job["spec"]["initContainers"]
    assert (native["name"], native["restartPolicy"]) == ("sidecar", "Always")
    manifest.write_text((tmp_path / "workload.yaml").read_text())
    ran = sidecar("inject", "-f", manifest, "--set", "store=s3://e/r", "--set", "native=off", "--strict")
    assert ran.code == 1
    assert "would keep it from ending" in ran.err
