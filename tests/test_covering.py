"""`sidecar coverage` against a cluster of real sidecars behind the API's proxy, with kubeconfigs good and bad."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.support.certificates import client_pair
from tests.support.commands import Ran, sidecar
from tests.support.kube_api import TOKEN, KubeApi
from tests.support.model_pods import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    SERVICES,
    bare_pod,
    defaults,
    image_id,
    injected_pod,
    namespace,
)
from tests.support.running import Sidecar, model_server, running_sidecar, until

Object = dict[str, Any]


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cluster but the one that a test names."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[KubeApi]:
    async with KubeApi(tmp_path) as server:
        await furnish(server)
        yield server


async def furnish(server: KubeApi) -> None:
    await server.put(NAMESPACES, namespace("risk", inject="enabled"))
    await server.put(NAMESPACES, namespace("other"))
    await server.put(CONFIG_MAPS, defaults("sidecar-system", store="s3://evidence"))


def kubeconfig(kube: KubeApi, user: Object | None = None, cluster: Object | None = None, **more: Any) -> Path:
    """A file as `kubectl config view --raw` shows one."""
    path = kube.folder / "config"
    about = {"server": kube.access.url, "certificate-authority": "api-ca.crt"}
    who = {"token": TOKEN} if user is None else user
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": about if cluster is None else cluster}],
        "users": [{"name": "u", "user": who}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        **more,
    }
    path.write_text(yaml.safe_dump(config))
    return path


async def coverage(*arguments: object) -> Ran:
    return await asyncio.to_thread(sidecar, "coverage", *arguments)


async def table(kube: KubeApi, *more: object) -> tuple[int, dict[str, Object], str]:
    """Exit code, the pods by name, and stderr."""
    ran = await coverage("--kubeconfig", kubeconfig(kube), "--json", *more)
    assert ran.out, ran.err
    return ran.code, {each["pod"]: each for each in json.loads(ran.out)["pods"]}, ran.err


@pytest.fixture(autouse=True)
def of_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tests run side by side, their runner says how wide the terminal is."""
    monkeypatch.delenv("COLUMNS", raising=False)


# What it says of pods


async def test_every_model_pod_is_a_row_with_what_its_sidecar_says(kube: KubeApi, tmp_path: Path) -> None:
    recorder = tmp_path / "recorder"
    recorder.mkdir()
    with model_server() as model, running_sidecar(recorder, model.port) as real:
        covered = injected_pod("covered")
        covered["metadata"]["annotations"]["sidecar.dev/digest"] = json.dumps(
            {
                "v": 1,
                "container": "model",
                "epochs": [
                    {
                        "image": "registry.example/fraud:1",
                        "image_id": image_id("a"),
                        "container_id": f"containerd://{1:064x}",
                        "restart_count": 0,
                        "started_at": "2026-11-25T09:00:00Z",
                    }
                ],
            }
        )
        kube.pod_ports["risk", "covered"] = real.ports["admin"]
        left_out = bare_pod("left-out")
        left_out["metadata"]["labels"]["sidecar.dev/inject"] = "disabled"
        kserve = bare_pod("kserve", "other")
        kserve["metadata"]["labels"]["serving.kserve.io/inferenceservice"] = "fraud"
        others = [
            injected_pod("silent"),
            left_out,
            kserve,
            bare_pod("host", hostNetwork=True),
            bare_pod("missed"),
        ]
        for pod in (covered, *others, bare_pod("plain", "other"), bare_pod("proxy", "kube-system")):
            await kube.put(PODS, pod)
        for _ in range(5):
            await asyncio.to_thread(
                lambda: urllib.request.urlopen(f"http://127.0.0.1:{real.port}/", data=b"x").read()
            )
        await asyncio.to_thread(until, lambda: real.status()["store"]["rows_shipped"] >= 5, "shipping")
        code, pods, errors = await table(kube)
        assert code == 1
        assert errors.splitlines() == ["sidecar: 4 of 6 model pods are not covered"]
        assert {name: (each["state"], each["reason"]) for name, each in pods.items()} == {
            "covered": ("covered", None),
            "silent": ("uncovered", "sidecar_silent"),
            "left-out": ("left_out", None),
            "kserve": ("uncovered", "not_opted_in"),
            "host": ("uncovered", "not_injectable"),
            "missed": ("uncovered", "not_injected"),
        }
        good = pods["covered"]
        assert (good["mode"], good["digest"], good["opaque_ratio"]) == ("redirect", image_id("a"), 0.0)
        assert good["sidecar"]["exchanges"] == 5
        assert (good["sidecar"]["store_error"], good["sidecar"]["gaps"]) == (None, 0)
        assert "connection refused" in pods["silent"]["detail"]
        # As a table, and with the namespace that is all well.
        ran = await coverage("--kubeconfig", kubeconfig(kube), "--namespace", "risk")
        lines = ran.out.splitlines()
        assert lines[0].split() == [
            "NAMESPACE",
            "POD",
            "COVERED",
            "MODE",
            "OPAQUE",
            "DIGEST",
            "SHIP",
            "LAG",
            "GAPS",
            "WHY",
        ]
        assert lines[1].split() == f"risk covered yes redirect 0.0 % {'a' * 12} 0.0 s 0".split()
        assert lines[-1] == "5 model pods: 1 covered, 3 not covered, 1 left out"
        for name in ("silent", "host", "missed"):
            await kube.delete(PODS, name, "risk")
        ran = await coverage("--kubeconfig", kubeconfig(kube), "-n", "risk")
        assert (ran.code, ran.err) == (0, "")
        # What the sidecar could not read shows; all of it unread is not covered.
        await asyncio.to_thread(tls_hello, real.port)
        _, pods, _ = await table(kube, "-n", "risk")
        assert 0 < pods["covered"]["opaque_ratio"] < 1
        assert pods["covered"]["sidecar"]["opaque_tls"] == 1


def tls_hello(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x16\x03\x01\x00\xa5" + b"x" * 165)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


async def test_a_sidecar_that_is_asked_directly_answers_the_same(kube: KubeApi, tmp_path: Path) -> None:
    """At the pod's own address, on the port that injection gives the sidecar."""
    recorder = tmp_path / "recorder"
    recorder.mkdir()
    with model_server() as model:
        real = Sidecar(recorder, model.port, admin="127.0.0.77:15190")
        pod = injected_pod("near")
        pod["status"]["podIP"] = "127.0.0.77"
        far = injected_pod("far")
        far["status"]["podIP"] = "127.0.0.78"
        for each in (pod, far):
            await kube.put(PODS, each)
        try:
            await asyncio.to_thread(real.launch)
            async with asyncio.timeout(60):
                while (pods := (await table(kube, "--through", "network"))[1])["near"]["state"] != "covered":
                    await asyncio.sleep(0.5)
        finally:
            await asyncio.to_thread(real.end)
        assert pods["far"]["reason"] == "sidecar_silent"


async def test_many_silent_sidecars_take_bounded_time_and_each_is_told(kube: KubeApi) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    kube.page = 500
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for number in range(40):
        await kube.put(PODS, injected_pod(f"p{number}"))
        kube.pod_ports["risk", f"p{number}"] = port
    loop = asyncio.get_running_loop()
    started = loop.time()
    code, pods, _ = await table(kube, "--timeout", "1s", "--within", "2s")
    server.close()
    assert code == 1
    assert loop.time() - started < 10
    assert len(pods) == 40
    details = [each["detail"] for each in pods.values()]
    assert set(details) == {"no answer in 1 s", "not asked: the time for all of them was over"}
    assert details.count("no answer in 1 s") >= 16, "so many are asked at once"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"<html>", "its answer is no JSON"),
        (b'{"mode": "fast"}', "its answer is no status of a sidecar"),
        (
            b'{"mode": "record", "routes": {"a": {"opaque": 3}}, "gaps": [], "store": {"lag_seconds": "x"}}',
            "",
        ),
    ],
)
async def test_a_strange_answer_is_told_and_never_a_crash(kube: KubeApi, body: bytes, detail: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/api/v1/status", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kube.pod_ports["risk", "odd"] = runner.addresses[0][1]
    await kube.put(PODS, injected_pod("odd"))
    _, pods, _ = await table(kube)
    await runner.cleanup()
    assert pods["odd"]["state"] == ("uncovered" if detail else "covered")
    assert pods["odd"]["detail"] == (detail or "no traffic yet")


async def test_labels_of_ones_own_and_none_of_others(kube: KubeApi) -> None:
    kserve, ours = bare_pod("kserve", "other"), bare_pod("ours", "other")
    kserve["metadata"]["labels"]["serving.kserve.io/inferenceservice"] = "fraud"
    ours["metadata"]["labels"]["team.example/model"] = "yes"
    for pod in (kserve, ours):
        await kube.put(PODS, pod)
    assert list((await table(kube))[1]) == ["kserve"]
    assert list((await table(kube, "--also", "team.example/model=yes"))[1]) == ["kserve", "ours"]
    assert list((await table(kube, "--also", "team.example/model", "--labelled-only"))[1]) == ["ours"]
    code, pods, errors = await table(kube, "--also", "team.example/model=no", "--labelled-only")
    assert (code, pods) == (0, {})
    assert (
        errors
        == "sidecar: no model pods in the cluster: label a namespace or pods sidecar.dev/inject: enabled\n"
    )


async def test_settings_of_the_namespace_and_of_the_cluster_decide_what_can_be_injected(
    kube: KubeApi,
) -> None:
    await kube.put(PODS, bare_pod("missed"))
    for of, reason in (
        ("elsewhere", "not_injectable"),
        ("risk", "not_injected"),
        ("sidecar-system", "not_injected"),
    ):
        for each in kube.all(CONFIG_MAPS):
            await kube.delete(CONFIG_MAPS, "sidecar-defaults", each["metadata"]["namespace"])
        await kube.put(CONFIG_MAPS, defaults(of, store="s3://evidence"))
        for arguments in ((), ("-n", "risk")):
            _, pods, _ = await table(kube, *arguments)
            assert pods["missed"]["reason"] == reason, (of, arguments)


async def test_rights_that_are_missing_are_told_and_only_what_can_be_said_is_said(kube: KubeApi) -> None:
    await kube.put(PODS, injected_pod("fraud"))
    await kube.put(SERVICES, {"metadata": {"name": "s", "namespace": "risk"}, "spec": {}})
    kube.forbidden = {"/proxy/", SERVICES}
    code, pods, errors = await table(kube)
    assert code == 1
    assert pods["fraud"]["detail"].startswith("may not be asked: grant get on pods/proxy")
    assert "Services may not be listed" in errors
    kube.forbidden = {PODS}
    ran = await coverage("--kubeconfig", kubeconfig(kube))
    assert (ran.code, ran.out) == (1, "")
    (line,) = ran.err.splitlines()
    assert "/api/v1/pods" in line
    assert line.endswith("grant it to the user who asks")
    ran = await coverage("--kubeconfig", kubeconfig(kube), "-n", "nowhere")
    assert (ran.code, ran.err) == (1, "sidecar: GET /api/v1/namespaces/nowhere: 404 nowhere not found\n")


# How it reaches the cluster


async def one_line(kube: KubeApi, *arguments: object, **config: Any) -> tuple[int, str]:
    ran = await coverage("--kubeconfig", kubeconfig(kube, **config), *arguments)
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    return ran.code, line.removeprefix("sidecar: ").replace(str(kube.folder), "~")


async def test_the_context_that_is_named_and_files_beside_the_kubeconfig(kube: KubeApi) -> None:
    (kube.folder / "mine").write_text(TOKEN)
    contexts = [
        {"name": "here", "context": {"cluster": "c", "user": "nobody"}},
        {"name": "there", "context": {"cluster": "c", "user": "u"}},
    ]
    code, line = await one_line(kube, contexts=contexts)
    assert (code, line) == (2, "~/config: has no user nobody: it has u")
    code, line = await one_line(kube, "--context", "nowhere", contexts=contexts)
    assert (code, line) == (2, "~/config: has no context nowhere: it has here, there")
    path = kubeconfig(kube, user={"tokenFile": "mine"}, contexts=contexts)
    assert (await coverage("--kubeconfig", path, "--context", "there")).code == 0


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    authority, certificate, key = client_pair("me")
    async with KubeApi(tmp_path, client_authority=authority) as kube:
        await furnish(kube)
        data = {
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": base64.b64encode(key).decode(),
        }
        assert (await coverage("--kubeconfig", kubeconfig(kube, user=data))).code == 0
        code, line = await one_line(kube, user=data | {"client-key-data": data["client-certificate-data"]})
        assert code == 1
        assert "certificate and key do not fit" in line
        code, line = await one_line(kube, user={"client-certificate-data": data["client-certificate-data"]})
        assert code == 2
        assert line.endswith("a client certificate takes client-certificate and client-key, both")
        code, line = await one_line(kube, user={})
        assert (code, "401 Unauthorized" in line) == (1, True)


async def test_whom_the_server_must_be(kube: KubeApi) -> None:
    about = {
        "server": kube.access.url.replace("localhost", "127.0.0.1"),
        "certificate-authority": "api-ca.crt",
    }
    code, line = await one_line(kube, cluster=about)
    assert (code, "not valid for '127.0.0.1'" in line) == (1, True)
    for more in ({"tls-server-name": "localhost"}, {"insecure-skip-tls-verify": True}):
        assert (await coverage("--kubeconfig", kubeconfig(kube, cluster=about | more))).code == 0
    code, line = await one_line(kube, cluster={"server": kube.access.url})
    assert (code, "certificate verify failed" in line) == (1, True)


async def test_an_expired_certificate_of_the_api_is_one_line(tmp_path: Path) -> None:
    async with KubeApi(tmp_path, since=datetime.now(UTC) - timedelta(days=1000)) as kube:
        code, line = await one_line(kube)
        assert (code, "certificate has expired" in line) == (1, True)
        assert kube.requests == []


async def test_an_api_that_is_not_there_is_one_line(kube: KubeApi) -> None:
    await kube.stop()
    code, line = await one_line(kube)
    assert code == 1
    assert line.endswith("see that the API is reachable")


def plugin(script: str, **more: Any) -> Object:
    version = "client.authentication.k8s.io/v1"
    asked = {"apiVersion": version, "command": sys.executable, "args": ["-c", script], **more}
    return {"exec": asked}


GIVES = """
import json, os
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert asked["spec"]["cluster"]["server"].startswith("https://localhost:"), asked
assert asked["spec"]["cluster"]["config"] == {"audience": "us"}, asked
assert os.environ["REGION"] == "eu" and os.environ["PATH"]
print(json.dumps({"kind": "ExecCredential", "apiVersion": asked["apiVersion"], "status": {"token": "%s"}}))
"""


async def test_exec_plugins_are_run_as_kubectl_runs_them(kube: KubeApi) -> None:
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "us"}}
    about = {
        "server": kube.access.url,
        "certificate-authority": "api-ca.crt",
        "extensions": [extension],
    }
    user = plugin(GIVES % TOKEN, provideClusterInfo=True, env=[{"name": "REGION", "value": "eu"}])
    ran = await coverage("--kubeconfig", kubeconfig(kube, user=user, cluster=about))
    assert (ran.code, ran.err) == (0, NO_PODS)


NO_PODS = "sidecar: no model pods in the cluster: label a namespace or pods sidecar.dev/inject: enabled\n"


@pytest.mark.parametrize(
    ("user", "code", "words"),
    [
        (plugin("raise SystemExit('log in first')"), 1, "ended with 1: log in first"),
        (plugin("print('{}')"), 1, "its output is no ExecCredential"),
        (plugin("print('{\"status\": {}}')"), 1, "gave neither a token nor a certificate"),
        (
            plugin("", command="no-such-plugin"),
            1,
            "exec plugin no-such-plugin: No such file or directory: install it",
        ),
        (plugin("", apiVersion="client.authentication.k8s.io/v1alpha1"), 2, "apiVersion"),
        (plugin("", interactiveMode="Always"), 2, "wants to ask at a terminal"),
        ({"auth-provider": {"name": "gcp"}}, 2, "auth-provider is not supported: use an exec plugin"),
        ({"token": TOKEN, "as": "admin"}, 2, "as is not supported: impersonation is not done"),
        ({"username": "me", "password": "x"}, 2, "username is not supported"),
        ({"client-certificate-data": "%%"}, 2, "client-certificate-data is no base64"),
        ({"client-certificate": "none.crt"}, 2, "client-certificate: none.crt: No such file or directory"),
        ({"tokenFile": "none"}, 1, "No such file or directory"),
    ],
)
async def test_a_user_that_cannot_be_is_one_line(kube: KubeApi, user: Object, code: int, words: str) -> None:
    assert (await one_line(kube, user=user)) == (code, await one_line_with(kube, user, words))


async def one_line_with(kube: KubeApi, user: Object, words: str) -> str:
    _, line = await one_line(kube, user=user)
    assert words in line
    assert TOKEN not in line
    return line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "is no kubeconfig"),
        ("a: [\n", "is no YAML at line 2"),
        ("kind: Config\n", "has no current context: give --context NAME"),
        ("kind: Pod\n", "is no kubeconfig"),
        ("kind: Config\nclusters: 3\n", "clusters is no list"),
        ("kind: Config\ncurrent-context: a\n", "has no context a: it has none"),
    ],
)
async def test_a_file_that_is_no_kubeconfig_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    ran = await coverage("--kubeconfig", path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert words in ran.err


async def test_where_the_cluster_is_told(kube: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await coverage()
    assert (ran.code, ran.err) == (
        2,
        "sidecar: coverage: no cluster: give --kubeconfig FILE, or set KUBECONFIG\n",
    )
    ran = await coverage("--kubeconfig", kube.folder / "missing")
    assert ran.code == 2
    assert "No such file or directory: give a kubeconfig that can be read" in ran.err
    path = kubeconfig(kube)
    other = kube.folder / "second"
    other.write_text(yaml.safe_dump({"kind": "Config", "current-context": "elsewhere", "contexts": []}))
    # As kubectl merges a list: what is missing is skipped, and the first that names a context wins.
    monkeypatch.setenv("KUBECONFIG", f"{kube.folder}/missing:{path}:{other}")
    assert (await coverage()).code == 0
    monkeypatch.delenv("KUBECONFIG")
    usual = kube.folder / ".kube" / "config"
    usual.parent.mkdir()
    text = path.read_text().replace("api-ca.crt", str(kube.access.ca_file))
    usual.write_text(text)
    assert (await coverage()).code == 0
    usual.unlink()
    # As in a pod, with its service account mounted elsewhere, and nowhere.
    port = kube.access.url.rpartition(":")[2]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT_HTTPS", port)
    account = ("--token-file", kube.access.token_file, "--ca-file", kube.access.ca_file)
    ran = await coverage(*account)
    assert (ran.code, ran.err) == (0, NO_PODS)
    ran = await coverage("--token-file", kube.folder / "gone", "--ca-file", kube.access.ca_file)
    assert (ran.code, "service account" in ran.err) == (1, True)
    ran = await coverage("--context", "here")
    assert (ran.code, "--context is of a kubeconfig" in ran.err) == (2, True)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    usual.write_text("no kubeconfig at all")
    assert (await coverage("--api", kube.access.url, *account)).code == 0


@pytest.mark.parametrize("name", ["", "Risk", "risk/../other", "a" * 64, "risk\n"])
async def test_a_namespace_that_can_be_none_is_a_usage_error(kube: KubeApi, name: str) -> None:
    ran = await coverage("--kubeconfig", kubeconfig(kube), "--namespace", name)
    assert (ran.code, len(ran.err.splitlines()), ran.out) == (2, 1, "")
    assert "is no name of a namespace" in ran.err


async def test_a_namespace_that_is_named_twice_is_listed_once(kube: KubeApi) -> None:
    await kube.put(PODS, bare_pod("missed"))
    ran = await coverage("--kubeconfig", kubeconfig(kube), "--json", "-n", "risk", "-n", "risk")
    assert json.loads(ran.out)["summary"]["pods"] == 1


async def test_lines_are_as_long_as_they_are_but_on_a_terminal(
    kube: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kube.put(PODS, bare_pod("fraud-predictor-default-00001-deployment-7d9c5b6f47", hostNetwork=True))
    piped = await coverage("--kubeconfig", kubeconfig(kube))
    monkeypatch.setenv("COLUMNS", "80")
    narrow = await coverage("--kubeconfig", kubeconfig(kube))
    assert len(piped.out.splitlines()) == 3
    assert max(map(len, piped.out.splitlines())) > 140
    assert max(map(len, narrow.out.splitlines())) <= 80
    assert narrow.out.split()[-8:] == piped.out.split()[-8:]


def test_a_user_without_a_name_or_home_is_told_to_name_a_cluster() -> None:
    """As a container may have one: without an entry in /etc/passwd."""
    if os.getuid() != 0:
        pytest.skip("only root may become another user")
    program = (
        "import os, sidecar.covering; from sidecar.cli import main; "
        "os.setuid(54321); os.environ.pop('HOME', None); main(['coverage'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no cluster: give --kubeconfig FILE" in done.stderr
