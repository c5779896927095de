"""What is known of the models that answer; no samples where `identity` is `static`."""

from __future__ import annotations

from sidecar.console.family import Family, Source, counter, gauge


def _told(name: str) -> Source:
    return lambda board, seen: [((), seen.identity[name])] if name in seen.identity else []


IDENTITY: tuple[Family, ...] = (
    gauge(
        "sidecar_identity_known", "1 while the digest of the model that answers now is known", _told("known")
    ),
    gauge(
        "sidecar_identity_waiting",
        "1 while records wait for what the cluster says of the model that answered them",
        _told("waiting"),
    ),
    gauge(
        "sidecar_identity_reachable",
        "1 while the annotations' file, or the API, can be read",
        _told("reachable"),
    ),
    counter(
        "sidecar_identity_epochs_total",
        "Models that have followed one another behind the route in this boot",
        _told("epochs"),
    ),
    counter(
        "sidecar_identity_news_total", "How often something was told of the model's container", _told("news")
    ),
    counter(
        "sidecar_identity_unreadable_total",
        "Annotations `sidecar.dev/digest` that could not be read",
        _told("unreadable"),
    ),
    counter(
        "sidecar_identity_unknown_rows_total",
        "Rows sealed without a digest of any kind",
        lambda board, seen: [((), seen.totals.get("unidentified", 0))],
    ),
)
