"""A scripted Kubernetes API server over TLS: lists in pages, watches, conflicts, a way to pods, faults on demand."""

from __future__ import annotations

import asyncio
import copy
import json
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import jsonpatch
from aiohttp import web

from sidecar.cluster.api import Access
from sidecar.cluster.certificate import make
from tests.support.event_rules import problem_of
from tests.support.kube_selectors import selects

Object = dict[str, Any]
TOKEN = "token-1"


class KubeApi:
    """Collections in memory. A collection is a path such as `/api/v1/namespaces`; see `put`."""

    def __init__(
        self, folder: Path, since: datetime | None = None, client_authority: bytes | None = None
    ) -> None:
        """`since`: when its certificate was made. Clients with a certificate of `client_authority` are let in."""
        self.folder = folder
        self._since = since or datetime.now(UTC)
        self._client_authority = client_authority
        self.tokens = {TOKEN}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and query of every request, in order."""
        self.writes: list[tuple[str, str, str]] = []
        """Token, method and path of every request that came through to change something, in order."""
        self.faults: list[tuple[Callable[[web.Request], bool], web.Response | str]] = []
        """Taken in order by the first request that each fits: a response, or `cut`."""
        self.page = 2
        """Items of a list's page, however many are asked for."""
        self.forbidden: set[str] = set()
        self.fixed: dict[str, Object] = {
            "/version": {"gitVersion": "v1.36.1"},
            "/apis": {"groups": [{"name": "apps"}]},
        }
        self.pod_ports: dict[tuple[str, str], int] = {}
        """Where pods really listen, by namespace and name, whatever port is asked for; others refuse."""
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._events: list[tuple[int, str, Object, Object | None, str]] = []
        """Version, kind, the object, what it was before, collection."""
        self._oldest = 0
        self._version = 0
        self._changed = asyncio.Condition()
        self._watches: set[web.StreamResponse] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.access = Access("")

    async def __aenter__(self) -> KubeApi:
        pair = make(["localhost"], self._since)
        certificate, key, ca, token = (
            self.folder / name for name in ("api.crt", "api.key", "api-ca.crt", "token")
        )
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        ca.write_bytes(pair.authority)
        token.write_text(TOKEN + "\n")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        if self._client_authority is not None:
            self._context.verify_mode = ssl.CERT_OPTIONAL
            self._context.load_verify_locations(cadata=self._client_authority.decode())
        await self.start()
        self.access = Access(f"https://localhost:{self._port}", token, ca)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        opened = socket.create_server(("127.0.0.1", self._port))
        self._port = opened.getsockname()[1]
        await web.SockSite(self._runner, opened, ssl_context=self._context).start()

    async def stop(self) -> None:
        """Be gone: nobody listens, every connection is cut; the objects stay."""
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # what tests do to it

    async def put(self, collection: str, item: Object) -> Object:
        """Create or replace an object, as another client of the cluster."""
        async with self._changed:
            return self._store(collection, copy.deepcopy(item))

    async def delete(self, collection: str, name: str, namespace: str = "") -> None:
        async with self._changed:
            item = self._objects[collection].pop((namespace, name))
            self._note("DELETED", collection, item, item)

    def all(self, collection: str) -> list[Object]:
        return list(self._objects.get(collection, {}).values())

    def get(self, collection: str, name: str, namespace: str = "") -> Object | None:
        return self._objects.get(collection, {}).get((namespace, name))

    def cut_watches(self) -> None:
        """Break every open watch in the middle, as a lost connection does."""
        for response in list(self._watches):
            transport = response._req.transport if response._req is not None else None
            if transport is not None:
                transport.abort()

    def compact(self) -> None:
        """Forget all that happened: a watch from before gets 410 Gone."""
        self._oldest = self._version
        self._events.clear()

    def fail(self, response: web.Response | str, method: str = "", part: str = "", times: int = 1) -> None:
        """The next requests of this method whose path contains `part` fail."""

        def fits(request: web.Request) -> bool:
            return (not method or request.method == method) and part in request.path_qs

        self.faults += [(fits, response)] * times

    # the API

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.requests.append((request.method, request.path, query))
        for index, (fits, fault) in enumerate(self.faults):
            if fits(request):
                del self.faults[index]
                if isinstance(fault, web.Response):
                    return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        certified = request.transport is not None and request.transport.get_extra_info("peercert")
        if token not in self.tokens and not certified:
            return _status(401, "Unauthorized")
        if any(each in request.path for each in self.forbidden):
            return _status(403, f"{request.path} is forbidden")
        if request.path in self.fixed:
            return web.json_response(self.fixed[request.path])
        if "/proxy/" in request.path:
            return await self._to_pod(request.path)
        collection, namespace, name = _place(request.path)
        if query.get("watch"):
            return await self._watch(request, collection, namespace, query)
        async with self._changed:
            if request.method == "GET":
                return (
                    self._list(collection, namespace, query)
                    if name is None
                    else self._read(collection, namespace, name)
                )
            self.writes.append((token, request.method, request.path))
            body = json.loads(await request.read())
            if request.method == "POST":
                return self._create(collection, namespace, body)
            assert name is not None
            kind = request.content_type if request.method == "PATCH" else ""
            return self._change(kind, collection, namespace, name, body)

    async def _to_pod(self, path: str) -> web.Response:
        """`/api/v1/namespaces/N/pods/P:PORT/proxy/REST`."""
        head, _, rest = path.partition("/proxy/")
        namespace, name = head.split("/")[4], head.split("/")[6].partition(":")[0]
        port = self.pod_ports.get((namespace, name), 1)
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/{rest}") as answer,
            ):
                return web.Response(status=answer.status, body=await answer.read())
        except aiohttp.ClientError:
            why = f"error trying to reach service: dial tcp 10.0.0.7:{port}: connect: connection refused"
            return _status(503, why)

    def _read(self, collection: str, namespace: str, name: str) -> web.Response:
        item = self.get(collection, name, namespace)
        return _status(404, f"{name} not found") if item is None else web.json_response(item)

    def _list(self, collection: str, namespace: str, query: dict[str, str]) -> web.Response:
        items = [
            each for each in self._objects.get(collection, {}).values() if selects(each, namespace, query)
        ]
        begin = int(query.get("continue", "0"))
        metadata: Object = {"resourceVersion": str(self._version)}
        if begin + self.page < len(items):
            metadata["continue"] = str(begin + self.page)
        return web.json_response(
            {"kind": "List", "metadata": metadata, "items": items[begin : begin + self.page]}
        )

    def _create(self, collection: str, namespace: str, body: Object) -> web.Response:
        body["metadata"].setdefault("namespace", namespace)
        if (problem := problem_of(body)) is not None:
            return _status(422, problem)
        if self.get(collection, body["metadata"]["name"], namespace) is not None:
            return _status(409, "AlreadyExists")
        return web.json_response(self._store(collection, body), status=201)

    def _change(self, patch: str, collection: str, namespace: str, name: str, body: Any) -> web.Response:
        """Replace the object, or patch it, if `patch` is a content type."""
        item = self.get(collection, name, namespace)
        if item is None:
            return _status(404, f"{name} not found")
        if patch == "application/merge-patch+json":
            body = _merged(item, body)
            if (problem := problem_of(body, item)) is not None:
                return _status(422, problem)
        elif patch == "application/json-patch+json":
            try:
                body = jsonpatch.apply_patch(item, body)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                return _status(422, str(error))
        elif patch:
            return _status(415, f"the body of the request was in an unknown format: {patch}")
        if body["metadata"].get("resourceVersion") not in (None, item["metadata"]["resourceVersion"]):
            return _status(409, "the object has been modified")
        return web.json_response(self._store(collection, body))

    def _store(self, collection: str, item: Object) -> Object:
        metadata = item.setdefault("metadata", {})
        key = (metadata.get("namespace") or "", metadata["name"])
        before = self._objects.get(collection, {}).get(key)
        kind = "ADDED" if before is None else "MODIFIED"
        metadata["resourceVersion"] = str(self._version + 1)
        self._objects.setdefault(collection, {})[key] = item
        self._note(kind, collection, item, before)
        return item

    def _note(self, kind: str, collection: str, item: Object, before: Object | None) -> None:
        self._version += 1
        noted = copy.deepcopy(item)
        noted["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, noted, before, collection))
        self._changed.notify_all()

    def _past(self, version: int) -> bool:
        return self._version > version

    async def _watch(
        self, request: web.Request, collection: str, namespace: str, query: dict[str, str]
    ) -> web.StreamResponse:
        since = int(query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        self._watches.add(response)
        try:
            if since < self._oldest:
                gone = {"kind": "Status", "code": 410, "message": "too old resource version"}
                await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                return response
            while True:
                async with self._changed:
                    await self._changed.wait_for(partial(self._past, since))
                    events = [each for each in self._events if each[0] > since]
                    since = self._version
                for version, kind, item, before, of in events:
                    # Of a selection, what no longer fits is gone, and what fits now is new.
                    fits = selects(item, namespace, query) and kind != "DELETED"
                    fitted = before is not None and selects(before, namespace, query)
                    if of == collection and (fits or fitted):
                        told = "DELETED" if not fits else kind if fitted else "ADDED"
                        line = {"type": told, "object": item}
                    else:
                        line = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}
                    await response.write(json.dumps(line).encode() + b"\n")
        except ConnectionError:
            return response
        finally:
            self._watches.discard(response)


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


def _place(path: str) -> tuple[str, str, str | None]:
    """Collection without its namespace, the namespace, and the object's name."""
    parts = path.strip("/").split("/")
    base = 2 if parts[0] == "api" else 3
    rest = parts[base:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return "/" + "/".join([*parts[:base], rest[0]]), namespace, rest[1] if len(rest) > 1 else None


def _merged(old: Any, changes: Any) -> Any:
    """RFC 7386."""
    if not isinstance(changes, dict):
        return changes
    found = dict(old) if isinstance(old, dict) else {}
    for key, value in changes.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found
