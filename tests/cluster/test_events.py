"""Events and annotations against the API's own rules: told once, cut to size, throttled, told again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from sidecar.clock import ManualClock
from sidecar.cluster.annotator import Annotator
from sidecar.cluster.api import Api
from sidecar.cluster.events import REPEAT_S, Events, Notice
from sidecar.cluster.pace import Pace
from sidecar.errors import ClusterError
from tests.support.kube_api import KubeApi
from tests.support.model_pods import EVENTS, PODS, bare_pod

Object = dict[str, Any]


class Telling:
    """Events whose clock the test moves."""

    def __init__(self, api: Api, pace: Pace | None = None) -> None:
        self.clock = ManualClock()
        self.counts: Counter[str] = Counter()

        def count(reason: str, outcome: str) -> None:
            self.counts[outcome] += 1

        self.events = Events(api, "controller-1", count, pace, lambda: self.clock.monotonic_ns() / 1e9)

    async def tell(self, note: str = "hostNetwork", name: str = "p", topic: str = "", uid: str = "u") -> None:
        await self.events.tell(
            Notice("SidecarNotInjected", note, "Injecting", "Pod", "risk", name, uid, topic)
        )


def client(kube: KubeApi) -> Api:
    return Api(kube.access, first_wait_s=0.01)


async def test_a_notice_is_told_once_and_again_when_the_api_has_forgotten_it(kube: KubeApi) -> None:
    async with client(kube) as api:
        telling = Telling(api)
        for _ in range(3):
            await telling.tell()
        assert telling.counts == {"told": 1}
        telling.clock.advance(REPEAT_S + 1)
        await telling.tell()
        await telling.tell()
        assert telling.counts == {"told": 1, "known": 1}
        (event,) = kube.all(EVENTS)
        await kube.delete(EVENTS, event["metadata"]["name"], "risk")
        telling.clock.advance(REPEAT_S + 1)
        await telling.tell()
        assert (len(kube.all(EVENTS)), telling.counts["told"]) == (1, 2)


async def test_other_words_another_pod_and_a_pod_of_the_same_name_are_other_events(kube: KubeApi) -> None:
    async with client(kube) as api:
        telling = Telling(api)
        await telling.tell()
        await telling.tell("Windows")
        await telling.tell(name="q")
        await telling.tell(uid="u2")
        assert len(kube.all(EVENTS)) == 4
        await telling.tell("timed out after 3 s", topic="silent")
        await telling.tell("timed out after 4 s", topic="silent")
        assert len(kube.all(EVENTS)) == 5


async def test_long_notes_and_names_are_cut_to_what_the_api_takes(kube: KubeApi) -> None:
    async with client(kube) as api:
        telling = Telling(api)
        await telling.tell("é" * 2000 + "\n", name="p" * 253)
    (event,) = kube.all(EVENTS)
    assert len(event["note"].encode()) <= 1024
    assert event["note"].endswith("é…")
    assert event["regarding"]["name"] == "p" * 253


async def test_a_flood_is_throttled_and_told_later(kube: KubeApi) -> None:
    async with client(kube) as api:
        clock = ManualClock()
        telling = Telling(api, Pace(1, 5, lambda: clock.monotonic_ns() / 1e9))
        for number in range(20):
            await telling.tell(name=f"p{number}")
        assert telling.counts == {"told": 5, "throttled": 15}
        clock.advance(10)
        for number in range(20):
            await telling.tell(name=f"p{number}")
        assert telling.counts["told"] == 10


@pytest.mark.parametrize(("status", "outcome"), [(403, "failed"), (500, "failed"), (404, "gone")])
async def test_what_the_api_refuses_is_counted_and_nobody_is_held_up(
    kube: KubeApi, status: int, outcome: str
) -> None:
    async with client(kube) as api:
        telling = Telling(api)
        kube.fail(web.json_response({"message": "no"}, status=status), "POST")
        await telling.tell()
        assert telling.counts == {outcome: 1}
        await telling.tell()
        assert len(kube.all(EVENTS)) == (1 if outcome == "failed" else 0)


# Annotations


class Writing:
    """An annotator that writes the pod's resource version as it is seen, so that stale state shows."""

    def __init__(self, api: Api, may: bool = True) -> None:
        self.counts: Counter[str] = Counter()

        def count(outcome: str) -> None:
            self.counts[outcome] += 1

        self.annotator = Annotator(api, "sidecar.dev/digest", self._text, count, lambda: may)

    @staticmethod
    def _text(pod: Object) -> str | None:
        annotations = pod["metadata"]["annotations"]
        return None if "sidecar.dev/digest" in annotations else annotations.get("seen", "first")


async def test_a_stale_pod_is_read_again_and_judged_by_what_it_is_now(kube: KubeApi) -> None:
    stale = await kube.put(PODS, bare_pod("p"))
    fresh = bare_pod("p")
    fresh["metadata"]["annotations"]["seen"] = "second"
    await kube.put(PODS, fresh)
    stale = bare_pod("p") | {"metadata": {**bare_pod("p")["metadata"], "resourceVersion": "1"}}
    async with client(kube) as api:
        writing = Writing(api)
        await writing.annotator.write(stale)
        assert writing.counts == {"conflict": 1, "written": 1}
        found = kube.get(PODS, "p", "risk")
        assert found is not None
        assert found["metadata"]["annotations"] == {"seen": "second", "sidecar.dev/digest": "second"}
        await writing.annotator.write(stale)
        assert writing.counts == {"conflict": 2, "written": 1}, "another had written it already"


async def test_a_pod_that_is_gone_or_another_of_its_name_is_left_alone(kube: KubeApi) -> None:
    stale = bare_pod("p")
    stale["metadata"]["resourceVersion"] = "1"
    async with client(kube) as api:
        writing = Writing(api)
        await writing.annotator.write(stale)
        assert writing.counts == {"gone": 1}
        await kube.put(PODS, bare_pod("x"))
        successor = bare_pod("p")
        successor["metadata"]["uid"] = "another"
        await kube.put(PODS, successor)
        await writing.annotator.write(stale)
        found = kube.get(PODS, "p", "risk")
        assert found is not None
        assert found["metadata"]["annotations"] == {}


async def test_whoever_may_not_does_not_write_and_endless_conflicts_end(kube: KubeApi) -> None:
    pod = await kube.put(PODS, bare_pod("p"))
    async with client(kube) as api:
        writing = Writing(api, may=False)
        await writing.annotator.write(pod)
        assert kube.writes == []
        kube.fail(web.json_response({"message": "modified"}, status=409), "PATCH", times=9)
        with pytest.raises(ClusterError, match="again and again"):
            await Writing(api).annotator.write(pod)
