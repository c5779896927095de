"""The coverage in the Prometheus exposition format: one table, read by the collector and by docs' test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.cluster.coverage import Row, State
from sidecar.cluster.report import Report

Samples = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Family:
    """A gauge: its name, labels, meaning, and its samples from the rows."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    samples: Callable[[Sequence[Row]], Samples]


def _pods(rows: Sequence[Row]) -> Samples:
    counts = Counter((each.namespace, str(each.state)) for each in rows)
    # A state that nobody is in any more is 0, not gone: alarms compare.
    return {
        (namespace, str(state)): counts[namespace, str(state)]
        for namespace in {each.namespace for each in rows}
        for state in State
    }


def _uncovered(rows: Sequence[Row]) -> Samples:
    return dict(Counter((each.namespace, str(each.reason)) for each in rows if each.reason is not None))


def _modes(rows: Sequence[Row]) -> Samples:
    return dict(Counter((each.namespace, each.mode) for each in rows if each.mode is not None))


def _digest_unknown(rows: Sequence[Row]) -> Samples:
    found: Samples = {(each.namespace,): 0 for each in rows if each.mode is not None}
    for each in rows:
        if each.mode is not None and each.digest is None and each.state != State.STARTING:
            found[each.namespace,] += 1
    return found


def _of_reports(worth: Callable[[Sequence[Report]], float | None]) -> Callable[[Sequence[Row]], Samples]:
    """One sample per namespace, over the sidecars that answered."""

    def samples(rows: Sequence[Row]) -> Samples:
        answered: defaultdict[str, list[Report]] = defaultdict(list)
        for each in rows:
            if each.report is not None:
                answered[each.namespace].append(each.report)
        found = {(namespace,): worth(reports) for namespace, reports in answered.items()}
        return {labels: value for labels, value in found.items() if value is not None}

    return samples


def _opaque_ratio(reports: Sequence[Report]) -> float | None:
    opaque = sum(each.opaque_bytes or 0 for each in reports)
    whole = opaque + sum(each.readable_bytes or 0 for each in reports)
    return opaque / whole if whole else None


FAMILIES: tuple[Family, ...] = (
    Family(
        "sidecar_coverage_pods",
        ("namespace", "state"),
        "Model pods by state: `covered`, `uncovered`, `starting`, `left_out`",
        _pods,
    ),
    Family(
        "sidecar_coverage_uncovered_pods",
        ("namespace", "reason"),
        "Model pods that are not recorded, by reason",
        _uncovered,
    ),
    Family(
        "sidecar_coverage_mode_pods",
        ("namespace", "mode"),
        "Pods with a sidecar, by how traffic reaches it",
        _modes,
    ),
    Family(
        "sidecar_coverage_digest_unknown_pods",
        ("namespace",),
        "Pods with a sidecar whose records cannot be labelled with the image",
        _digest_unknown,
    ),
    Family(
        "sidecar_coverage_opaque_ratio",
        ("namespace",),
        "Share of the bytes since the sidecars' start that nobody could read (TLS, HTTP/2, tunnels)",
        _of_reports(_opaque_ratio),
    ),
    Family(
        "sidecar_coverage_opaque_bytes",
        ("namespace",),
        "Bytes since the sidecars' start that nobody could read, of the pods that run now",
        _of_reports(lambda reports: sum(each.opaque_bytes or 0 for each in reports)),
    ),
    Family(
        "sidecar_coverage_ship_lag_seconds",
        ("namespace",),
        "The longest that a record which is not in the store has waited in any pod",
        _of_reports(lambda reports: max(each.ship_lag_s for each in reports)),
    ),
    Family(
        "sidecar_coverage_store_down_pods",
        ("namespace",),
        "Pods whose store refuses their batches",
        _of_reports(lambda reports: sum(each.store_error is not None for each in reports)),
    ),
    Family(
        "sidecar_coverage_gaps",
        ("namespace",),
        "Gap records in the journals of the pods that run now",
        _of_reports(lambda reports: sum(each.gaps for each in reports)),
    ),
    Family(
        "sidecar_coverage_gap_exchanges",
        ("namespace",),
        "Exchanges inside those gaps",
        _of_reports(lambda reports: sum(each.gap_exchanges for each in reports)),
    ),
)
LOOKED = "sidecar_coverage_looked_timestamp_seconds"
LOOKED_MEANING = "When all pods were last looked at, seconds since 1970"


class CoverageCollector(Collector):
    """Made anew for every scrape. A replica that does not look exposes nothing: pods would count twice."""

    def __init__(self, rows: Callable[[], tuple[Sequence[Row], float] | None]) -> None:
        """`rows` gives the rows and when they were made; None from who does not lead."""
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        found = self._rows()
        if found is None:
            return
        rows, looked_s = found
        for family in FAMILIES:
            metric = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, value in sorted(family.samples(rows).items()):
                metric.add_metric(labels, value)
            yield metric
        looked = GaugeMetricFamily(LOOKED, LOOKED_MEANING)
        looked.add_metric((), looked_s)
        yield looked
