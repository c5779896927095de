"""Work that comes faster than it can be done, that fails, and that must not be done by two at once."""

from __future__ import annotations

import asyncio

from sidecar.backoff import Backoff
from sidecar.clock import ManualClock
from sidecar.cluster.pace import Pace
from sidecar.cluster.work_queue import WorkQueue


async def taken(queue: WorkQueue[str]) -> str | None:
    """The next key, if one is due."""
    try:
        async with asyncio.timeout(0.05):
            return await queue.take()
    except TimeoutError:
        return None


async def test_a_key_that_is_asked_for_often_is_done_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a", "a"):
        queue.ask(key)
    assert len(queue) == 2
    assert [await taken(queue) for _ in range(3)] == ["a", "b", None]


async def test_a_key_is_never_with_two_and_is_done_again_when_it_changed_meanwhile() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.ask("a")
    assert await taken(queue) == "a"
    queue.ask("a")
    queue.ask("a")
    assert await taken(queue) is None
    queue.done("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert (await taken(queue), len(queue)) == (None, 0)


async def test_a_failure_comes_again_later_and_later_until_it_succeeds() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: Backoff(0.02, 0.08, lambda low, high: high))
    queue.ask("a")
    waits = []
    for _ in range(4):
        assert await queue.take() == "a"
        waits.append(queue.failed("a"))
    assert waits == [0.02, 0.04, 0.08, 0.08]
    assert await queue.take() == "a"
    queue.done("a")
    queue.ask("a")
    assert await queue.take() == "a"
    assert queue.failed("a") == 0.02


async def test_news_of_what_failed_does_not_wait_for_its_next_try() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: Backoff(600, 600))
    queue.ask("a")
    assert await taken(queue) == "a"
    queue.failed("a")
    assert await taken(queue) is None
    queue.ask("a")
    assert await taken(queue) == "a"
    queue.done("a")
    queue.ask("a", 600)
    queue.ask("a", 0)
    queue.ask("a", 600)
    assert [await taken(queue), len(queue)] == ["a", 0]


async def test_what_is_gone_is_not_given_out() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "c"):
        queue.ask(key)
    queue.forget("a")
    assert await taken(queue) == "b"
    queue.ask("b")
    queue.forget("b")
    queue.done("b")
    assert await taken(queue) == "c"
    queue.clear()
    queue.done("c")
    assert (await taken(queue), len(queue)) == (None, 0)


async def test_many_workers_share_the_work() -> None:
    queue: WorkQueue[int] = WorkQueue()
    done: list[int] = []

    async def work() -> None:
        while True:
            key = await queue.take()
            await asyncio.sleep(0)
            done.append(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for number in range(100):
        queue.ask(number)
    async with asyncio.timeout(5):
        while len(done) < 100:
            await asyncio.sleep(0.01)
    for each in workers:
        each.cancel()
    assert sorted(done) == list(range(100))


def test_a_burst_is_let_through_and_then_so_many_a_second() -> None:
    clock = ManualClock()
    pace = Pace(2, 3, lambda: clock.monotonic_ns() / 1e9)
    assert [pace.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.5)
    assert [pace.take(), pace.take()] == [True, False]
    clock.advance(100)
    assert [pace.take() for _ in range(4)] == [True, True, True, False]


async def test_those_who_wait_are_let_through_at_the_pace() -> None:
    pace = Pace(50, 1)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(pace.wait() for _ in range(6)))
    assert asyncio.get_running_loop().time() - started >= 0.09
