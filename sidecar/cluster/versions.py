"""Versions of the cluster: of its control plane, and of the oldest kubelet."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sidecar.cluster.api import Api, Object
from sidecar.errors import ClusterError

Version = tuple[int, int]
KUBELET_SKEW = 3
"""Minor versions that a kubelet may be older than the API server (Kubernetes' version skew policy)."""
_VERSION = re.compile(r"^v?([0-9]+)\.([0-9]+)")


def parse(text: object) -> Version | None:
    """(1, 33) from `v1.33.2-gke.100`."""
    match = _VERSION.match(str(text))
    return (int(match[1]), int(match[2])) if match else None


def oldest(nodes: Iterable[Object]) -> Version | None:
    """The version of the oldest kubelet; None without nodes."""
    found = [
        parse(((each.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion")) for each in nodes
    ]
    known = [each for each in found if each is not None]
    return min(known) if known else None


async def versions(api: Api) -> tuple[Version, Version]:
    """Of the control plane, and of the oldest node. Where nodes may not be read: the oldest that is allowed.

    Raises ClusterError.
    """
    server = parse((await api.get("/version")).get("gitVersion"))
    if server is None:
        raise ClusterError("/version: has no gitVersion")
    floor = (server[0], server[1] - KUBELET_SKEW)
    try:
        nodes, _ = await api.list("/api/v1/nodes")
    except ClusterError as error:
        if error.status != 403:
            raise
        return server, floor
    return server, oldest(nodes) or floor


async def is_openshift(api: Api) -> bool:
    """Whether the API has OpenShift's security contexts. Raises ClusterError."""
    groups = (await api.get("/apis")).get("groups") or []
    return any(each.get("name") == "security.openshift.io" for each in groups)
