"""Kubeconfigs as kubectl reads them: kubectl itself is asked for the same cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.cluster.api import Api
from sidecar.cluster.kubeconfig import read, run_plugin
from sidecar.errors import ClusterError
from tests.support.certificates import client_pair
from tests.support.kube_api import TOKEN, KubeApi

Object = dict[str, Any]
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
GIVES = f"""
import json, os
version = json.loads(os.environ["KUBERNETES_EXEC_INFO"])["apiVersion"]
print(json.dumps({{"kind": "ExecCredential", "apiVersion": version, "status": {{"token": "{TOKEN}"}}}}))
"""


def plugin(version: str) -> Object:
    name = f"client.authentication.k8s.io/{version}"
    mode = {"interactiveMode": "IfAvailable"}
    return {"exec": {"apiVersion": name, "command": sys.executable, "args": ["-c", GIVES], **mode}}


USERS: dict[str, Object] = {
    "a token": {"token": TOKEN},
    "a token's file beside it": {"tokenFile": "token"},
    "the file wins": {"token": "wrong", "tokenFile": "token"},
    "a certificate in it": {"client-certificate-data": "CERT", "client-key-data": "KEY"},
    "a certificate's files beside it": {"client-certificate": "client.crt", "client-key": "client.key"},
    "a plugin": plugin("v1"),
    "a plugin of the older version": plugin("v1beta1"),
    "a wrong token": {"token": "wrong"},
    "nobody": {},
}


def kubectl(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": path}
    return subprocess.run(
        ["kubectl", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


async def ours(paths: list[Path], context: str | None = None) -> bool:
    """Whether the API lets us in."""
    access, _ = read(paths, context, run_plugin(os.environ))
    async with Api(access, tries=1) as api:
        try:
            await api.get("/version")
        except ClusterError as error:
            assert error.status == 401, error
            return False
    return True


@needs_kubectl
@pytest.mark.parametrize("name", USERS)
async def test_kubectl_is_let_in_with_the_same_files(tmp_path: Path, name: str) -> None:
    authority, certificate, key = client_pair("me")
    data = {"CERT": base64.b64encode(certificate).decode(), "KEY": base64.b64encode(key).decode()}
    user = {field: data.get(str(value), value) for field, value in USERS[name].items()}
    (tmp_path / "client.crt").write_bytes(certificate)
    (tmp_path / "client.key").write_bytes(key)
    async with KubeApi(tmp_path, client_authority=authority) as kube:
        path = tmp_path / "config"
        path.write_text(config(kube, user))
        theirs = await asyncio.to_thread(kubectl, str(path), "get", "--raw", "/version")
        assert (theirs.returncode == 0) == (name not in ("a wrong token", "nobody")), theirs.stderr
        assert await ours([path]) == (theirs.returncode == 0)


def config(kube: KubeApi, user: Object) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [
                {"name": "c", "cluster": {"server": kube.access.url, "certificate-authority": "api-ca.crt"}}
            ],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "risk"}}],
        }
    )


@needs_kubectl
def test_several_files_are_merged_as_kubectl_merges_them(tmp_path: Path) -> None:
    def write(name: str, current: str, server: str, token: str) -> Path:
        path = tmp_path / name
        entry: Object = {"kind": "Config", "apiVersion": "v1", "current-context": current}
        entry["clusters"] = [{"name": "c", "cluster": {"server": server}}]
        entry["users"] = [{"name": "u", "user": {"token": token}}, {"name": name, "user": {"token": name}}]
        entry["contexts"] = [
            {"name": name, "context": {"cluster": "c", "user": name}},
            {"name": "shared", "context": {"cluster": "c", "user": "u"}},
        ]
        path.write_text(yaml.safe_dump(entry))
        return path

    first = write("first", "", "https://one.example:6443", "one")
    second = write("second", "second", "https://two.example:6443", "two")
    for paths in ([first, second], [second, first]):
        for context in (None, "first", "shared"):
            flags = ["--context", context] if context else []
            shown = kubectl(
                ":".join(map(str, paths)), "config", "view", "--minify", "--raw", "-o", "json", *flags
            )
            theirs = json.loads(shown.stdout)
            access, _ = read(paths, context, run_plugin({}))
            assert access.url == theirs["clusters"][0]["cluster"]["server"]
            assert access.token == theirs["users"][0]["user"]["token"]


def test_the_namespace_of_the_context_is_told_and_secrets_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "config"
    entry = {
        "clusters": [{"name": "c", "cluster": {"server": "https://one.example"}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "risk"}}],
    }
    path.write_text(yaml.safe_dump(entry))
    access, namespace = read([path], "x", run_plugin({}))
    assert namespace == "risk"
    assert "secret-token" not in repr(access)
