"""The Kubernetes API over plain HTTP: requests with retries, lists in pages, watches.

Token and certificate authority are read again as kubelet renews them.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from sidecar.backoff import Backoff
from sidecar.cluster.pem import load_pair
from sidecar.errors import ClusterError

Object = dict[str, Any]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
_REREAD_S = 60.0
_TIMEOUT_S = 30.0
_TRIES = 5
_LONGEST_WAIT_S = 10.0
_PAGE = 500
_MOST_BYTES = 64 * 2**20
"""Of one answer, and of one line of a watch."""
WATCH_S = 300
"""How long the server is asked to keep a watch open; resuming one is cheap."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is and who asks. Files are read again as they change; the rest stays as it is."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    """A file of it wins."""
    ca: bytes | None = None
    """PEM; the machine's authorities where neither this nor a file is given."""
    certificate: bytes | None = None
    """The client's, in PEM; `key` is its private one."""
    key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None
    """Whom the server's certificate must name, if not the host of the URL."""
    verify: bool = True


class Api:
    """A client; use it as a context manager. Every failure is a ClusterError."""

    def __init__(
        self,
        access: Access,
        tries: int = _TRIES,
        first_wait_s: float = 0.25,
        timeout_s: float = _TIMEOUT_S,
        connections: int = 16,
    ) -> None:
        """`connections`: open at once; each watch takes one for itself."""
        self._access = access
        self._tries = tries
        self._first_wait_s = first_wait_s
        self._timeout_s = timeout_s
        self._connections = connections
        self._who = "the service account" if access.token_file is not None else "the user who asks"
        self._session: aiohttp.ClientSession | None = None
        self._token: str | None = None
        self._ssl: ssl.SSLContext | None = None
        self._ca: bytes | None = None
        self._read_at = -_REREAD_S

    async def __aenter__(self) -> Api:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections), read_bufsize=2**20, max_line_size=65536
        )
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str) -> Object:
        """One object."""
        return await self.request("GET", path, query=query)

    async def patch(self, path: str, operations: list[Object]) -> Object:
        """Apply a JSON patch. A failed `test` has status 422."""
        return await self.request("PATCH", path, operations, JSON_PATCH)

    async def merge(self, path: str, changes: Object) -> Object:
        """Apply a merge patch (RFC 7386). With a `resourceVersion` that is out of date, status 409."""
        return await self.request("PATCH", path, changes, MERGE_PATCH)

    async def list(
        self, path: str, keep: Callable[[Object], Any] = lambda found: found, **query: str
    ) -> tuple[list[Any], str]:
        """All objects of a collection, and the resource version to watch from.

        They are read in pages, and of each page what `keep` makes of its objects stays in memory.
        """
        for _ in range(self._tries):
            items: list[Any] = []
            page: dict[str, str] = {}
            try:
                while True:
                    found = await self.request("GET", path, query={**query, "limit": str(_PAGE), **page})
                    items += map(keep, found.get("items") or [])
                    metadata = found.get("metadata") or {}
                    if not metadata.get("continue"):
                        return items, str(metadata.get("resourceVersion") or "")
                    page = {"continue": metadata["continue"]}
            except ClusterError as error:
                # The list changed too much while it was read: the pages so far are worth nothing.
                if error.status != 410 or not page:
                    raise
        raise ClusterError(f"{path}: expires again and again while it is listed: try later", 410)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """The answer's object. What was surely not carried out, or only reads, is tried again."""
        backoff = Backoff(self._first_wait_s, _LONGEST_WAIT_S)
        data = None if body is None else json.dumps(body).encode()
        renewed = False
        for left in range(self._tries - 1, -1, -1):
            wait = backoff.failed()
            try:
                return await self._once(method, path, data, content_type, query or {})
            except ClusterError as error:
                if error.status != 401 or not left or renewed:
                    raise
                # The token may have run out between two readings of its file.
                self._read_at, renewed = -_REREAD_S, True
            except _Again as error:
                if not left or not (error.untouched or method == "GET"):
                    raise ClusterError(str(error), error.status) from error.__cause__
                await asyncio.sleep(max(wait, min(error.after_s, _LONGEST_WAIT_S)))
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, data: bytes | None, content_type: str, query: Mapping[str, str]
    ) -> Object:
        headers = {"Content-Type": content_type} if data is not None else {}
        content = await self._content(method, path, data, headers, query)
        try:
            value = json.loads(content)
        except ValueError as error:
            raise _Again(f"{method} {path}: the answer is no JSON") from error
        if not isinstance(value, dict):
            raise ClusterError(f"{method} {path}: the answer is no object")
        return value

    async def content(self, path: str) -> bytes:
        """What a GET gives, as it comes, such as from a pod behind the API's proxy. One try."""
        try:
            return await self._content("GET", path, None, {}, {})
        except _Again as error:
            raise ClusterError(str(error), error.status) from error

    async def _content(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str], query: Mapping[str, str]
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=5)
        try:
            async with self._open(method, path, query, timeout, headers, data) as response:
                content = await _bounded(response)
                _check(method, path, response, content, self._who)
                return content
        except aiohttp.ClientConnectorError as error:
            raise _Again(
                f"{self._access.url}: {error}: see that the API is reachable", untouched=True
            ) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _Again(f"{method} {path}: no answer: {error or type(error).__name__}") from error

    async def watch(self, path: str, version: str, **query: str) -> AsyncIterator[Object]:
        """Events since a resource version, until the server ends the watch. One try; 410: list again."""
        asked = {
            **query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=WATCH_S + 30)
        try:
            async with self._open("GET", path, asked, timeout, {}, None) as response:
                if response.status != 200:
                    _check("WATCH", path, response, await _bounded(response), self._who)
                async for event in _lines(response):
                    if event.get("type") == "ERROR":
                        status = event.get("object") or {}
                        raise ClusterError(
                            f"watch of {path}: {status.get('message')}", int(status.get("code") or 0)
                        )
                    yield event
        except _Again as error:
            raise ClusterError(str(error), error.status) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"watch of {path}: cut: {error or type(error).__name__}") from error

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        headers: dict[str, str],
        data: bytes | None,
    ) -> Any:
        self._reread()
        if self._session is None:
            raise RuntimeError("Api is used outside its context")
        if self._token:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        trust: Any = self._ssl if self._ssl is not None else self._access.verify
        return self._session.request(
            method,
            self._access.url + path,
            params=dict(query),
            headers={"Accept": "application/json", **headers},
            data=data,
            timeout=timeout,
            ssl=trust,
            server_hostname=self._access.server_name,
        )

    def _reread(self) -> None:
        """Token and authority anew, at most once a minute: projected tokens last an hour and less."""
        if time.monotonic() - self._read_at < _REREAD_S:
            return
        access = self._access
        try:
            self._token = access.token
            if access.token_file is not None:
                self._token = access.token_file.read_text().strip()
            ca = access.ca_file.read_bytes() if access.ca_file is not None else access.ca
            if ca != self._ca or (self._ssl is None and access.certificate is not None):
                self._ssl = _context(access, ca)
                self._ca = ca
        except (OSError, ssl.SSLError, ValueError) as error:
            files = access.token_file is not None or access.ca_file is not None
            remedy = "mount it, or name its files with --token-file and --ca-file"
            raise ClusterError(
                f"service account: {error}: {remedy}" if files else f"{access.url}: {error}: give PEM"
            ) from error
        self._read_at = time.monotonic()


def _context(access: Access, ca: bytes | None) -> ssl.SSLContext:
    """Raises OSError, ssl.SSLError or ValueError for what is no PEM."""
    context = ssl.create_default_context(cadata=ca.decode() if ca is not None else None)
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate is not None:
        load_pair(context, access.certificate, access.key or b"")
    return context


class _Again(Exception):
    """A failure that may pass; `untouched`: the server has surely not carried the request out."""

    def __init__(self, message: str, status: int = 0, untouched: bool = False, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.untouched, self.after_s = status, untouched, after_s


def _check(method: str, path: str, response: aiohttp.ClientResponse, content: bytes, who: str) -> None:
    """Raises for every status but success."""
    status = response.status
    if status < 300:
        return
    try:
        said = json.loads(content)
        reason = said.get("message") if isinstance(said, dict) else None
    except ValueError:
        reason = content[:200].decode(errors="replace")
    message = f"{method} {path}: {status} {reason or response.reason}"
    if status == 429 or status >= 500:
        after = response.headers.get("Retry-After", "")
        raise _Again(message, status, status == 429, float(after) if after.isdigit() else 0.0)
    if status in (401, 403):
        message += f": grant it to {who}"
    raise ClusterError(message, status)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        content += chunk
        if len(content) > _MOST_BYTES:
            raise ClusterError(f"{response.url.path}: the answer is larger than {_MOST_BYTES >> 20} MiB")
    return bytes(content)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[Object]:
    """The JSON objects of a body, a line each; the stream's own reader has a limit that objects pass."""
    held = bytearray()
    async for chunk in response.content.iter_any():
        held += chunk
        if b"\n" not in chunk:
            if len(held) > _MOST_BYTES:
                raise ValueError("an event is too large")
            continue
        *whole, held = held.split(b"\n")
        for line in whole:
            if line.strip():
                yield json.loads(line)
