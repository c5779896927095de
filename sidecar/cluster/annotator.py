"""Keeps one annotation of pods as it should be: merge patches against the state that was read."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from sidecar.cluster.api import Api, Object
from sidecar.cluster.pace import Pace
from sidecar.errors import ClusterError

_TRIES = 5


class Annotator:
    """Writes what `text_for` says of a pod; None leaves the pod as it is."""

    def __init__(
        self,
        api: Api,
        annotation: str,
        text_for: Callable[[Object], str | None],
        count: Callable[[str], None],
        may: Callable[[], bool] = lambda: True,
        pace: Pace | None = None,
    ) -> None:
        """`may` is asked before every write; `count` is told what came of each: written, conflict, gone."""
        self._api, self._annotation, self._text_for = api, annotation, text_for
        self._count, self._may = count, may
        self._pace = pace or Pace(50, 100)

    async def write(self, pod: Object) -> None:
        """Bring the pod up to date. Twice is as once. Raises ClusterError."""
        path = _path(pod)
        for _ in range(_TRIES):
            text = self._text_for(pod)
            if text is None:
                return
            await self._pace.wait()
            if not self._may():
                return
            version = (pod.get("metadata") or {}).get("resourceVersion")
            changes = {"metadata": {"resourceVersion": version, "annotations": {self._annotation: text}}}
            try:
                await self._api.merge(path, changes)
            except ClusterError as error:
                if error.status == 404:
                    self._count("gone")
                    return
                if error.status != 409:
                    raise
                self._count("conflict")
                fresh = await self._fresh(path, pod)
                if fresh is None:
                    return
                pod = fresh
            else:
                self._count("written")
                return
        raise ClusterError(f"{path}: is changed by another again and again", 409)

    async def _fresh(self, path: str, pod: Object) -> Object | None:
        """The pod as it is now; None when it is gone, or another one has its name."""
        try:
            fresh = await self._api.get(path)
        except ClusterError as error:
            if error.status != 404:
                raise
            self._count("gone")
            return None
        same = (fresh.get("metadata") or {}).get("uid") == (pod.get("metadata") or {}).get("uid")
        return fresh if same else None


def _path(pod: Object) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{quote(metadata['namespace'])}/pods/{quote(metadata['name'])}"
