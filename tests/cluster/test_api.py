"""The API client against a server that throttles, cuts, expires and forgets."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

from sidecar.backoff import Backoff
from sidecar.cluster.api import Access, Api
from sidecar.cluster.reflector import Reflector
from sidecar.errors import ClusterError
from tests.support.kube_api import KubeApi

NAMESPACES = "/api/v1/namespaces"


def client(kube: KubeApi) -> Api:
    return Api(kube.access, first_wait_s=0.01)


def namespace(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": labels}}


async def until(condition: object, timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_a_list_is_read_in_pages(kube: KubeApi) -> None:
    for number in range(5):
        await kube.put(NAMESPACES, namespace(f"n{number}"))
    async with client(kube) as api:
        items, version = await api.list(NAMESPACES)
    assert [each["metadata"]["name"] for each in items] == [f"n{number}" for number in range(5)]
    assert version == "5"
    assert len(kube.requests) == 3


async def test_a_list_that_expires_between_pages_begins_again(kube: KubeApi) -> None:
    for number in range(5):
        await kube.put(NAMESPACES, namespace(f"n{number}"))
    kube.fail(web.json_response({"message": "expired"}, status=410), part="continue=2")
    async with client(kube) as api:
        items, _ = await api.list(NAMESPACES)
    assert len(items) == 5


async def test_throttling_is_waited_out_as_long_as_the_server_asks(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    kube.fail(web.Response(status=429, headers={"Retry-After": "1"}))
    async with client(kube) as api:
        started = asyncio.get_running_loop().time()
        await api.patch(f"{NAMESPACES}/a", [{"op": "add", "path": "/x", "value": 1}])
        assert asyncio.get_running_loop().time() - started >= 1


@pytest.mark.parametrize("fault", [web.Response(status=503), web.Response(status=500), "cut"])
async def test_reading_is_tried_again_but_a_write_of_unknown_fate_is_not(
    kube: KubeApi, fault: web.Response | str
) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    async with client(kube) as api:
        kube.fail(fault, method="GET", times=2)
        assert (await api.get(f"{NAMESPACES}/a"))["metadata"]["name"] == "a"
        kube.fail(fault, method="PATCH")
        with pytest.raises(ClusterError):
            await api.patch(f"{NAMESPACES}/a", [{"op": "add", "path": "/x", "value": 1}])
    assert sum(method == "PATCH" for method, _, _ in kube.requests) == 1


async def test_a_token_that_was_renewed_is_read_again(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    async with client(kube) as api:
        await api.get(f"{NAMESPACES}/a")
        kube.tokens = {"token-2"}
        assert kube.access.token_file is not None
        kube.access.token_file.write_text("token-2")
        await api.get(f"{NAMESPACES}/a")


async def test_a_server_of_another_authority_is_not_talked_to(kube: KubeApi) -> None:
    async with Api(Access(kube.access.url, kube.access.token_file, None), 2, 0.01) as api:
        with pytest.raises(ClusterError, match="certificate verify failed"):
            await api.get("/version")
    assert kube.requests == []


@pytest.mark.parametrize(
    ("status", "words"), [(403, "grant it"), (404, "not found"), (409, "409"), (410, "410")]
)
async def test_a_refusal_has_its_status_and_words(kube: KubeApi, status: int, words: str) -> None:
    kube.fail(web.json_response({"message": "it is not found"}, status=status))
    async with client(kube) as api:
        with pytest.raises(ClusterError, match=words) as refused:
            await api.get("/version")
    assert refused.value.status == status


async def test_a_missing_service_account_is_one_clear_line(kube: KubeApi) -> None:
    async with Api(Access(kube.access.url, kube.folder / "none", None)) as api:
        with pytest.raises(ClusterError, match="service account"):
            await api.get("/version")


class Following:
    """A reflector that runs, and what it told."""

    def __init__(self, api: Api) -> None:
        self.told: list[tuple[str, str]] = []
        self.reflector = Reflector(
            api,
            NAMESPACES,
            on_change=lambda kind, item: self.told.append((kind, item["metadata"]["name"])),
            backoff=Backoff(0.01, 0.05),
        )
        self.task = asyncio.create_task(self.reflector.run())

    async def __aenter__(self) -> Following:
        async with asyncio.timeout(10):
            await self.reflector.synced.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    @property
    def names(self) -> set[str]:
        return {name for _, name in self.reflector.objects}


async def test_a_copy_follows_creation_change_and_deletion(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    async with client(kube) as api, Following(api) as following:
        await kube.put(NAMESPACES, namespace("b"))
        await kube.put(NAMESPACES, namespace("a", team="risk"))
        await kube.delete(NAMESPACES, "b")
        await until(lambda: ("DELETED", "b") in following.told)
        assert following.told == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
        assert following.reflector.objects["", "a"]["metadata"]["labels"] == {"team": "risk"}


async def test_a_watch_that_is_cut_goes_on_where_it_was(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    async with client(kube) as api, Following(api) as following:
        for number in range(5):
            await kube.put(NAMESPACES, namespace(f"n{number}"))
            await until(lambda number=number: f"n{number}" in following.names)
            kube.cut_watches()
        await kube.put(NAMESPACES, namespace("last"))
        await until(lambda: "last" in following.names)
    lists = [query for _, path, query in kube.requests if path == NAMESPACES and "watch" not in query]
    assert len(lists) == 1, "resumed, not listed again"
    assert len(following.told) == len(set(following.told)), "nothing is told twice"


async def test_what_happened_while_the_server_forgot_is_found_by_a_new_list(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    await kube.put(NAMESPACES, namespace("b"))
    async with client(kube) as api, Following(api) as following:
        # No watch gets through until the history is gone.
        kube.fail(web.Response(status=503), part="watch=1", times=3)
        kube.cut_watches()
        await kube.put(NAMESPACES, namespace("c"))
        await kube.delete(NAMESPACES, "a")
        kube.compact()
        await until(lambda: following.names == {"b", "c"})
        assert ("DELETED", "a") in following.told
        assert ("ADDED", "c") in following.told


async def test_an_outage_keeps_the_copy(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    async with client(kube) as api, Following(api) as following:
        kube.fail("cut", times=10)
        kube.cut_watches()
        await until(lambda: following.reflector.failures >= 5)
        assert following.names == {"a"}
        await kube.put(NAMESPACES, namespace("b"))
        await until(lambda: following.names == {"a", "b"})


async def test_a_copy_that_is_refreshed_is_kept_by_what_is_kept_now(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a"))
    kept: list[str] = ["before"]
    async with client(kube) as api:
        reflector = Reflector(
            api, NAMESPACES, lambda found: {**found, "kept": kept[0]}, backoff=Backoff(0.01, 0.05)
        )
        task = asyncio.create_task(reflector.run())
        await reflector.synced.wait()
        kept[0] = "now"
        await asyncio.sleep(0.1)
        assert reflector.objects["", "a"]["kept"] == "before"
        reflector.refresh()
        await until(lambda: reflector.objects["", "a"]["kept"] == "now")
        await kube.put(NAMESPACES, namespace("b"))
        await until(lambda: ("", "b") in reflector.objects)
        assert reflector.failures == 0
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_one_who_leaves_a_selection_is_gone_and_one_who_enters_is_new(kube: KubeApi) -> None:
    await kube.put(NAMESPACES, namespace("a", team="risk"))
    await kube.put(NAMESPACES, namespace("b"))
    async with client(kube) as api:
        told: list[tuple[str, str]] = []
        reflector = Reflector(
            api,
            NAMESPACES,
            on_change=lambda kind, item: told.append((kind, item["metadata"]["name"])),
            labelSelector="team=risk",
        )
        task = asyncio.create_task(reflector.run())
        await reflector.synced.wait()
        await kube.put(NAMESPACES, namespace("b", team="risk"))
        await kube.put(NAMESPACES, namespace("a"))
        await until(lambda: len(told) == 3)
        assert told == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
