"""`sidecar controller` as a process: against an API server that conflicts, forgets, throttles, cuts and is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.commands import sidecar
from tests.support.kube_api import KubeApi
from tests.support.model_pods import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SERVICES,
    bare_pod,
    defaults,
    image_id,
    injected_pod,
    namespace,
    running,
)
from tests.support.replica import PATIENCE_S, Replica, until
from tests.support.running import model_server, running_sidecar

Object = dict[str, Any]
DIGEST = "sidecar.dev/digest"


async def furnish(server: KubeApi) -> None:
    """A cluster whose namespace `risk` asks for sidecars."""
    server.page = 500
    await server.put(NAMESPACES, namespace("risk", inject="enabled"))
    await server.put(NAMESPACES, namespace("other"))
    await server.put(CONFIG_MAPS, defaults("sidecar-system", store="s3://evidence"))


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[KubeApi]:
    async with KubeApi(tmp_path) as server:
        await furnish(server)
        yield server


class Controller(Replica):
    """One `sidecar controller`."""

    COMMAND = ("controller", "--every", "1s", "--through", "api")

    async def tells(self, line: str, value: float | None) -> None:
        found: float | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := await self.metric(line)) != value:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{line} is {found}, not {value}")


def controller(kube: KubeApi, name: str = "a", *more: str) -> AbstractAsyncContextManager[Controller]:
    """Started, not necessarily ready."""
    return Controller.started(kube, name, *more)


def digest(kube: KubeApi, name: str, of: str = "risk") -> list[tuple[str, int]]:
    """Image and restarts of every epoch that the annotation tells, oldest first."""
    found = kube.get(PODS, name, of)
    text = (found or {}).get("metadata", {}).get("annotations", {}).get(DIGEST, "{}")
    return [(each["image_id"], each["restart_count"]) for each in json.loads(text).get("epochs", [])]


def patches(kube: KubeApi, name: str = "") -> list[str]:
    """Who patched pods, in order."""
    return [
        token.removeprefix("token-")
        for token, method, path in kube.writes
        if method == "PATCH" and f"/pods/{name}" in path
    ]


async def restarted(kube: KubeApi, name: str, image: str, number: int) -> None:
    """Kubelet tells that the model's container was restarted, of this image."""
    pod = kube.get(PODS, name, "risk")
    assert pod is not None
    fresh = json.loads(json.dumps(pod))
    old = fresh["status"]["containerStatuses"][0]
    status = running("model", image, number, old["restartCount"] + 1, f"2026-11-25T09:{number:02}:00Z")
    ended = {"containerID": old["containerID"], "exitCode": 0, **old["state"]["running"]}
    status["lastState"] = {"terminated": ended | {"finishedAt": f"2026-11-25T09:{number:02}:00Z"}}
    fresh["status"]["containerStatuses"] = [status]
    await kube.put(PODS, fresh)


def has_restarted(kube: KubeApi, times: int) -> bool:
    """Whether the annotation of fraud-1 tells of the container after so many restarts."""
    found = digest(kube, "fraud-1")
    return bool(found) and found[-1][1] == times


def notes(kube: KubeApi, reason: str) -> dict[str, str]:
    """The Events of a reason: the object's name and what is said of it."""
    return {each["regarding"]["name"]: each["note"] for each in kube.all(EVENTS) if each["reason"] == reason}


# The annotation


async def test_the_digest_is_written_when_it_is_known_and_a_new_container_adds_an_epoch(
    kube: KubeApi,
) -> None:
    waiting = injected_pod("fraud-1")
    waiting["status"]["containerStatuses"] = [{"name": "model", "state": {"waiting": {}}, "imageID": ""}]
    await kube.put(PODS, waiting)
    await kube.put(PODS, bare_pod("plain", "other"))
    async with controller(kube) as replica:
        await replica.ready()
        await replica.tells("sidecar_controller_leader", 1)
        await asyncio.sleep(1.5)
        assert patches(kube) == [], "nothing is known yet"
        await kube.put(PODS, injected_pod("fraud-1"))
        await until(lambda: digest(kube, "fraud-1") == [(image_id("a"), 0)], "the first epoch")
        await restarted(kube, "fraud-1", "a", 2)
        await restarted(kube, "fraud-1", "b", 3)
        whole = [(image_id("a"), 0), (image_id("a"), 1), (image_id("b"), 2)]
        await until(lambda: digest(kube, "fraud-1")[-1:] == whole[-1:], "the image changed in place")
        assert digest(kube, "fraud-1")[0] == whole[0]
        written = len(patches(kube))
        await asyncio.sleep(2.5)
        assert len(patches(kube)) == written, "what is there already is not written again"
        assert "managedFields" in kube.get(PODS, "fraud-1", "risk")["metadata"], "nothing else is touched"  # type: ignore[index]
        assert await replica.metric('sidecar_controller_annotations_total{outcome="written"}') == written


async def test_a_conflict_is_settled_on_the_fresh_state_and_throttling_waited_out(kube: KubeApi) -> None:
    kube.fail(
        web.json_response({"message": "the object has been modified"}, status=409), "PATCH", "/pods/", 2
    )
    kube.fail(web.Response(status=429, headers={"Retry-After": "1"}), "PATCH", "/pods/")
    await kube.put(PODS, injected_pod("fraud-1"))
    loop = asyncio.get_running_loop()
    async with controller(kube) as replica:
        await until(lambda: any(m == "PATCH" and "/pods/" in p for m, p, _ in kube.requests), "the first try")
        started = loop.time()
        await until(lambda: digest(kube, "fraud-1") != [], "the digest")
        assert loop.time() - started >= 0.95
        tries = [method for method, path, _ in kube.requests if path.endswith("/pods/fraud-1")]
        # Another look at the pod may follow before the watch has told of the write.
        assert tries[:6] == ["PATCH", "GET", "PATCH", "GET", "PATCH", "PATCH"]
        assert (await replica.metric('sidecar_controller_annotations_total{outcome="conflict"}') or 0) >= 2
        assert await replica.metric('sidecar_controller_annotations_total{outcome="written"}') == 1


async def test_what_changed_while_watches_were_cut_and_history_forgotten_is_found(kube: KubeApi) -> None:
    await kube.put(PODS, injected_pod("fraud-1"))
    async with controller(kube):
        await until(lambda: digest(kube, "fraud-1") != [], "the first epoch")
        for number in (2, 3):
            kube.cut_watches()
            await restarted(kube, "fraud-1", "ab"[number % 2], number)
            await until(partial(has_restarted, kube, number - 1), "after a cut")
        # Nothing gets through until the history is gone: 410.
        kube.fail(web.Response(status=503), part="watch=1", times=4)
        kube.cut_watches()
        await restarted(kube, "fraud-1", "c", 4)
        await kube.put(PODS, injected_pod("fraud-2", image="d"))
        kube.compact()
        await until(lambda: digest(kube, "fraud-1")[-1:] == [(image_id("c"), 3)], "after 410 Gone")
        await until(lambda: digest(kube, "fraud-2") == [(image_id("d"), 0)], "the new pod after 410 Gone")


@pytest.mark.faults
async def test_an_api_server_that_is_gone_for_a_while_is_waited_out(kube: KubeApi) -> None:
    await kube.put(PODS, injected_pod("fraud-1"))
    async with controller(kube) as replica:
        await until(lambda: digest(kube, "fraud-1") != [], "the first epoch")
        await kube.stop()
        await restarted(kube, "fraud-1", "b", 2)
        await asyncio.sleep(12)
        assert await replica.ask("/healthz") == (200, "ok\n"), "restarting it would not help"
        await replica.tells("sidecar_controller_leader", 0)
        await replica.tells('sidecar_coverage_pods{namespace="risk",state="covered"}', None)
        await kube.start()
        await until(
            lambda: digest(kube, "fraud-1")[-1:] == [(image_id("b"), 1)], "the epoch of the outage", 60
        )
        assert replica.process.returncode is None


async def test_the_namespaces_label_is_followed_for_pods_that_are_there(kube: KubeApi) -> None:
    pod = bare_pod("late", "other", hostNetwork=True)
    await kube.put(PODS, pod)
    async with controller(kube) as replica:
        await replica.tells("sidecar_controller_pods", 0)
        assert await replica.metric('sidecar_coverage_pods{namespace="other"') is None
        await kube.put(NAMESPACES, namespace("other", inject="enabled"))
        await replica.tells('sidecar_coverage_uncovered_pods{namespace="other",reason="not_injectable"}', 1)


# Replicas


async def test_one_of_two_acts_and_the_other_takes_over(kube: KubeApi) -> None:
    await kube.put(PODS, injected_pod("fraud-1"))
    async with controller(kube, "a") as first:
        await until(lambda: digest(kube, "fraud-1") != [], "the first epoch")
        async with controller(kube, "b") as second:
            await second.ready()
            await restarted(kube, "fraud-1", "b", 2)
            await until(lambda: len(digest(kube, "fraud-1")) == 2, "the second epoch")
            assert set(patches(kube)) == {"a"}
            assert await second.metric("sidecar_controller_leader") == 0
            assert await second.metric("sidecar_coverage_looked") is None, "pods would count twice"
            assert await first.end() == 0
            await restarted(kube, "fraud-1", "c", 3)
            await until(lambda: digest(kube, "fraud-1")[-1:] == [(image_id("c"), 2)], "the second takes over")
            assert patches(kube)[-1] == "b"
            await second.tells("sidecar_controller_leader", 1)


async def test_two_that_both_lead_agree(kube: KubeApi) -> None:
    """As after a partition: each holds a Lease, here in namespaces of their own."""
    await kube.put(PODS, injected_pod("fraud-1"))
    await kube.put(PODS, bare_pod("host", hostNetwork=True))
    async with (
        controller(kube, "a", "--namespace", "one") as first,
        controller(kube, "b", "--namespace", "two") as second,
    ):
        for replica in (first, second):
            await replica.tells("sidecar_controller_leader", 1)
        # Of a container that is over before anybody looked, the image would not be known.
        await until(partial(has_restarted, kube, 0), "the first epoch")
        for number in (2, 3, 4):
            await restarted(kube, "fraud-1", "abc"[number - 2], number)
            await until(partial(has_restarted, kube, number - 1), "an epoch")
        assert digest(kube, "fraud-1") == [
            (image_id("a"), 0),
            *((image_id("abc"[i]), i + 1) for i in range(3)),
        ]
        await until(lambda: notes(kube, "SidecarNotInjected"), "the Event")
        settled = len(patches(kube))
        await asyncio.sleep(3)
        assert len(patches(kube)) == settled, "they do not write against each other"
        told = sorted(each["reason"] for each in kube.all(EVENTS))
        assert told == ["SidecarNotCovering", "SidecarNotInjected"], "and tell each thing once"


async def test_an_expired_certificate_of_the_api_is_told_and_nothing_is_sent_to_it(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=1000)
    async with KubeApi(tmp_path, since=long_ago) as kube, controller(kube) as replica:
        await until(lambda: "certificate has expired" in replica.log, "the reason")
        assert await replica.ask("/healthz") == (200, "ok\n")
        assert (await replica.ask("/readyz"))[0] == 503
        assert kube.requests == []
        assert await replica.end() == 0


async def test_sigterm_gives_the_lease_up_and_missing_rights_are_told(kube: KubeApi) -> None:
    kube.forbidden = {"/api/v1/pods"}
    async with controller(kube) as replica:
        await until(lambda: "is forbidden: grant it to the service account" in replica.log, "the reason")
        assert await replica.ask("/readyz") == (503, "pods are not read yet\n")
        assert await replica.end() == 0
        lease = kube.get(LEASES, "sidecar-controller", "sidecar-system")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == ""


def test_outside_a_pod_it_wants_to_know_where_the_api_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    ran = sidecar("controller")
    assert (ran.code, ran.err.splitlines()) == (
        2,
        ["sidecar: controller: this is no pod: give --api URL, --token-file and --ca-file"],
    )
    ran = sidecar("controller", "--also", "not a label")
    assert ran.code == 2
    assert "is no label: write KEY or KEY=VALUE" in ran.err


# Events and coverage


async def test_what_is_ignored_and_who_asked_in_vain_is_told_once(kube: KubeApi) -> None:
    wrong = injected_pod("wrong")
    wrong["metadata"]["annotations"] |= {"sidecar.dev/polcy": "open", "sidecar.dev/durability": "maybe"}
    typo = bare_pod("typo", "other")
    typo["metadata"]["labels"]["sidecar.dev/inject"] = "true"
    out = bare_pod("out", hostNetwork=True)
    out["metadata"]["labels"]["sidecar.dev/inject"] = "disabled"
    done = bare_pod("done", hostNetwork=True)
    done["status"]["phase"] = "Succeeded"
    for pod in (wrong, typo, out, done, bare_pod("host", hostNetwork=True), bare_pod("missed")):
        await kube.put(PODS, pod)
    await kube.put(CONFIG_MAPS, defaults("risk", polcy="open"))
    async with controller(kube) as replica:
        # One of them is of the sidecar that does not answer, at the second look.
        await until(lambda: len(kube.all(EVENTS)) >= 7, "the Events")
        settings = [each for each in kube.all(EVENTS) if each["reason"] == "SidecarSettingIgnored"]
        assert sorted(
            (each["regarding"]["kind"], each["regarding"]["name"], each["note"]) for each in settings
        ) == [
            ("ConfigMap", "sidecar-defaults", "ConfigMap polcy: is no setting of injection; it is ignored"),
            (
                "Pod",
                "typo",
                "label sidecar.dev/inject on the pod: 'true' is neither enabled nor disabled; it is ignored",
            ),
            ("Pod", "wrong", settings_note(settings, "durability")),
            ("Pod", "wrong", "annotation sidecar.dev/polcy: is no setting of injection; it is ignored"),
        ]
        assert notes(kube, "SidecarNotInjected") == {
            "host": "not recorded: hostNetwork: the port is the node's, so nothing can be put in front of it "
            "inside the pod",
            "missed": "not recorded: made before it was asked for, or while the webhook was away: restart it",
        }
        event = next(each for each in kube.all(EVENTS) if each["regarding"]["name"] == "host")
        assert event["regarding"]["uid"] == "uid-risk-host"
        assert event["metadata"]["namespace"] == "risk"
        told = len(kube.all(EVENTS))
        posts = sum(method == "POST" and "/events" in path for method, path, _ in kube.requests)
        await asyncio.sleep(3)
        assert len(kube.all(EVENTS)) == told
        assert sum(method == "POST" and "/events" in path for method, path, _ in kube.requests) == posts
        told_metric = 'sidecar_controller_events_total{outcome="told",reason="SidecarNotInjected"}'
        assert await replica.metric(told_metric) == 2
        await replica.tells('sidecar_coverage_pods{namespace="risk",state="left_out"}', 1)


def settings_note(events: list[Object], key: str) -> str:
    (found,) = [each["note"] for each in events if f"sidecar.dev/{key}" in each["note"]]
    assert found.startswith(f"annotation sidecar.dev/{key}: 'maybe' "), found
    return str(found)


async def test_a_controller_that_starts_again_does_not_tell_it_again(kube: KubeApi) -> None:
    await kube.put(PODS, bare_pod("host", hostNetwork=True))
    for name in ("a", "b"):
        async with controller(kube, name) as replica:
            outcome = "told" if name == "a" else "known"
            await replica.tells(
                f'sidecar_controller_events_total{{outcome="{outcome}",reason="SidecarNotInjected"}}', 1
            )
            assert await replica.end() == 0
    assert len(kube.all(EVENTS)) == 1


async def test_coverage_follows_what_real_sidecars_say(kube: KubeApi, tmp_path: Path) -> None:
    recorder = tmp_path / "recorder"
    recorder.mkdir()
    with model_server() as model, running_sidecar(recorder, model.port) as real:
        kube.pod_ports["risk", "fraud-1"] = real.ports["admin"]
        for name in ("fraud-1", "silent"):
            await kube.put(PODS, injected_pod(name))
        down = injected_pod("down")
        down["status"]["initContainerStatuses"] = [
            {"name": "sidecar", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
        ]
        await kube.put(PODS, down)
        async with controller(kube) as replica:
            await replica.tells('sidecar_coverage_pods{namespace="risk",state="covered"}', 1)
            await replica.tells(
                'sidecar_coverage_uncovered_pods{namespace="risk",reason="sidecar_silent"}', 1
            )
            await replica.tells('sidecar_coverage_uncovered_pods{namespace="risk",reason="sidecar_down"}', 1)
            await replica.tells('sidecar_coverage_digest_unknown_pods{namespace="risk"}', 0)
            await until(lambda: len(notes(kube, "SidecarNotCovering")) == 2, "the Events")
            told = notes(kube, "SidecarNotCovering")
            assert told["down"] == "not recorded (sidecar_down): CrashLoopBackOff"
            assert "connection refused" in told["silent"]
            # The kill switch of the one that works.
            ran = await asyncio.to_thread(sidecar, "ctl", "splice-only", "on", "--journal", real.journal)
            assert ran.code == 0, ran.err
            await replica.tells('sidecar_coverage_uncovered_pods{namespace="risk",reason="switched_off"}', 1)
            await until(lambda: "fraud-1" in notes(kube, "SidecarNotCovering"), "the Event")
            # A Service that leads past another.
            by_number = {"selector": {"app": "fraud"}, "ports": [{"port": 80, "targetPort": 8080}]}
            await kube.put(SERVICES, {"metadata": {"name": "fraud", "namespace": "risk"}, "spec": by_number})
            await kube.put(PODS, injected_pod("shifted", mode="shift", listen_port="9000"))
            await replica.tells('sidecar_coverage_uncovered_pods{namespace="risk",reason="bypassed"}', 1)
            await kube.delete(PODS, "down", "risk")
            await replica.tells(
                'sidecar_coverage_uncovered_pods{namespace="risk",reason="sidecar_down"}', None
            )
