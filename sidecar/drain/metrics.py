"""What a drainer tells Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

STATES = ("alive", "quiet", "waiting", "draining", "refused", "failed", "aside")
REASONS = ("rules", "keys", "store", "place", "files", "memory", "newer")


class Metrics:
    """Counters and gauges, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._journals = Gauge(
            "sidecar_drain_journals", "Journals in the folder, by state.", ["state"], registry=self.registry
        )
        self._refused = Gauge(
            "sidecar_drain_refused_journals",
            "Journals of pods that are gone and that are not shipped, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.drained = Counter(
            "sidecar_drain_drained", "Journals shipped, verified and removed.", registry=self.registry
        )
        self.rows = Counter("sidecar_drain_rows", "Rows shipped.", registry=self.registry)
        self.bytes = Counter("sidecar_drain_bytes", "Bytes shipped.", registry=self.registry)
        self.failures = Counter(
            "sidecar_drain_failures", "Attempts that did not ship a journal whole.", registry=self.registry
        )
        self.oldest = Gauge(
            "sidecar_drain_oldest_seconds",
            "How long the journal has been known that waits longest, its pod being gone.",
            registry=self.registry,
        )
        self.api_up = Gauge(
            "sidecar_drain_api_up", "Whether the API listed the pods when last asked.", registry=self.registry
        )
        self.last_pass = Gauge(
            "sidecar_drain_last_pass_timestamp_seconds", "When the folder was last looked at.",
            registry=self.registry,
        )  # fmt: skip
        self.show((), ())

    def show(self, states: Iterable[str], reasons: Iterable[str]) -> None:
        """The state of every journal, and why refused ones are."""
        found, why = Tally(states), Tally(reasons)
        for state in STATES:
            self._journals.labels(state).set(found[state])
        for reason in REASONS:
            self._refused.labels(reason).set(why[reason])
