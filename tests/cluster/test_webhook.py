"""The server of reviews: what never comes whole, and what fails, ends in an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from sidecar.cluster.webhook import Metrics, Reply, review_app


@asynccontextmanager
async def served(decide: Callable[[bytes], Reply], metrics: Metrics) -> AsyncIterator[int]:
    runner = web.AppRunner(review_app(decide, metrics, body_s=0.2), lingering_time=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def asked(port: int, sent: bytes, length: int) -> tuple[int, dict[str, str], bool]:
    """Status and body of the answer, and whether the connection is closed behind it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /inject HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    writer.write(head.encode() + sent)
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"\r\n\r\n")
        size = int(answer.lower().partition(b"content-length:")[2].split()[0])
        body = await reader.readexactly(size)
        try:
            async with asyncio.timeout(2):
                closed = await reader.read() == b""
        except TimeoutError:
            closed = False
    writer.close()
    return int(answer.split()[1]), json.loads(body), closed


def outcome(metrics: Metrics, word: str) -> float | None:
    return metrics.registry.get_sample_value("sidecar_webhook_reviews_total", {"outcome": word})


async def test_a_review_that_never_comes_whole_holds_no_connection() -> None:
    metrics = Metrics()
    async with served(lambda body: Reply(200, body, "port"), metrics) as port:
        assert await asked(port, b'{"a"', 100) == (408, {"error": "the review did not come in time"}, True)
        assert outcome(metrics, "slow") == 1
        assert (await asked(port, b"{}", 2))[0] == 200


async def test_a_fault_of_ours_is_an_answer_and_the_next_review_is_served() -> None:
    metrics = Metrics()
    bodies = iter([ZeroDivisionError(), None])

    def decide(body: bytes) -> Reply:
        if (fault := next(bodies)) is not None:
            raise fault
        return Reply(200, body, "port")

    async with served(decide, metrics) as port:
        assert (await asked(port, b"{}", 2))[:2] == (500, {"error": "internal error"})
        assert (await asked(port, b"{}", 2))[:2] == (200, {})
        assert (outcome(metrics, "failed"), outcome(metrics, "port")) == (1, 1)
