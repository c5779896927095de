"""The leader's care for the webhook's certificate: in a Secret for all replicas, trusted by the API server.

The order keeps every handshake good: the new authority is trusted first, beside
the old one; only then the new certificate is handed out.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from sidecar.cluster.api import Api, Object
from sidecar.cluster.certificate import (
    Pair,
    from_secret,
    make,
    needs_renewal,
    still_valid,
    to_secret,
    utc_now,
)
from sidecar.errors import ClusterError

log = logging.getLogger("sidecar.certificate")

SETTLE_S = 10.0
"""For the API servers to hear of a new authority before a certificate of it is served."""
_TRIES = 6
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class Keeper:
    """Keeps one Secret and one MutatingWebhookConfiguration in step."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        secret: str,
        configuration: str,
        names: Sequence[str],
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api, self._namespace, self._secret = api, namespace, secret
        self._configuration, self._names = configuration, tuple(names)
        self._now, self._sleep = now, sleep

    async def tend(self) -> Pair:
        """Look once, and make and trust a new certificate where it is time. Only the leader may.

        Raises ClusterError.
        """
        for _ in range(_TRIES):
            secret = await self._read()
            pair = from_secret((secret or {}).get("data"))
            why = needs_renewal(pair, self._names, self._now())
            if pair is not None and why is None:
                await self._trust(pair.authority)
                return pair
            fresh = make(self._names, self._now(), pair.authority if pair is not None else b"")
            await self._trust(fresh.authority)
            if pair is not None and still_valid(pair.certificate, self._now()):
                # Until then the old one does; one that has run out does not.
                await self._sleep(SETTLE_S)
            if await self._write(secret, fresh):
                log.info("new serving certificate: %s", why)
                return fresh
        raise ClusterError(
            f"secret {self._secret}: is changed by another again and again: see who writes it", 409
        )

    async def _read(self) -> Object | None:
        try:
            return await self._api.get(f"{self._secrets}/{self._secret}")
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def _write(self, secret: Object | None, pair: Pair) -> bool:
        """Whether the Secret was written; False when another replica was quicker."""
        try:
            if secret is None:
                metadata = {"name": self._secret, "namespace": self._namespace}
                body = {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "type": "kubernetes.io/tls",
                    "metadata": metadata,
                }
                await self._api.request("POST", self._secrets, body | {"data": to_secret(pair)})
            else:
                data = {**(secret.get("data") or {}), **to_secret(pair)}
                await self._api.request("PUT", f"{self._secrets}/{self._secret}", {**secret, "data": data})
        except ClusterError as error:
            if error.status != 409:
                raise
            return False
        return True

    async def _trust(self, authority: bytes) -> None:
        """Write the authorities into every webhook of the configuration that has others."""
        wanted = base64.b64encode(authority).decode()
        path = f"{_CONFIGURATIONS}/{self._configuration}"
        for _ in range(_TRIES):
            try:
                found = await self._api.get(path)
            except ClusterError as error:
                if error.status == 404:
                    raise ClusterError(
                        f"MutatingWebhookConfiguration {self._configuration} is missing: apply the manifests",
                        404,
                    ) from error
                raise
            changes = ca_bundle_patch(found, wanted)
            if not changes:
                return
            try:
                await self._api.patch(path, changes)
            except ClusterError as error:
                # 422 is a failed `test`: somebody else changed the configuration meanwhile.
                if error.status not in (409, 422):
                    raise
            else:
                return
        raise ClusterError(f"{path}: is changed by another again and again: see who writes it", 409)

    @property
    def _secrets(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets"


def ca_bundle_patch(configuration: Object, wanted: str) -> list[Object]:
    """JSON patch that gives every webhook this `caBundle`; empty when all have it."""
    webhooks = configuration.get("webhooks") or []
    stale = [
        index
        for index, each in enumerate(webhooks)
        if (each.get("clientConfig") or {}).get("caBundle") != wanted
        and "service" in (each.get("clientConfig") or {})
    ]
    if not stale:
        return []
    version = (configuration.get("metadata") or {}).get("resourceVersion")
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        *(
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": wanted}
            for index in stale
        ),
    ]
