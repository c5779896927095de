"""The identity that settings alone can tell: one epoch per route for the whole boot."""

from __future__ import annotations

from sidecar.records import Epoch

STATIC_EPOCH = 0
"""The number every exchange carries until something observes that the model changed."""


def static_epoch(
    route: str, model: str, image_digest: str | None, artifact_digest: str | None, since_us: int
) -> Epoch:
    """What the operator said about a route's model; its source is `unknown` when that was nothing."""
    source = "flag" if image_digest else "artifact" if artifact_digest else "unknown"
    return Epoch(route, STATIC_EPOCH, model, image_digest, artifact_digest, source, since_us)
