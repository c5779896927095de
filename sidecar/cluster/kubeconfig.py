"""A kubeconfig → how to reach the API as its current context says, as kubectl does.

Files are merged as kubectl merges the list in KUBECONFIG: of two entries of one
name the first wins. Taken are tokens and their files, client certificates, and
exec plugins; whatever else would change who asks is refused, not left out.
"""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sidecar.cluster.api import Access
from sidecar.errors import ClusterError, UsageError

_LISTS = ("clusters", "contexts", "users")
_MOST_BYTES = 4 * 2**20
_PLUGIN_TIMEOUT_S = 60.0
_PLUGIN_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_REFUSED_OF_USER = {
    "auth-provider": "use an exec plugin, which has replaced it",
    "username": "use a token, a client certificate or an exec plugin",
    "password": "use a token, a client certificate or an exec plugin",
    "as": "impersonation is not done: use a context whose user asks for itself",
    "as-uid": "impersonation is not done: use a context whose user asks for itself",
    "as-groups": "impersonation is not done: use a context whose user asks for itself",
    "as-user-extra": "impersonation is not done: use a context whose user asks for itself",
}
_REFUSED_OF_CLUSTER = {"proxy-url": "proxies are not used: reach the API directly, or through a tunnel"}

Plugin = Callable[[Sequence[str], Mapping[str, str]], str]
"""Runs a command with these variables beside its own and gives its output. Raises ClusterError."""


def read(paths: Iterable[Path], context: str | None, plugin: Plugin) -> tuple[Access, str | None]:
    """The access of a context (the current one without a name), and its namespace.

    Raises UsageError for a kubeconfig that cannot be used, ClusterError for a plugin that fails.
    """
    files = list(paths)
    merged = _merged(files)
    shown = ", ".join(str(path) for path in files)
    name = context or merged["current-context"]
    if not name:
        raise UsageError(f"{shown}: has no current context: give --context NAME")
    chosen = _named(merged, "contexts", name, "context", shown)
    cluster, folder = _entry(chosen, "cluster", merged, shown)
    user, user_folder = _entry(chosen, "user", merged, shown) if chosen.get("user") else ({}, folder)
    try:
        access = _access(cluster, folder, user, user_folder, plugin)
    except _Wrong as wrong:
        raise UsageError(f"{shown}: context {name}: {wrong}") from wrong.__cause__
    namespace = chosen.get("namespace")
    return access, str(namespace) if namespace else None


class _Wrong(Exception):
    """What is wrong with an entry."""


def _merged(paths: Sequence[Path]) -> dict[str, Any]:
    found: dict[str, Any] = {"current-context": ""} | {each: {} for each in _LISTS}
    for path in paths:
        config = _file(path)
        found["current-context"] = found["current-context"] or str(config.get("current-context") or "")
        for kind in _LISTS:
            entries = config.get(kind) or []
            if not isinstance(entries, list):
                raise UsageError(f"{path}: {kind} is no list: it is no kubeconfig")
            for entry in entries:
                if isinstance(entry, dict) and isinstance(entry.get(kind[:-1]), dict):
                    found[kind].setdefault(str(entry.get("name")), (entry[kind[:-1]], path.parent))
    return found


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: give a kubeconfig that can be read") from error
    try:
        value = yaml.safe_load(data) if len(data) <= _MOST_BYTES else None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise UsageError(f"{path}: is no YAML{line}: give a kubeconfig") from error
    if not isinstance(value, dict) or value.get("kind", "Config") != "Config":
        raise UsageError(f"{path}: is no kubeconfig: `kubectl config view --raw` shows one")
    return value


def _named(merged: Mapping[str, Any], kind: str, name: str, word: str, shown: str) -> dict[str, Any]:
    if name not in merged[kind]:
        known = ", ".join(sorted(merged[kind])) or "none"
        raise UsageError(f"{shown}: has no {word} {name}: it has {known}")
    entry: dict[str, Any] = merged[kind][name][0]
    return entry


def _entry(
    context: Mapping[str, Any], word: str, merged: Mapping[str, Any], shown: str
) -> tuple[dict[str, Any], Path]:
    name = str(context.get(word) or "")
    entry = _named(merged, f"{word}s", name, word, shown)
    return entry, merged[f"{word}s"][name][1]


def _access(
    cluster: Mapping[str, Any], folder: Path, user: Mapping[str, Any], user_folder: Path, plugin: Plugin
) -> Access:
    for entry, refused in ((cluster, _REFUSED_OF_CLUSTER), (user, _REFUSED_OF_USER)):
        for field, remedy in refused.items():
            if entry.get(field):
                raise _Wrong(f"{field} is not supported: {remedy}")
    server = str(cluster.get("server") or "")
    if not server.startswith(("https://", "http://")):
        raise _Wrong(f"server {server!r} is no URL")
    verify = cluster.get("insecure-skip-tls-verify") is not True
    ca = _bytes(cluster, "certificate-authority", folder) if verify else None
    token, token_file = user.get("token"), user.get("tokenFile")
    certificate = _bytes(user, "client-certificate", user_folder)
    key = _bytes(user, "client-key", user_folder)
    if token is None and token_file is None and certificate is None and isinstance(user.get("exec"), dict):
        about = {
            "server": server,
            "tls-server-name": cluster.get("tls-server-name"),
            "insecure-skip-tls-verify": not verify,
            "certificate-authority-data": base64.b64encode(ca).decode() if ca else None,
            "config": _extension(cluster),
        }
        token, certificate, key = _executed(user["exec"], user_folder, about, plugin)
    if (certificate is None) != (key is None):
        raise _Wrong("a client certificate takes client-certificate and client-key, both")
    return Access(
        server.rstrip("/"),
        token_file=user_folder / str(token_file) if token_file else None,
        token=str(token) if token is not None else None,
        ca=ca,
        certificate=certificate,
        key=key,
        server_name=cluster.get("tls-server-name") or None,
        verify=verify,
    )


def _bytes(entry: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    """`KEY-data` in base64, which wins, or the file that `KEY` names, from the kubeconfig's folder."""
    data, name = entry.get(f"{key}-data"), entry.get(key)
    try:
        if data:
            return base64.b64decode(str(data), validate=True)
        return (folder / str(name)).read_bytes() if name else None
    except binascii.Error as error:
        raise _Wrong(f"{key}-data is no base64") from error
    except OSError as error:
        raise _Wrong(f"{key}: {name}: {error.strerror}") from error


def _extension(cluster: Mapping[str, Any]) -> Any:
    """What a cluster's entry holds for its exec plugin."""
    for each in cluster.get("extensions") or []:
        if isinstance(each, dict) and each.get("name") == "client.authentication.k8s.io/exec":
            return each.get("extension")
    return None


def _executed(
    asked: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any], plugin: Plugin
) -> tuple[str | None, bytes | None, bytes | None]:
    """Token, certificate and key that a plugin gives (client.authentication.k8s.io)."""
    version = str(asked.get("apiVersion"))
    if version not in _PLUGIN_VERSIONS:
        raise _Wrong(f"the exec plugin's apiVersion {version} is none of {', '.join(_PLUGIN_VERSIONS)}")
    if asked.get("interactiveMode") == "Always":
        raise _Wrong("the exec plugin wants to ask at a terminal: use one that does not")
    command = str(asked.get("command") or "")
    if not command:
        raise _Wrong("the exec plugin has no command")
    # Like kubectl: a path is meant from the kubeconfig's folder, a bare name is looked up.
    program = str(folder / command) if "/" in command else command
    arguments = [str(each) for each in asked.get("args") or []]
    variables = {str(each.get("name")): str(each.get("value")) for each in asked.get("env") or []}
    spec: dict[str, Any] = {"interactive": False}
    if asked.get("provideClusterInfo"):
        spec["cluster"] = {key: value for key, value in cluster.items() if value}
    said = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    text = plugin([program, *arguments], variables | {"KUBERNETES_EXEC_INFO": json.dumps(said)})
    try:
        credential = json.loads(text)
        status = credential["status"]
        token = status.get("token")
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ClusterError(
            f"exec plugin {command}: its output is no ExecCredential: run it by hand"
        ) from error
    if not token and not (certificate and key):
        raise ClusterError(f"exec plugin {command}: gave neither a token nor a certificate: run it by hand")
    pair = (str(certificate).encode(), str(key).encode()) if certificate and key else (None, None)
    return (str(token) if token else None, *pair)


def run_plugin(environment: Mapping[str, str]) -> Plugin:
    """A Plugin that runs the command as a process of this environment."""

    def run(command: Sequence[str], variables: Mapping[str, str]) -> str:
        try:
            done = subprocess.run(
                list(command),
                env={**environment, **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PLUGIN_TIMEOUT_S,
                check=False,
            )
        except OSError as error:
            raise ClusterError(f"exec plugin {command[0]}: {error.strerror}: install it") from error
        except subprocess.TimeoutExpired as error:
            raise ClusterError(
                f"exec plugin {command[0]}: no answer in {_PLUGIN_TIMEOUT_S:.0f} s: run it by hand"
            ) from error
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())[-300:]
            raise ClusterError(f"exec plugin {command[0]}: ended with {done.returncode}: {said or 'no word'}")
        return done.stdout.decode(errors="replace")

    return run
