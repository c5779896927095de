"""RBAC as the API server applies it, over the objects that an installation brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.kube_api import KubeApi

Object = dict[str, Any]


@dataclass(frozen=True)
class Action:
    """What a request asks for."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    path: str = ""
    """Of a request that is about no resource."""


def action_of(method: str, path: str, query: Mapping[str, str]) -> Action:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return Action(method.lower(), "", "", path=path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource, name, *deeper = [*rest, ""][:3] if len(rest) > 1 else [rest[0], ""]
    if deeper and deeper[0]:
        resource = f"{resource}/{deeper[0]}"
        name = name.partition(":")[0]
    selector = dict(part.split("=", 1) for part in query.get("fieldSelector", "").split(",") if "=" in part)
    if not name and method == "GET":
        # A list of one named object counts as a request for that name.
        name = selector.get("metadata.name", "")
        verb = "watch" if query.get("watch") else "list"
    else:
        verb = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
    return Action(verb, group, resource, namespace, name)


class Rights:
    """What one ServiceAccount may do, and which of it was made use of."""

    def __init__(self, objects: Iterable[Object], account: str) -> None:
        every = list(objects)
        self.rules: list[tuple[str, Object]] = []
        """Namespace, empty for the whole cluster, and rule."""
        for binding in every:
            if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
                continue
            if account not in [each["name"] for each in binding["subjects"]]:
                continue
            (role,) = [
                each
                for each in every
                if each["kind"] == binding["roleRef"]["kind"]
                and each["metadata"]["name"] == binding["roleRef"]["name"]
            ]
            self.rules += [(binding["metadata"].get("namespace", ""), rule) for rule in role["rules"]]
        self.used: set[tuple[int, str, str]] = set()
        self.denied: list[Action] = []

    def allow(self, action: Action) -> bool:
        allowed = False
        for index, (namespace, rule) in enumerate(self.rules):
            if action.path:
                fits = action.verb in rule["verbs"] and action.path in rule.get("nonResourceURLs", [])
            else:
                fits = (
                    namespace in ("", action.namespace)
                    and action.verb in rule["verbs"]
                    and action.group in rule.get("apiGroups", [])
                    and action.resource in rule.get("resources", [])
                    and ("resourceNames" not in rule or action.name in rule["resourceNames"])
                )
            if fits:
                allowed = True
                self.used.add((index, action.verb, action.path or action.resource))
        if not allowed:
            self.denied.append(action)
        return allowed

    def unused(self) -> list[str]:
        """Verbs on resources that were granted and that nothing asked for."""
        granted = {
            (index, verb, what)
            for index, (_, rule) in enumerate(self.rules)
            for verb in rule["verbs"]
            for what in (*rule.get("resources", []), *rule.get("nonResourceURLs", []))
        }
        return sorted(f"{verb} {what}" for _, verb, what in granted - self.used)


class GuardedApi(KubeApi):
    """The scripted API server, which asks RBAC before everything else."""

    def __init__(self, folder: Path, rights: Rights) -> None:
        super().__init__(folder)
        self.rights = rights

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        action = action_of(request.method, request.path, dict(request.query))
        if not self.rights.allow(action):
            return web.json_response(
                {"kind": "Status", "code": 403, "reason": "Forbidden", "message": f"{action} is forbidden"},
                status=403,
            )
        return await super()._handle(request)
