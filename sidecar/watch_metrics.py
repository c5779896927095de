"""What `sidecar watch` tells Prometheus; the rules of k8s/prometheus-rules.yaml read it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.alerting.courier import OUTCOMES, Courier
from sidecar.statistics.label_figures import ERRORS, SCORE, SHARES, value_of
from sidecar.watcher import Watcher

TALLIED = ("on_time", "late", "overdue", "recounted", "refused")


class WatchCollector(Collector):
    """Reads watcher and courier anew for every scrape."""

    def __init__(self, watcher: Watcher, sender: Courier) -> None:
        self._watcher = watcher
        self._sender = sender

    def collect(self) -> Iterator[Metric]:
        yield from self._looks()
        yield from self._series()
        yield self._alarms()
        yield from self._labels()
        yield from self._alerts()

    def _looks(self) -> Iterator[Metric]:
        health = self._watcher.health
        yield GaugeMetricFamily(
            "sidecar_watch_up", "0 while the store cannot be looked through", int(not health.error)
        )
        yield GaugeMetricFamily(
            "sidecar_watch_last_look_seconds",
            "When the store was last looked through, seconds since 1970",
            health.looked_us / 1e6,
        )
        yield CounterMetricFamily("sidecar_watch_files", "Files of panes taken", health.files)
        repeated = sum(run.assembly.tallied.repeated_files for run in list(self._watcher.runs.values()))
        yield CounterMetricFamily(
            "sidecar_watch_repeated_files", "Files of panes that were stored twice and counted once", repeated
        )
        yield CounterMetricFamily(
            "sidecar_watch_unreadable_files", "Files of panes that cannot be read", health.unreadable
        )
        yield GaugeMetricFamily(
            "sidecar_watch_left_out_series", "Series for which there is no room", health.left_out_series
        )
        missing = self._watcher.missing_files
        if missing is not None:
            yield GaugeMetricFamily(
                "sidecar_watch_missing_files", "Files that lie between those taken", missing
            )

    def _series(self) -> Iterator[Metric]:
        exchanges = CounterMetricFamily(
            "sidecar_watch_exchanges",
            "Exchanges in panes, by what became of them",
            labels=("model", "digest", "plan", "outcome"),
        )
        labels = ("model", "digest", "plan")
        behind = GaugeMetricFamily(
            "sidecar_watch_evaluated_seconds",
            "Up to when panes are evaluated, seconds since 1970",
            labels=labels,
        )
        unproven = GaugeMetricFamily(
            "sidecar_watch_unproven_quantities",
            "Quantities whose false-alarm rate is not proven",
            labels=labels,
        )
        for series, run in list(self._watcher.runs.items()):
            named = (series.model, series.digest, series.plan[:12])
            for outcome in TALLIED:
                exchanges.add_metric((*named, outcome), getattr(run.assembly.tallied, outcome))
            behind.add_metric(named, run.assembly.handed_to_us / 1e6)
            unproven.add_metric(named, sum(not promise.kept for promise in run.evaluator.promises()))
        yield from (exchanges, behind, unproven)

    def _alarms(self) -> Metric:
        family = GaugeMetricFamily(
            "sidecar_watch_alarm",
            "1 for each alarm that is not over",
            labels=("model", "digest", "quantity", "severity", "state", "alarm"),
        )
        for series, alarm in self._watcher.alarms():
            if alarm.active:
                family.add_metric(
                    (series.model, series.digest, alarm.quantity, alarm.severity, alarm.state, alarm.id), 1
                )
        return family

    def _labels(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily(
            "sidecar_watch_labelled_rows",
            "Rows of the last 30 days whose truth is known",
            labels=("model", "digest", "plan", "group"),
        )
        values = GaugeMetricFamily(
            "sidecar_watch_label_figure",
            "What ground truth says of the decisions of the last 30 days",
            labels=("model", "digest", "plan", "group", "figure"),
        )
        for series, each in list(self._watcher.labels.runs.items()):
            told = each.figures()
            for group, own in (("", told), *told.get("groups", {}).items()):
                named = (series.model, series.digest, series.plan[:12], group)
                rows.add_metric(named, own["rows"])
                for figure in (*SHARES, *ERRORS, *SCORE):
                    value = value_of(own, figure)
                    if value is not None:
                        values.add_metric((*named, figure), value)
        yield from (rows, values)
        yield GaugeMetricFamily(
            "sidecar_watch_left_out_labels",
            "Labels for which there is no room",
            self._watcher.labels.left_out,
        )

    def _alerts(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "sidecar_alerts", "Alerts by receiver and what became of them", labels=("receiver", "outcome")
        )
        waiting = GaugeMetricFamily(
            "sidecar_alerts_waiting", "Alerts that wait to be sent", labels=("receiver",)
        )
        for receiver, counted in self._sender.counted().items():
            for outcome in OUTCOMES:
                family.add_metric((receiver, outcome), getattr(counted, outcome))
            waiting.add_metric((receiver,), counted.waiting)
        yield from (family, waiting)


def exposition(watcher: Watcher, sender: Courier) -> bytes:
    """The text a scrape gets."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WatchCollector(watcher, sender))
    return generate_latest(registry)
