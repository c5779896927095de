"""The controller's loops, with a lead that comes and goes and sidecars that answer as the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from sidecar.cluster.annotator import Annotator
from sidecar.cluster.api import Api
from sidecar.cluster.asking import Silent
from sidecar.cluster.controller import Controller, Metrics
from sidecar.cluster.coverage import Asked
from sidecar.cluster.events import Events, Notice
from tests.support.kube_api import KubeApi
from tests.support.model_pods import EVENTS, PODS, injected_pod

Object = dict[str, Any]


class Everything:
    """A judge that takes every pod for an injected model."""

    def asked(self, pod: Mapping[str, Any]) -> Asked | None:
        return Asked(True, container="model", mode="redirect", digest="sha256:aa")

    def ignored(self, pod: Mapping[str, Any]) -> list[str]:
        return []

    def ignored_defaults(self) -> list[Notice]:
        return []


class Acting:
    """A controller over pods that the test holds."""

    def __init__(self, kube: KubeApi, api: Api, every_s: float) -> None:
        self.kube, self.leads, self.answer = kube, True, b""
        self.pods: dict[tuple[str, str], Object] = {}
        self.metrics = Metrics()
        annotator = Annotator(api, "digest", self._text, lambda outcome: None, lambda: self.leads)
        events = Events(api, "a", lambda reason, outcome: None)
        self.controller = Controller(
            self.pods,
            Everything(),
            annotator,
            events,
            self._fetch,
            "sidecar",
            lambda: self.leads,
            self.metrics,
            every_s,
        )

    async def put(self, name: str) -> None:
        pod = await self.kube.put(PODS, injected_pod(name))
        self.pods["risk", name] = json.loads(json.dumps(pod))
        self.controller.changed("ADDED", self.pods["risk", name])

    def annotated(self, name: str) -> bool:
        return "digest" in (self.kube.get(PODS, name, "risk") or {})["metadata"]["annotations"]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"sidecar_{name}", labels)

    @staticmethod
    def _text(pod: Object) -> str | None:
        return None if "digest" in pod["metadata"]["annotations"] else "text"

    async def _fetch(self, pod: Mapping[str, Any]) -> bytes:
        if not self.answer:
            raise Silent("refused")
        return self.answer


@asynccontextmanager
async def acting(kube: KubeApi, leads: bool = True, every_s: float = 1.0) -> AsyncIterator[Acting]:
    async with Api(kube.access, first_wait_s=0.01) as api:
        made = Acting(kube, api, every_s)
        made.leads = leads
        await made.put("a")
        task = asyncio.create_task(made.controller.run())
        try:
            yield made
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Any, what: str) -> None:
    try:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(what)


def uncovered(each: Acting) -> float | None:
    return each.sample("coverage_uncovered_pods", namespace="risk", reason="sidecar_silent")


async def test_one_lost_answer_is_counted_and_no_event_and_two_in_a_row_are(kube: KubeApi) -> None:
    async with acting(kube) as one:
        await until(lambda: uncovered(one) == 1, "the first look")
        assert kube.all(EVENTS) == []
        one.answer = b'{"mode": "record"}'
        await until(lambda: uncovered(one) is None, "it answers")
        one.answer = b""
        await until(lambda: uncovered(one) == 1, "it is silent again")
        assert kube.all(EVENTS) == []
        await until(lambda: kube.all(EVENTS) != [], "the second look in a row")
        (event,) = kube.all(EVENTS)
        assert (event["reason"], event["note"]) == (
            "SidecarNotCovering",
            "not recorded (sidecar_silent): refused",
        )


async def test_who_does_not_lead_writes_nothing_and_a_new_leader_begins_with_everything(
    kube: KubeApi,
) -> None:
    async with acting(kube, leads=False) as one:
        await one.put("b")
        await asyncio.sleep(0.7)
        assert kube.writes == []
        assert one.sample("coverage_looked_timestamp_seconds") is None
        one.leads = True
        await until(lambda: one.annotated("a") and one.annotated("b"), "what came before it led")
        await until(lambda: one.sample("coverage_looked_timestamp_seconds") is not None, "the look")
        assert one.sample("controller_leader") == 1
        one.leads = False
        await until(lambda: one.sample("coverage_looked_timestamp_seconds") is None, "pods would count twice")
        written = len(kube.writes)
        await one.put("c")
        await asyncio.sleep(1.5)
        assert len(kube.writes) == written


async def test_a_pod_that_fails_is_tried_again_and_holds_up_no_other(kube: KubeApi) -> None:
    async with acting(kube, leads=False, every_s=600) as one:
        await one.put("b")
        kube.forbidden = {"/pods/a"}
        one.leads = True
        await until(lambda: one.annotated("b"), "the other")
        assert not one.annotated("a")
        kube.forbidden = set()
        await until(lambda: one.annotated("a"), "the one that failed")
        assert (one.sample("controller_annotations_total", outcome="failed") or 0) >= 1


async def test_a_pod_that_is_no_model_and_one_that_went_are_left_alone(kube: KubeApi) -> None:
    async with acting(kube) as one:
        stub = {"metadata": {"namespace": "risk", "name": "plain"}}
        one.pods["risk", "plain"] = stub
        one.controller.changed("ADDED", stub)
        await until(lambda: one.annotated("a"), "the model")
        await until(lambda: one.sample("controller_pods") == 1, "one model")
        gone = one.pods.pop(("risk", "a"))
        one.controller.changed("DELETED", gone)
        await until(lambda: one.sample("controller_pods") == 0, "none is left")
        assert {path for _, _, path in kube.writes if "/pods/" in path} == {"/api/v1/namespaces/risk/pods/a"}
