"""A node's drainer and the API: only pods that it does not list are drained."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sidecar.cluster.api import Api
from sidecar.drain.metrics import Metrics
from sidecar.drain_run import Means
from sidecar.drain_shipping import Bounds
from sidecar.drain_watch import Drainer, PodSource
from sidecar.shipping.options import StoreOptions
from tests.support.dead_pods import ENROL, Node
from tests.support.kube_api import KubeApi
from tests.support.running import model_server
from tests.support.scripted import until

PODS = "/api/v1/pods"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with model_server() as server:
        made = Node(tmp_path, server.port)
        try:
            yield made
        finally:
            made.end()


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[KubeApi]:
    async with KubeApi(tmp_path) as server:
        yield server


def pod(uid: str, phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {"name": f"fraud-{uid}", "namespace": "risk", "uid": uid},
        "spec": {"nodeName": "n-1"},
        "status": {"phase": phase},
    }


def held(folder: Path) -> bool:
    """Whether somebody has the journal's lock."""
    with (folder / "journal" / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def drain(node: Node, kube: KubeApi, *arguments: str) -> subprocess.CompletedProcess[str]:
    access = ("--api", kube.access.url, "--token-file", str(kube.access.token_file))
    authority = ("--ca-file", str(kube.access.ca_file))
    # --after 0s: it is the API alone that keeps a journal whose lock is free.
    return await asyncio.to_thread(node.drain, "--node", "n-1", *access, *authority, *arguments)


async def test_the_lock_of_a_living_pod_may_be_free_for_a_moment(node: Node, kube: KubeApi) -> None:
    answered = await asyncio.to_thread(node.dead, "u-1", 10)
    await asyncio.to_thread(node.dead, "u-2", 10)
    ended = await asyncio.to_thread(node.dead, "u-3", 10)
    await kube.put(PODS, pod("u-2"))
    await kube.put(PODS, pod("u-3", "Succeeded"))
    done = await drain(node, kube)
    assert done.returncode == 0, done.stderr
    assert node.left() == [node.place("u-2").name], "its container starts again"
    assert set(node.evidence().ids) == answered | ended
    listed = [query for method, path, query in kube.requests if path == PODS]
    assert {query.get("fieldSelector") for query in listed} == {"spec.nodeName=n-1"}
    await kube.delete(PODS, "fraud-u-2", "risk")
    assert (await drain(node, kube)).returncode == 0
    assert node.left() == []
    await asyncio.to_thread(node.verify)


async def test_while_the_api_cannot_be_asked_nobody_is_taken_for_gone(node: Node, kube: KubeApi) -> None:
    await asyncio.to_thread(node.dead, "u-1", 5)
    kube.fail(web.Response(status=403, text='{"message": "pods is forbidden"}'), part="pods")
    done = await drain(node, kube)
    assert done.returncode == 1
    assert "grant it to the service account: no journal is touched until it answers" in done.stderr
    assert node.left() == [node.place("u-1").name]


async def test_a_pod_that_comes_back_gets_its_journal_back_from_the_drainer(
    node: Node, kube: KubeApi, tmp_path: Path
) -> None:
    """A StatefulSet's, on a claim, while the store is away."""
    await asyncio.to_thread(node.dead, "u-1", 5)
    folder = node.place("u-1")
    by_name = folder.with_name("risk_fraud-0")
    folder.rename(by_name)
    node.store.rename(tmp_path / "away")
    node.store.write_text("no folder")
    means = Means((str(node.store),), StoreOptions(), enroller=ENROL, bounds=Bounds(60.0, 0.5))
    async with Api(kube.access) as api:
        drainer = Drainer(by_name.parent, means, 0.0, PodSource(api, None), Metrics())
        await drainer.look()
        drainer.work()
        await until(lambda: held(by_name))
        successor = pod("u-2")
        successor["metadata"]["name"] = "fraud-0"
        await kube.put(PODS, successor)
        await drainer.look()
        async with asyncio.timeout(20):
            await drainer.settle()
        assert not held(by_name)
        await drainer.look()
        assert drainer.journals[by_name.name].state == "alive"
        await drainer.end()


async def test_a_node_without_an_api_is_a_usage_error(node: Node) -> None:
    done = await asyncio.to_thread(node.drain, "--node", "n-1")
    assert done.returncode == 2
    assert "give --api URL" in done.stderr
