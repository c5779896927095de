"""A copy of a collection of the API, kept up to date: list, then watch, resumed where it was cut."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

from sidecar.backoff import Backoff
from sidecar.cluster.api import Api, Object
from sidecar.errors import ClusterError

log = logging.getLogger("sidecar.cluster")

SHORTEST_WATCH_S = 1.0
"""A watch that ends sooner is something on the way that ends it; it is not asked for again at once."""

Key = tuple[str, str]
"""Namespace ("" for what has none) and name."""
OnChange = Callable[[str, Object], None]
"""Called with ADDED, MODIFIED or DELETED and the object as kept."""


class Reflector:
    """The objects of one collection. `keep` makes of each what is held in memory."""

    def __init__(
        self,
        api: Api,
        path: str,
        keep: Callable[[Object], Object] = lambda found: found,
        on_change: OnChange | None = None,
        backoff: Backoff | None = None,
        **query: str,
    ) -> None:
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        """Set after the first whole list."""
        self.failures = 0
        """Lists and watches that failed, since the start."""
        self._api, self._path, self._query = api, path, query
        self._keep, self._on_change = keep, on_change
        self._backoff = backoff or Backoff(0.5, 30.0)
        self._version = ""
        self._stale = asyncio.Event()

    def refresh(self) -> None:
        """List again, and keep of every object what `keep` makes of it now."""
        self._stale.set()

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self.objects.values()))

    async def run(self) -> None:
        """Follows the collection until it is cancelled; outages are waited out, the copy stays meanwhile."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch_until_stale()
            except ClusterError as error:
                self.failures += 1
                if error.status == 410:
                    # The server no longer knows what changed since then.
                    self._version = ""
                    if self._backoff.failures == 0:
                        self._backoff.failed()
                        continue
                wait = self._backoff.failed()
                log.warning("%s; again in %.1f s", error, wait)
                await asyncio.sleep(wait)

    async def _list(self) -> None:
        items, version = await self._api.list(
            self._path, lambda item: (_key(item), self._keep(item)), **self._query
        )
        found: dict[Key, Object] = dict(items)
        for key in self.objects.keys() - found.keys():
            self._changed("DELETED", self.objects.pop(key))
        for key, item in found.items():
            kind = "MODIFIED" if key in self.objects else "ADDED"
            self.objects[key] = item
            self._changed(kind, item)
        self._version = version
        self.synced.set()

    async def _watch_until_stale(self) -> None:
        work: list[asyncio.Task[object]] = [
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._stale.wait()),
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            watched, _ = await asyncio.gather(*work, return_exceptions=True)
        if self._stale.is_set():
            self._stale.clear()
            self._version = ""
        if isinstance(watched, Exception):
            raise watched

    async def _watch(self) -> None:
        started = time.monotonic()
        async for event in self._api.watch(self._path, self._version, **self._query):
            self._backoff.succeeded()
            item = event.get("object") or {}
            self._version = str((item.get("metadata") or {}).get("resourceVersion") or self._version)
            kind, key = event.get("type"), _key(item)
            if kind == "DELETED":
                self._changed("DELETED", self.objects.pop(key, self._keep(item)))
            elif kind in ("ADDED", "MODIFIED"):
                self.objects[key] = self._keep(item)
                self._changed(str(kind), self.objects[key])
        # The server ends a watch after its time, and resuming at once is what it expects.
        if time.monotonic() - started < SHORTEST_WATCH_S:
            await asyncio.sleep(self._backoff.failed())

    def _changed(self, kind: str, item: Object) -> None:
        if self._on_change is not None:
            self._on_change(kind, item)


def _key(item: Object) -> Key:
    metadata = item.get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
