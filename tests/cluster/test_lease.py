"""Leader election: one at a time, whatever a clock, a server or another replica does."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

from sidecar.cluster.api import Api, Object
from sidecar.cluster.lease import Leader, Seen, Step, Times, decide, taken
from tests.cluster.test_api import until
from tests.support.kube_api import KubeApi

LEASES = "/apis/coordination.k8s.io/v1/leases"
QUICK = Times(duration_s=1.0, deadline_s=0.6, retry_s=0.05)


def lease(holder: str | None, renewed: str = "t1") -> Object:
    return {"spec": {"holderIdentity": holder, "renewTime": renewed}}


@pytest.mark.parametrize(
    ("found", "seen", "now_s", "step"),
    [
        (None, None, 0.0, Step.CREATE),
        (lease("me"), None, 0.0, Step.RENEW),
        (lease(""), None, 0.0, Step.TAKE),
        (lease(None), None, 0.0, Step.TAKE),
        # Whatever its time of renewal says, it counts from when it was first seen so.
        (lease("other", "1970"), None, 1e9, Step.WAIT),
        (lease("other"), Seen(("other", "t1"), 0.0), 14.9, Step.WAIT),
        (lease("other"), Seen(("other", "t1"), 0.0), 15.0, Step.TAKE),
        (lease("other", "t2"), Seen(("other", "t1"), 0.0), 15.0, Step.WAIT),
        (lease("third", "t1"), Seen(("other", "t1"), 0.0), 15.0, Step.WAIT),
    ],
)
def test_the_step_follows_from_what_was_seen(
    found: Object | None, seen: Seen | None, now_s: float, step: Step
) -> None:
    assert decide(found, seen, "me", now_s, 15.0)[0] is step


def test_transitions_are_counted_and_times_are_the_apis() -> None:
    first = taken(None, "x", "system", "a", 1.5, 15.0)
    assert first["spec"] == {
        "holderIdentity": "a",
        "acquireTime": "1970-01-01T00:00:01.500000Z",
        "renewTime": "1970-01-01T00:00:01.500000Z",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 0,
    }
    again = taken(first, "x", "system", "a", 3.0, 15.0)
    assert (again["spec"]["leaseTransitions"], again["spec"]["acquireTime"][17:19]) == (0, "01")
    assert taken(again, "x", "system", "b", 4.0, 15.0)["spec"]["leaseTransitions"] == 1


class Standing:
    """A replica that stands for election."""

    def __init__(self, api: Api, name: str) -> None:
        self.leader = Leader(api, "system", "sidecar", name, QUICK)
        self.task = asyncio.create_task(self.leader.run())

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def test_of_three_one_leads_and_hands_over_at_once_when_it_ends(kube: KubeApi) -> None:
    async with Api(kube.access, first_wait_s=0.01) as api:
        every = [Standing(api, name) for name in "abc"]
        for left in (3, 2, 1):
            await until(lambda: sum(each.leader.is_leader for each in every) == 1)
            for _ in range(20):
                await asyncio.sleep(0.02)
                assert sum(each.leader.is_leader for each in every) == 1
            assert len(every) == left
            leading = next(each for each in every if each.leader.is_leader)
            every.remove(leading)
            await leading.end()
            assert not leading.leader.is_leader
        found = kube.get(LEASES, "sidecar", "system")
        assert found is not None
        assert (found["spec"]["holderIdentity"], found["spec"]["leaseTransitions"]) == ("", 2)


async def test_a_leader_that_cannot_renew_stops_before_another_may_take_over(kube: KubeApi) -> None:
    async with Api(kube.access, 1, 0.01) as api:
        one = Standing(api, "a")
        await until(lambda: one.leader.is_leader)
        kube.fail(web.Response(status=503), part="leases", times=1000)
        await until(lambda: not one.leader.is_leader)
        kube.faults.clear()
        two = Standing(api, "b")
        await until(lambda: one.leader.is_leader or two.leader.is_leader)
        assert not (one.leader.is_leader and two.leader.is_leader)
        await one.end()
        await two.end()


async def test_a_replica_that_just_hangs_is_succeeded_after_the_leases_time(kube: KubeApi) -> None:
    async with Api(kube.access, first_wait_s=0.01) as api:
        await kube.put(LEASES, {"metadata": {"name": "sidecar", "namespace": "system"}, **lease("gone")})
        loop = asyncio.get_running_loop()
        started = loop.time()
        one = Standing(api, "a")
        await until(lambda: one.leader.is_leader)
        assert loop.time() - started >= QUICK.duration_s
        await one.end()
