"""Sidecars asked at their address: whatever answers there is a report or a reason, in bounded memory and time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from sidecar.cluster.asking import ask_all, directly
from sidecar.cluster.coverage import Answer
from sidecar.cluster.report import Report
from tests.support.model_pods import injected_pod

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STATUS = {"mode": "record", "version": "1"}


@asynccontextmanager
async def answering(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/api/v1/status", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def asked(port: int, address: str = "127.0.0.1", each_s: float = 5.0) -> Answer:
    pod = injected_pod("p")
    pod["status"]["podIP"] = address
    async with aiohttp.ClientSession() as session:
        (answer,) = await ask_all([pod], directly(session, port), each_s=each_s)
    return answer


async def test_a_large_status_in_many_pieces_is_read_whole() -> None:
    async def pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in json.dumps(STATUS | {"models": ["x" * 1000] * 1000}).encode().split(b"xx"):
            await response.write(part + b"xx")
        return response

    async def whole(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        text = json.dumps(STATUS | {"models": ["y" * 1000] * 3000}).encode()
        for start in range(0, len(text), 70_000):
            await response.write(text[start : start + 70_000])
            await asyncio.sleep(0)
        return response

    async with answering(whole) as port:
        assert isinstance(await asked(port), Report)
    async with answering(pieces) as port:
        assert await asked(port) == "its answer is no JSON"


async def test_an_endless_answer_is_given_up() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 2**20)

    async with answering(endless) as port:
        assert await asked(port, each_s=30) == "its answer is too large"


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_another_status_is_told_and_no_redirect_followed(status: int) -> None:
    async def other(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/elsewhere"})

    async with answering(other) as port:
        assert await asked(port) == f"answers {status}"


async def test_an_address_of_ipv6_and_none_and_one_that_nobody_listens_at() -> None:
    async def good(request: web.Request) -> web.StreamResponse:
        return web.json_response(STATUS)

    async with answering(good, "::1") as port:
        assert isinstance(await asked(port, "::1"), Report)
    assert await asked(1) == "port 1: Connection refused"
    assert await asked(1, "") == "its pod has no address"


async def test_one_that_hangs_is_given_up_in_time() -> None:
    async def hangs(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with answering(hangs) as port:
        assert await asked(port, each_s=0.2) == "no answer in 0.2 s"
    async with aiohttp.ClientSession() as session:
        assert await ask_all([], directly(session, 1)) == []
