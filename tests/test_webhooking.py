"""`sidecar webhook` as a process: reviews over TLS as an API server sends them, its certificate, two replicas."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import signal
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.cluster.api import Api
from sidecar.cluster.certificate import make, to_secret, utc_now
from sidecar.cluster.keeper import SETTLE_S
from sidecar.inject.json_patch import apply
from sidecar.webhook_knowledge import ClusterKnowledge
from tests.bench.processes import free_port
from tests.support.commands import sidecar
from tests.support.kube_api import KubeApi
from tests.support.replica import PATIENCE_S, Replica, until

Object = dict[str, Any]
NAMESPACES, CONFIG_MAPS, SERVICES = (f"/api/v1/{name}" for name in ("namespaces", "configmaps", "services"))
SECRETS = "/api/v1/secrets"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
LEASES = "/apis/coordination.k8s.io/v1/leases"
NAME = "sidecar-webhook.sidecar-system.svc"


def defaults(namespace: str, **texts: str) -> Object:
    return {"metadata": {"name": "sidecar-defaults", "namespace": namespace}, "data": texts}


def namespace(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}}


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[KubeApi]:
    """A cluster with one labelled namespace, the webhook's configuration, and nothing of the webhook's own yet."""
    async with KubeApi(tmp_path) as server:
        await server.put(
            NAMESPACES, {"metadata": {"name": "risk", "labels": {"sidecar.dev/inject": "enabled"}}}
        )
        await server.put(NAMESPACES, namespace("other"))
        await server.put(CONFIG_MAPS, defaults("sidecar-system", store="s3://evidence/all", policy="closed"))
        await server.put(
            CONFIGURATIONS,
            {
                "metadata": {"name": "sidecar-webhook"},
                "webhooks": [
                    {"name": "ours", "clientConfig": {"service": {"name": "sidecar-webhook"}}},
                    {"name": "elsewhere", "clientConfig": {"url": "https://elsewhere.example/"}},
                ],
            },
        )
        yield server


class Webhook(Replica):
    """One `sidecar webhook`, and the API server's calls to it."""

    COMMAND = ("webhook", "--image", "registry.example/sidecar:9")

    def __init__(self, kube: KubeApi, name: str, more: tuple[str, ...]) -> None:
        self.port = free_port()
        super().__init__(kube, name, ("--listen", f"127.0.0.1:{self.port}", *more))

    async def ready(self) -> None:
        await super().ready()
        await until(lambda: "listens on" in self.log, "its address")

    async def counted(self, line: str) -> float:
        """The value of a sample, 0 while there is none."""
        return await self.metric(line) or 0.0

    @property
    def trust(self) -> bytes:
        """What the API server believes: the caBundle of its configuration."""
        found = self.kube.get(CONFIGURATIONS, "sidecar-webhook")
        assert found is not None
        return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))

    async def post(
        self, body: bytes, content_type: str = "application/json", trust: bytes | None = None
    ) -> tuple[int, Any]:
        """A call as the API server makes it: it checks the certificate against caBundle and Service."""
        context = ssl.create_default_context(cadata=(trust or self.trust).decode())
        async with self.session.post(
            f"https://127.0.0.1:{self.port}/inject?timeout=3s",
            data=body,
            headers={"Content-Type": content_type, "Accept": "application/json, */*"},
            ssl=context,
            server_hostname=NAME,
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def review(self, pod: Object, of: str = "risk") -> Object:
        request = {
            "uid": "u-1",
            "operation": "CREATE",
            "namespace": of,
            "name": None,
            "object": pod,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
        }
        body = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
        status, answer = await self.post(json.dumps(body).encode())
        assert (status, answer["response"]["uid"], answer["response"]["allowed"]) == (200, "u-1", True)
        response: Object = answer["response"]
        return response


def replica(kube: KubeApi, name: str = "a", *more: str) -> AbstractAsyncContextManager[Webhook]:
    """Started, not necessarily ready."""
    return Webhook.started(kube, name, *more)


def pod(**spec: Any) -> Object:
    container = {"name": "model", "image": "fraud:1", "ports": [{"name": "http", "containerPort": 8080}]}
    return {
        "metadata": {"generateName": "fraud-", "labels": {"app": "fraud"}},
        "spec": {"containers": [container], **spec},
    }


def patched(given: Object, response: Object) -> Object:
    found: Object = apply(given, json.loads(base64.b64decode(response["patch"])))
    return found


def variables(given: Object) -> dict[str, str]:
    (recorder,) = [each for each in given["spec"]["initContainers"] if each["name"] == "sidecar"]
    return {each["name"]: each.get("value", "") for each in recorder["env"]}


async def test_a_pod_is_injected_by_what_the_cluster_says_at_the_time(kube: KubeApi) -> None:
    async with replica(kube) as webhook:
        await webhook.ready()
        first = patched(pod(), await webhook.review(pod()))
        assert [each["name"] for each in first["spec"]["initContainers"]] == ["sidecar", "sidecar-intercept"]
        assert variables(first)["SIDECAR_STORE"] == "s3://evidence/all"
        assert variables(first)["SIDECAR_POLICY"] == "closed"
        # Called a second time for the same pod, as `reinvocationPolicy: IfNeeded` does.
        assert "patch" not in await webhook.review(first)
        # The namespace's defaults are followed, and win; its level changes the mode.
        await kube.put(CONFIG_MAPS, defaults("risk", store="s3://evidence/risk", polcy="open"))
        level = {"sidecar.dev/inject": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
        await kube.put(NAMESPACES, namespace("risk", **level))
        async with asyncio.timeout(PATIENCE_S):
            while "warnings" not in (response := await webhook.review(pod())) or "port" not in str(
                response["auditAnnotations"]
            ):
                await asyncio.sleep(0.05)
        assert any("risk/sidecar-defaults polcy" in each for each in response["warnings"])
        second = variables(patched(pod(), response))
        assert (second["SIDECAR_STORE"], second["SIDECAR_POLICY"]) == ("s3://evidence/risk", "closed")
        # And a Service that goes by number is seen: no sidecar without traffic.
        by_number = {"selector": {"app": "fraud"}, "ports": [{"port": 80, "targetPort": 8080}]}
        await kube.put(SERVICES, {"metadata": {"name": "fraud", "namespace": "risk"}, "spec": by_number})
        async with asyncio.timeout(PATIENCE_S):
            while "patch" in (response := await webhook.review(pod())):
                await asyncio.sleep(0.05)
        assert any("Service fraud targets port 8080 by number" in each for each in response["warnings"])


async def test_what_is_not_to_be_injected_is_admitted_as_it_is_and_counted(kube: KubeApi) -> None:
    async with replica(kube) as webhook:
        await webhook.ready()
        response = await webhook.review(pod(hostNetwork=True))
        assert "patch" not in response
        assert response["warnings"][0].startswith("sidecar: not injected: hostNetwork")
        assert "patch" not in await webhook.review(pod(), of="other")
        assert await webhook.counted('sidecar_webhook_reviews_total{outcome="refused"}') == 1
        assert await webhook.counted('sidecar_webhook_reviews_total{outcome="opted_out"}') == 1


async def test_what_is_no_review_is_an_error_and_the_next_one_is_answered(kube: KubeApi) -> None:
    async with replica(kube) as webhook:
        await webhook.ready()
        for body in (b"", b"{", b"[]", b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}'):
            status, answer = await webhook.post(body)
            assert (status, list(answer)) == (400, ["error"])
        assert (await webhook.post(b"{}", "text/plain"))[0] == 415
        status, answer = await webhook.post(b'"' + b"x" * (5 * 2**20) + b'"')
        assert (status, answer) == (413, {"error": "the review is too large"})
        assert "patch" in await webhook.review(pod())
        assert await webhook.counted('sidecar_webhook_reviews_total{outcome="malformed"}') == 5
        assert await webhook.counted('sidecar_webhook_reviews_total{outcome="oversize"}') == 1


async def test_health_comes_before_readiness_which_waits_for_the_cluster(kube: KubeApi) -> None:
    kube.forbidden = {CONFIG_MAPS}
    async with replica(kube) as webhook:
        async with asyncio.timeout(PATIENCE_S):
            while (await webhook.ask("/readyz")) != (503, "ConfigMaps sidecar-defaults are not read yet\n"):
                await asyncio.sleep(0.05)
        assert await webhook.ask("/healthz") == (200, "ok\n")
        assert await webhook.counted("sidecar_webhook_api_failures") >= 1
        assert "is forbidden: grant it to the service account" in webhook.log
        kube.forbidden = set()
        await webhook.ready()


async def test_what_it_knows_of_the_cluster_does_not_hold_reviews_up_in_garbage_collections(
    kube: KubeApi,
) -> None:
    async with Api(kube.access) as api:
        known = ClusterKnowledge(api, "sidecar-system", "sidecar:9", "9")
        work = asyncio.create_task(known.run())
        try:
            await until(lambda: gc.get_freeze_count() > 0, "what was read is left out")
            assert known.why_unready() is None
        finally:
            work.cancel()
            gc.unfreeze()


async def test_on_sigterm_it_turns_unready_answers_what_still_comes_and_gives_the_lease_up(
    kube: KubeApi,
) -> None:
    async with replica(kube) as webhook:
        await webhook.ready()
        webhook.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            while await webhook.ask("/readyz") != (503, "ending\n"):
                await asyncio.sleep(0.02)
        assert "patch" in await webhook.review(pod())
        assert await webhook.end() == 0
        assert "Traceback" not in webhook.log
        lease = kube.get(LEASES, "sidecar-webhook", "sidecar-system")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == ""


def of(kube: KubeApi, name: str) -> list[tuple[str, str]]:
    """A replica's writes, those to the Lease left out."""
    return [
        (method, path)
        for token, method, path in kube.writes
        if token == f"token-{name}" and "lease" not in path
    ]


async def test_the_leader_alone_keeps_certificate_and_trust_and_another_takes_over(kube: KubeApi) -> None:
    configuration = f"{CONFIGURATIONS}/sidecar-webhook"
    async with replica(kube, "a") as first:
        await first.ready()
        # The authority is trusted before the certificate is handed out, and only our webhook's.
        assert of(kube, "a") == [
            ("PATCH", configuration),
            ("POST", "/api/v1/namespaces/sidecar-system/secrets"),
        ]
        found = kube.get(CONFIGURATIONS, "sidecar-webhook")
        assert found is not None
        assert "caBundle" not in found["webhooks"][1]["clientConfig"]
        async with replica(kube, "b") as second:
            await second.ready()
            # Both serve the one certificate, whichever the Service leads to.
            assert "patch" in await first.review(pod())
            assert "patch" in await second.review(pod())
            leading = "sidecar_webhook_leader"
            assert (await first.counted(leading), await second.counted(leading)) == (1, 0)
            # Someone applies the manifests again, and the bundle is gone.
            before = first.trust
            bare = {"service": {"name": "sidecar-webhook"}}
            webhooks = [{"name": "ours", "clientConfig": bare}]
            await kube.put(CONFIGURATIONS, {"metadata": {"name": "sidecar-webhook"}, "webhooks": webhooks})
            await asyncio.sleep(3)
            assert of(kube, "b") == [], (
                "a replica that does not lead writes nothing but its try for the lease"
            )
            assert await first.end() == 0
            await until(lambda: ("PATCH", configuration) in of(kube, "b"), "the second takes over")
            await until(lambda: second.trust == before, "the same authority is trusted again")
            assert "patch" in await second.review(pod())
            assert ("POST", "/api/v1/namespaces/sidecar-system/secrets") not in of(kube, "b")


@pytest.mark.faults
async def test_a_certificate_that_is_gone_is_replaced_under_way(kube: KubeApi) -> None:
    async with replica(kube) as webhook:
        await webhook.ready()
        old = webhook.trust
        # The Secret is deleted, which cert tooling and people do; the leader looks every 30 s.
        await kube.delete(SECRETS, "sidecar-webhook-tls", "sidecar-system")
        assert "patch" in await webhook.review(pod()), "the last certificate stays in use"
        async with asyncio.timeout(PATIENCE_S + 30):
            while await webhook.counted("sidecar_webhook_certificate_loads_total") < 2:
                await asyncio.sleep(0.2)
        assert webhook.trust != old
        assert "patch" in await webhook.review(pod())
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await webhook.post(b"{}", trust=make([NAME], utc_now()).authority)


async def test_a_certificate_that_ran_out_while_nobody_served_is_replaced_at_once(kube: KubeApi) -> None:
    names = [f"sidecar-webhook.sidecar-system{end}" for end in (".svc", ".svc.cluster.local", "")]
    old = make(names, utc_now() - timedelta(days=91))
    metadata = {"name": "sidecar-webhook-tls", "namespace": "sidecar-system"}
    await kube.put(SECRETS, {"metadata": metadata, "data": to_secret(old)})
    async with replica(kube) as webhook:
        await webhook.ready()
        async with asyncio.timeout(SETTLE_S - 2):
            while await webhook.counted("sidecar_webhook_certificate_expiry_seconds") < time.time():
                await asyncio.sleep(0.1)
        assert "patch" in await webhook.review(pod())
        assert old.authority not in webhook.trust, "an authority that has run out is not kept"


async def test_files_of_cert_manager_are_served_and_followed(kube: KubeApi, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()

    def write() -> bytes:
        pair = make([NAME], utc_now())
        (folder / "tls.key").write_bytes(pair.key)
        (folder / "tls.crt").write_bytes(pair.certificate)
        return pair.authority

    write()
    (folder / "tls.key").write_bytes(make([NAME], utc_now()).key)
    async with replica(kube, "a", "--certificates", str(folder)) as webhook:
        await until(lambda: "certificate and key do not fit" in webhook.log, "a key of another's")
        assert (await webhook.ask("/readyz"))[0] == 503
        for loads in (1, 2):
            authority = write()
            async with asyncio.timeout(PATIENCE_S):
                while await webhook.counted("sidecar_webhook_certificate_loads_total") < loads:
                    await asyncio.sleep(0.1)
            await webhook.ready()
            assert (await webhook.post(b"{}", trust=authority))[0] == 400
        assert kube.writes == [], "neither a lease, nor a Secret, nor a caBundle"
        assert "sidecar_webhook_leader" not in (await webhook.ask("/metrics"))[1]


def test_outside_a_pod_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    done = sidecar("webhook")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "give --api URL" in done.err
