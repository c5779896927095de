"""Leader election through a Lease (coordination.k8s.io/v1): at most one replica acts at a time.

Like client-go, no clock is trusted but one's own: a leader counts as gone when
its record has not changed for the lease's whole duration, as seen from here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from sidecar.backoff import Backoff
from sidecar.cluster.api import Api, Object
from sidecar.errors import ClusterError

log = logging.getLogger("sidecar.lease")


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: how long a lease lasts, how long its holder trusts it, how often it is looked at."""

    duration_s: float = 15.0
    deadline_s: float = 10.0
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease's record, and when it was first seen so, by the monotonic clock."""

    record: tuple[str, str]
    """Holder and time of renewal, as written."""
    at_s: float


class Step(Enum):
    """What to do with the lease now."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


def decide(
    lease: Object | None, seen: Seen | None, me: str, now_s: float, duration_s: float
) -> tuple[Step, Seen | None]:
    """The next step, and what has been seen of the lease until now."""
    if lease is None:
        return Step.CREATE, None
    spec = lease.get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    record = (holder, str(spec.get("renewTime") or ""))
    if seen is None or seen.record != record:
        seen = Seen(record, now_s)
    if holder == me:
        return Step.RENEW, seen
    if not holder or now_s - seen.at_s >= duration_s:
        return Step.TAKE, seen
    return Step.WAIT, seen


def taken(
    lease: Object | None, name: str, namespace: str, me: str, wall_s: float, duration_s: float
) -> Object:
    """The lease as its holder `me` writes it; its resource version stays, so that only one of two wins."""
    lease = lease or {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
    }
    spec = dict(lease.get("spec") or {})
    now = datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if spec.get("holderIdentity") != me:
        changes = int(spec.get("leaseTransitions") or 0) + 1 if spec.get("holderIdentity") is not None else 0
        spec |= {"acquireTime": now, "leaseTransitions": changes}
    spec |= {"holderIdentity": me, "renewTime": now, "leaseDurationSeconds": max(1, int(duration_s))}
    return {**lease, "spec": spec}


class Leader:
    """This replica's part in the election. `is_leader` turns false by itself when renewing fails for long."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        me: str,
        times: Times | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._api, self._namespace, self._name, self._me = api, namespace, name, me
        self._times = times or Times()
        self._monotonic, self._wall = monotonic, wall
        self._seen: Seen | None = None
        self._renewed_s: float | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this replica may act. Ask before every write."""
        return self._renewed_s is not None and self._monotonic() - self._renewed_s < self._times.deadline_s

    async def run(self) -> None:
        """Stands for election until it is cancelled, then gives the lease up."""
        backoff = Backoff(self._times.retry_s, self._times.duration_s)
        try:
            while True:
                try:
                    async with asyncio.timeout(self._times.deadline_s):
                        await self._round()
                    backoff.succeeded()
                    wait = self._times.retry_s
                except (ClusterError, TimeoutError) as error:
                    wait = min(backoff.failed(), self._times.retry_s * 2)
                    log.warning("lease %s: %s", self._name, error or "no answer in time")
                await asyncio.sleep(wait)
        finally:
            await self._give_up()

    async def _round(self) -> None:
        lease = await self._read()
        started = self._monotonic()
        step, self._seen = decide(lease, self._seen, self._me, started, self._times.duration_s)
        if step is Step.WAIT:
            self._renewed_s = None
            return
        body = taken(lease, self._name, self._namespace, self._me, self._wall(), self._times.duration_s)
        try:
            if step is Step.CREATE:
                await self._api.request("POST", self._collection, body)
            else:
                await self._api.request("PUT", f"{self._collection}/{self._name}", body)
        except ClusterError as error:
            if error.status != 409:
                raise
            # Another replica was quicker; the next round sees whose it is.
            self._renewed_s = None
            return
        if self._renewed_s is None:
            log.info("leads %s", self._name)
        # From before the write: the lease may have been written that early.
        self._renewed_s = started

    async def _read(self) -> Object | None:
        try:
            return await self._api.get(f"{self._collection}/{self._name}")
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def _give_up(self) -> None:
        if not self.is_leader:
            return
        self._renewed_s = None
        try:
            async with asyncio.timeout(2):
                lease = await self._read()
                if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._me:
                    lease["spec"]["holderIdentity"] = ""
                    await self._api.request("PUT", f"{self._collection}/{self._name}", lease)
        except (ClusterError, TimeoutError) as error:
            log.warning("lease %s: not given up: %s; it runs out by itself", self._name, error)

    @property
    def _collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"
