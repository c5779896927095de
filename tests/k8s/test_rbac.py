"""RBAC: what the manifests grant is what the commands ask for, no less and no more."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.bench.processes import free_port
from tests.support.kube_api import KubeApi
from tests.support.kubernetes_files import raw
from tests.support.model_pods import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SERVICES,
    bare_pod,
    defaults,
    injected_pod,
    namespace,
)
from tests.support.rbac import Action, GuardedApi, Rights, action_of

OBJECTS = [each for _, each in raw()]
SECRETS = "/api/v1/secrets"
NODES = "/api/v1/nodes"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
SYSTEM = "sidecar-system"


async def until(condition: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(40):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"waited: {what}")


@asynccontextmanager
async def cluster(folder: Path, rights: Rights) -> AsyncIterator[KubeApi]:
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240
    async with GuardedApi(folder, rights) as kube:
        await kube.put(NAMESPACES, namespace("risk", inject="enabled"))
        await kube.put(CONFIG_MAPS, defaults(SYSTEM, store="s3://evidence"))
        await kube.put(SERVICES, {"metadata": {"name": "fraud", "namespace": "risk"}, "spec": {}})
        await kube.put(
            NODES, {"metadata": {"name": "n"}, "status": {"nodeInfo": {"kubeletVersion": "v1.34.2"}}}
        )
        await kube.put(
            CONFIGURATIONS,
            {
                "metadata": {"name": "sidecar-webhook"},
                "webhooks": [{"name": "ours", "clientConfig": {"service": {"name": "sidecar-webhook"}}}],
            },
        )
        yield kube


@asynccontextmanager
async def command(kube: KubeApi, name: str, *more: str) -> AsyncIterator[Path]:
    """A resident command, until SIGTERM ends it; gives its log."""
    log = kube.folder / f"{name}.log"
    words = [*(sys.executable, "-m", "sidecar.cli", name), *("--admin", f"127.0.0.1:{free_port()}")]
    words += ["--api", kube.access.url, "--token-file", str(kube.access.token_file)]
    words += ["--ca-file", str(kube.access.ca_file), "--log-format", "text", *more]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*words, stdout=output, stderr=output)
    try:
        yield log
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            assert await process.wait() == 0, log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _says(log: Path, text: str) -> bool:
    return text in log.read_text()


def lease_given_up(kube: KubeApi, name: str) -> bool:
    lease = kube.get(LEASES, name, SYSTEM)
    return lease is not None and lease["spec"]["holderIdentity"] == ""


async def test_the_webhook_may_do_what_it_does_and_no_more(tmp_path: Path) -> None:
    rights = Rights(OBJECTS, "sidecar-webhook")
    for index, before in enumerate((None, {"tls.crt": "bm9uZQ==", "tls.key": "bm9uZQ=="})):
        async with cluster(tmp_path / str(index), rights) as kube:
            if before is not None:
                secret = {"metadata": {"name": "sidecar-webhook-tls", "namespace": SYSTEM}, "data": before}
                await kube.put(SECRETS, secret)
            async with command(kube, "webhook", "--listen", f"127.0.0.1:{free_port()}") as log:
                await until(partial(_says, log, "listens on"), log.name)
            assert lease_given_up(kube, "sidecar-webhook")
    assert not rights.denied
    assert not rights.unused()


async def test_the_controller_may_do_what_it_does_and_no_more(tmp_path: Path) -> None:
    rights = Rights(OBJECTS, "sidecar-controller")
    async with cluster(tmp_path, rights) as kube:
        await kube.put(PODS, injected_pod("a"))
        await kube.put(PODS, bare_pod("b", hostNetwork=True))
        async with command(kube, "controller", "--every", "1s"):
            await until(lambda: kube.all(EVENTS), "an Event")
            await until(
                lambda: (
                    "sidecar.dev/digest"
                    in (kube.get(PODS, "a", "risk") or {})["metadata"].get("annotations", {})
                ),
                "the annotation",
            )
        assert lease_given_up(kube, "sidecar-controller")
    assert not rights.denied
    # A pod is read alone when another client changed it meanwhile.
    assert rights.unused() == ["get pods"]


async def test_the_drainer_may_do_what_it_does_and_no_more(tmp_path: Path) -> None:
    rights = Rights(OBJECTS, "sidecar-drain")
    journals = tmp_path / "journals"
    journals.mkdir()
    async with cluster(tmp_path, rights) as kube:
        words = [*(sys.executable, "-m", "sidecar.cli", "drain", "--node", "n")]
        words += ["--journals", str(journals), "--store", str(tmp_path / "store"), "--api", kube.access.url]
        words += ["--token-file", str(kube.access.token_file), "--ca-file", str(kube.access.ca_file)]
        process = await asyncio.create_subprocess_exec(*words)
        async with asyncio.timeout(40):
            assert await process.wait() == 0
    assert not rights.denied
    assert not rights.unused()


async def test_who_runs_coverage_may_do_what_it_does_and_no_more(tmp_path: Path) -> None:
    role = {"kind": "ClusterRole", "name": "sidecar-coverage"}
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "b"},
        "roleRef": role,
        "subjects": [{"name": "me"}],
    }
    rights = Rights([*OBJECTS, binding], "me")
    async with cluster(tmp_path, rights) as kube:
        await kube.put(PODS, injected_pod("a"))
        access = kube.access
        cluster_of = {"server": access.url, "certificate-authority": str(access.ca_file)}
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster_of}],
            "users": [{"name": "u", "user": {"tokenFile": str(access.token_file)}}],
        }
        path = tmp_path / "config"
        path.write_text(json.dumps(config))
        for more in ((), ("--namespace", "risk")):
            words = (sys.executable, "-m", "sidecar.cli", "coverage", "--kubeconfig", str(path), *more)
            process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
            async with asyncio.timeout(40):
                out, _ = await process.communicate()
            # Its sidecar is nowhere to be asked, and that is told.
            assert (process.returncode, b"sidecar_silent" in out) == (1, True)
    assert not rights.denied
    assert not rights.unused()


@pytest.mark.parametrize(
    ("request_line", "wanted"),
    [
        (("GET", "/version", {}), Action("get", "", "", path="/version")),
        (("GET", "/api/v1/namespaces", {"watch": "1"}), Action("watch", "", "namespaces")),
        (("GET", "/api/v1/namespaces/risk", {}), Action("get", "", "namespaces", name="risk")),
        (
            ("GET", "/api/v1/configmaps", {"fieldSelector": "metadata.name=d"}),
            Action("list", "", "configmaps", name="d"),
        ),
        (("PATCH", "/api/v1/namespaces/risk/pods/p", {}), Action("patch", "", "pods", "risk", "p")),
        (
            ("GET", "/api/v1/namespaces/risk/pods/p:15190/proxy/api/v1/status", {}),
            Action("get", "", "pods/proxy", "risk", "p"),
        ),
        (
            ("POST", "/apis/coordination.k8s.io/v1/namespaces/s/leases", {}),
            Action("create", "coordination.k8s.io", "leases", "s"),
        ),
    ],
)
def test_requests_are_read_as_the_api_server_reads_them(request_line: Any, wanted: Action) -> None:
    assert action_of(*request_line) == wanted


def test_nobody_else_may_do_anything() -> None:
    bound = {
        subject["name"]
        for each in OBJECTS
        if each["kind"].endswith("RoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {"sidecar-webhook", "sidecar-controller", "sidecar-drain"}
    unbound = {each["metadata"]["name"] for each in OBJECTS if each["kind"] == "ClusterRole"} - bound
    assert unbound == {"sidecar-coverage", "sidecar-identity"}
    for each in OBJECTS:
        for rule in each.get("rules", []):
            assert "*" not in [*rule.get("resources", []), *rule["verbs"], *rule.get("apiGroups", [])]
