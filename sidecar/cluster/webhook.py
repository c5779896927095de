"""The webhook's server: reviews over TLS, whose certificate changes as it runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar.cluster.certificate import Pair, expiry
from sidecar.cluster.pem import load_pair

log = logging.getLogger("sidecar.webhook")

MOST_BODY_BYTES = 4 * 2**20
"""The API server takes objects of at most 3 MiB, and a pod's creation carries one."""
BODY_S = 10.0
"""For a review to come whole: the API server has given up long before."""


FAILURES = ("failed", "malformed", "oversize", "slow")
"""Outcomes that are an HTTP error, so that the pod starts as it is."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a review came to: HTTP status and body, and one word for the metrics."""

    status: int
    body: bytes
    outcome: str


class Metrics:
    """What the webhook tells Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reviews = Counter(
            "sidecar_webhook_reviews", "Reviews by what came of them.", ["outcome"], registry=self.registry
        )
        for outcome in FAILURES:
            # From nought on: Prometheus sees no increase in a series that begins with its first failure.
            self.reviews.labels(outcome)
        self.seconds = Histogram(
            "sidecar_webhook_review_seconds",
            "Time from a whole request to its answer.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1),
            registry=self.registry,
        )
        self.expiry = Gauge(
            "sidecar_webhook_certificate_expiry_seconds",
            "Unix time when the serving certificate runs out.",
            registry=self.registry,
        )
        self.leader = Gauge("sidecar_webhook_leader", "1 for the replica that leads.", registry=self.registry)
        self.rotations = Counter(
            "sidecar_webhook_certificate_loads", "Certificates taken into use.", registry=self.registry
        )
        self.api_failures = Gauge(
            "sidecar_webhook_api_failures",
            "Lists and watches of the API that failed.",
            registry=self.registry,
        )


class Certificate:
    """The TLS context, and the certificate that new connections get."""

    def __init__(self, metrics: Metrics) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._metrics = metrics
        self.loaded = asyncio.Event()
        """Set with the first certificate."""
        self._current: bytes | None = None

    def load(self, certificate: bytes, key: bytes) -> None:
        """Serve with this PEM pair from the next connection on. Raises ValueError for what is no pair."""
        if certificate == self._current:
            return
        load_pair(self.context, certificate, key)
        self._current = certificate
        self.loaded.set()
        self._metrics.expiry.set(expiry(certificate).timestamp())
        self._metrics.rotations.inc()
        log.info("serving certificate runs out at %s", expiry(certificate).strftime("%Y-%m-%d %H:%M"))

    def load_pair(self, pair: Pair) -> None:
        self.load(pair.certificate, pair.key)


def review_app(decide: Callable[[bytes], Reply], metrics: Metrics, body_s: float = BODY_S) -> web.Application:
    """`POST /inject`: whatever fails here is an HTTP error, which `failurePolicy: Ignore` lets pass."""

    async def inject(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _answered(Reply(415, b'{"error":"send application/json"}', "malformed"), metrics)
        try:
            async with asyncio.timeout(body_s):
                body = await request.read()
        except TimeoutError:
            slow = _answered(Reply(408, b'{"error":"the review did not come in time"}', "slow"), metrics)
            slow.force_close()
            return slow
        except web.HTTPRequestEntityTooLarge:
            return _answered(Reply(413, b'{"error":"the review is too large"}', "oversize"), metrics)
        started = time.perf_counter()
        try:
            reply = decide(body)
        except Exception:
            # A fault of ours must not become a model's outage; the line is what there is to mend it by.
            log.exception("a review failed")
            reply = Reply(500, b'{"error":"internal error"}', "failed")
        metrics.seconds.observe(time.perf_counter() - started)
        return _answered(reply, metrics)

    app = web.Application(client_max_size=MOST_BODY_BYTES)
    app.router.add_post("/inject", inject)
    return app


def _answered(reply: Reply, metrics: Metrics) -> web.Response:
    metrics.reviews.labels(reply.outcome).inc()
    return web.Response(status=reply.status, body=reply.body, content_type="application/json")
