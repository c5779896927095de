"""Whether a pod is gone: pure, from what the API says or from how long its folder has been quiet.

The journal's lock is the second witness: whoever is alive holds it, but it is
free for a moment while a container starts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sidecar.drain.folder import PodFolder

_ENDED = ("Succeeded", "Failed")


class Verdict(Enum):
    """What is to be done with a folder."""

    ALIVE = "alive"
    QUIET = "quiet"
    """Perhaps gone, but not for long enough to be sure."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods whose containers run or may run again."""

    uids: frozenset[str]
    names: frozenset[tuple[str, str]]
    """Namespace and name."""


def pods_of(objects: Iterable[Mapping[str, Any]]) -> Pods:
    """Those of the API's pods that have not ended for good."""
    uids, names = set(), set()
    for pod in objects:
        if (pod.get("status") or {}).get("phase") in _ENDED:
            continue
        metadata = pod.get("metadata") or {}
        uids.add(str(metadata.get("uid")))
        names.add((str(metadata.get("namespace")), str(metadata.get("name"))))
    return Pods(frozenset(uids), frozenset(names))


def judge(folder: PodFolder, pods: Pods | None, quiet_s: float, after_s: float) -> Verdict:
    """What the pods that there are say, listed after the folder was seen; without them, its last write.

    A folder without a uid must have been quiet besides: between a pod and the
    next one of its name there may be seconds, and the next one needs the lock.
    """
    if pods is not None:
        known = folder.uid in pods.uids if folder.uid else (folder.namespace, folder.pod) in pods.names
        if known:
            return Verdict.ALIVE
        if folder.uid:
            return Verdict.GONE
    return Verdict.GONE if quiet_s >= after_s else Verdict.QUIET
