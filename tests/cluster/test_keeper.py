"""Certificate and trust in step: the order, what is left alone, and others who write the same objects."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from sidecar.cluster.api import Api
from sidecar.cluster.certificate import LIFETIME, Pair, from_secret, make, to_secret
from sidecar.cluster.keeper import SETTLE_S, Keeper, ca_bundle_patch
from sidecar.errors import ClusterError
from tests.support.kube_api import KubeApi

SYSTEM, NAMES = "sidecar-system", ("sidecar-webhook.sidecar-system.svc",)
SECRETS, SECRET = "/api/v1/secrets", "sidecar-webhook-tls"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Kept:
    """A keeper with a clock of the test's, over a cluster that has a configuration and, if given, a Secret."""

    def __init__(self, kube: KubeApi, api: Api) -> None:
        self.kube, self.now = kube, NOW
        self.slept: list[float] = []
        self.while_asleep: Callable[[], Awaitable[Any]] | None = None
        self.keeper = Keeper(api, SYSTEM, SECRET, "sidecar", NAMES, lambda: self.now, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.while_asleep is not None:
            await self.while_asleep()

    async def put(self, pair: Pair | None, trusted: bytes = b"") -> None:
        ours = {"service": {"name": "x"}, "caBundle": base64.b64encode(trusted).decode()}
        configuration = {"metadata": {"name": "sidecar"}, "webhooks": [{"clientConfig": ours}]}
        await self.kube.put(CONFIGURATIONS, configuration)
        if pair is not None:
            metadata = {"name": SECRET, "namespace": SYSTEM}
            await self.kube.put(SECRETS, {"metadata": metadata, "data": to_secret(pair)})

    @property
    def pair(self) -> Pair | None:
        return from_secret((self.kube.get(SECRETS, SECRET, SYSTEM) or {}).get("data"))

    @property
    def trusted(self) -> bytes:
        found = self.kube.get(CONFIGURATIONS, "sidecar")
        assert found is not None
        return base64.b64decode(found["webhooks"][0]["clientConfig"]["caBundle"])


@pytest.fixture
async def kept(kube: KubeApi) -> Any:
    async with Api(kube.access, first_wait_s=0.01) as api:
        yield Kept(kube, api)


async def test_what_is_in_order_is_not_written(kept: Kept) -> None:
    pair = make(NAMES, NOW)
    await kept.put(pair, pair.authority)
    assert await kept.keeper.tend() == pair
    assert kept.kube.writes == []


async def test_a_renewal_is_trusted_beside_the_old_one_before_it_is_served(kept: Kept) -> None:
    old = make(NAMES, NOW)
    await kept.put(old, old.authority)
    kept.now = NOW + LIFETIME * 0.7
    seen: list[tuple[bytes, Pair | None]] = []

    async def look() -> None:
        seen.append((kept.trusted, kept.pair))

    kept.while_asleep = look
    new = await kept.keeper.tend()
    assert kept.pair == new != old
    assert kept.slept == [SETTLE_S]
    assert seen == [(new.authority, old)], "trusted already, and not yet served"
    assert new.authority.endswith(old.authority)


async def test_a_secret_of_garbage_is_made_anew_and_its_other_keys_stay(kept: Kept) -> None:
    await kept.put(None)
    metadata = {"name": SECRET, "namespace": SYSTEM}
    await kept.kube.put(SECRETS, {"metadata": metadata, "data": {"tls.crt": "eA==", "note": "eA=="}})
    new = await kept.keeper.tend()
    assert kept.pair == new
    assert (kept.kube.get(SECRETS, SECRET, SYSTEM) or {})["data"]["note"] == "eA=="


async def test_of_two_that_make_one_the_quickers_is_taken(kept: Kept) -> None:
    old, others = make(NAMES, NOW), make(NAMES, NOW + timedelta(days=70))
    await kept.put(old, old.authority)
    kept.now = NOW + LIFETIME * 0.8
    kept.while_asleep = lambda: kept.put(others, old.authority)
    assert await kept.keeper.tend() == others
    assert kept.pair == others
    assert kept.trusted == others.authority


async def test_a_configuration_that_another_changes_meanwhile_is_read_again(kept: Kept) -> None:
    await kept.put(None)
    kept.kube.fail(web.json_response({"message": "test failed"}, status=422), method="PATCH", times=2)
    pair = await kept.keeper.tend()
    assert kept.trusted == pair.authority


@pytest.mark.parametrize(
    ("status", "words"), [(403, "grant it"), (409, "changed by another again and again")]
)
async def test_what_it_may_not_do_is_said_and_nothing_untrusted_is_served(
    kept: Kept, status: int, words: str
) -> None:
    await kept.put(None)
    kept.kube.fail(web.json_response({"message": "no"}, status=status), method="PATCH", times=9)
    with pytest.raises(ClusterError, match=words):
        await kept.keeper.tend()
    assert kept.pair is None


async def test_without_a_configuration_it_says_what_is_missing(kept: Kept) -> None:
    with pytest.raises(ClusterError, match="MutatingWebhookConfiguration sidecar is missing: apply"):
        await kept.keeper.tend()
    assert kept.pair is None


def test_webhooks_that_are_reached_by_url_are_another_authoritys() -> None:
    configuration = {
        "metadata": {"resourceVersion": "7"},
        "webhooks": [
            {"clientConfig": {"url": "https://elsewhere"}},
            {"clientConfig": {"service": {}, "caBundle": "old"}},
            {"clientConfig": {"service": {}, "caBundle": "new"}},
        ],
    }
    assert ca_bundle_patch(configuration, "new") == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "new"},
    ]
    assert ca_bundle_patch({}, "new") == []
