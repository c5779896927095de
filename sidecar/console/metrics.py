"""The board's numbers in the Prometheus exposition format.

One table, read by the collector and by the test that compares it with
docs/records.md. Counters of the recorder begin again with each boot; those of
the analyst live as long as the journal folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import sidecar
from sidecar.console.board import Board, gaps
from sidecar.console.family import Family, Samples, Source, counter, gauge
from sidecar.console.identity_metrics import IDENTITY
from sidecar.console.snapshot import Snapshot
from sidecar.counters import COMMIT_BUCKETS_US, Global, Mode, Route
from sidecar.records import GAP_REASONS, Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _global(slot: Global) -> Source:
    return lambda board, seen: [((), board.counters.get(slot))]


def _route(slot: Route) -> Source:
    return lambda board, seen: [((name,), board.counters.route(name, slot)) for name in board.counters.routes]


def _total(name: str) -> Source:
    return lambda board, seen: [((), seen.totals.get(name, 0))]


def _shipping(name: str) -> Source:
    return lambda board, seen: [((), seen.shipping.get(name, 0))]


def _outcomes(board: Board, seen: Snapshot) -> Samples:
    counters = board.counters
    return [
        ((name, outcome.label), counters.route(name, Route.OUTCOME, outcome))
        for name in counters.routes
        for outcome in Outcome
    ]


def _opaque_connections(board: Board, seen: Snapshot) -> Samples:
    slots = (("tls", Route.OPAQUE_TLS), ("http2", Route.OPAQUE_HTTP2))
    return [
        ((name, protocol), board.counters.route(name, slot))
        for name in board.counters.routes
        for protocol, slot in slots
    ]


def _by_gap_reason(total: str) -> Source:
    """Every reason from the start on: Prometheus sees no increase in a series that begins above nought."""

    def samples(board: Board, seen: Snapshot) -> Samples:
        reasons = sorted({*GAP_REASONS, *(reason for reason, _ in gaps(seen))})
        return [((reason,), seen.totals.get(f"{total}/{reason}", 0)) for reason in reasons]

    return samples


def _models(read: Callable[[dict[str, Any]], float]) -> Source:
    """One sample per route and digest that is watched."""
    return lambda board, seen: [
        (key, read(summary)) for key, summary in board.summaries() if summary.get("state") == "watching"
    ]


def _alarms(board: Board, seen: Snapshot) -> Samples:
    found: Samples = []
    for (route, digest), summary in board.summaries():
        loud = [alarm for alarm in summary.get("alarms", ()) if alarm["state"] != "resolved"]
        for severity in ("warning", "critical"):
            count = sum(alarm["severity"] == severity for alarm in loud)
            found.append(((route, digest, severity), count))
    return found


def _alerts(*outcomes: str) -> Source:
    return lambda board, seen: [
        ((receiver, *([outcome] if outcomes[1:] else [])), counts[outcome])
        for receiver, counts in board.alerts().items()
        for outcome in outcomes
    ]


def _psi(board: Board, seen: Snapshot) -> Samples:
    found: Samples = []
    for (route, digest), summary in board.summaries():
        window = summary.get("window") or {}
        for side, fields in (("inputs", "features"), ("outputs", "outputs"), ("exchange", "exchange")):
            for name, field in window.get(fields, {}).items():
                if field["psi"] is not None:
                    found.append(((route, digest, f"{side}.{name}"), field["psi"]))
    return found


def _rules(count: str) -> Source:
    """One sample per data-quality rule."""
    return lambda board, seen: [
        ((*key, rule["rule"]), rule[count])
        for key, summary in board.summaries()
        for rule in summary.get("rules", ())
    ]


FAMILIES: tuple[Family, ...] = (
    gauge("sidecar_build_info", "1, by version", lambda b, s: [((sidecar.__version__,), 1)], "version"),
    counter("sidecar_exchanges_total", "Exchanges that ended, by how", _outcomes, "route", "outcome"),
    counter(
        "sidecar_exchanges_started_total",
        "Exchanges whose first byte was seen",
        _route(Route.STARTED),
        "route",
    ),
    counter("sidecar_request_bytes_total", "Bytes from clients", _route(Route.REQUEST_BYTES), "route"),
    counter("sidecar_response_bytes_total", "Bytes to clients", _route(Route.RESPONSE_BYTES), "route"),
    counter(
        "sidecar_opaque_bytes_total",
        "Bytes of opaque connections and tunnels, as they pass",
        _route(Route.OPAQUE_BYTES),
        "route",
    ),
    counter(
        "sidecar_opaque_connections_total",
        "Connections that began with TLS or HTTP/2, by protocol",
        _opaque_connections,
        "route",
        "protocol",
    ),
    counter("sidecar_shed_exchanges_total", "Exchanges that left no record", _route(Route.SHED), "route"),
    counter(
        "sidecar_spliced_exchanges_total",
        "Exchanges passed in splice-only mode",
        _route(Route.SPLICED),
        "route",
    ),
    counter(
        "sidecar_cut_exchanges_total", "Exchanges with a body not kept whole", _route(Route.CUT), "route"
    ),
    counter(
        "sidecar_held_expired_total",
        "Responses that left uncommitted after `hold_limit`",
        _route(Route.HELD_EXPIRED),
        "route",
    ),
    counter(
        "sidecar_upstream_failures_total",
        "Upstream connections that could not be made",
        _route(Route.UPSTREAM_FAILURES),
        "route",
    ),
    counter(
        "sidecar_delivery_failures_total",
        "Committed responses that did not arrive whole",
        _route(Route.DELIVERY_FAILURES),
        "route",
    ),
    counter("sidecar_connections_total", "Client connections accepted", _route(Route.CONNECTIONS), "route"),
    gauge("sidecar_connections_open", "Client connections now open", _global(Global.CONNECTIONS_OPEN)),
    counter(
        "sidecar_connections_refused_total",
        "Client connections closed because `max_connections` were open",
        _global(Global.CONNECTIONS_REFUSED),
    ),
    gauge(
        "sidecar_recording",
        "1 while exchanges are recorded, 0 in splice-only mode",
        lambda b, s: [((), int(b.counters.get(Global.MODE) == Mode.RECORD))],
    ),
    gauge("sidecar_capture_memory_bytes", "Captured bytes in memory", _global(Global.CAPTURE_BYTES)),
    gauge("sidecar_journal_bytes", "Bytes of all journal volumes on disk", _global(Global.JOURNAL_BYTES)),
    gauge(
        "sidecar_journal_shedding", "1 while the journal cannot take more", _global(Global.JOURNAL_SHEDDING)
    ),
    counter("sidecar_commit_failures_total", "Journal commits that failed", _global(Global.COMMIT_FAILURES)),
    counter("sidecar_volumes_opened_total", "Journal volumes begun", _global(Global.VOLUMES_OPENED)),
    counter(
        "sidecar_volumes_moved_aside_total",
        "Journal volumes that could not be trusted",
        _global(Global.VOLUMES_MOVED_ASIDE),
    ),
    counter(
        "sidecar_observer_errors_total",
        "Connections whose observation failed and that went on as opaque",
        _global(Global.OBSERVER_ERRORS),
    ),
    counter("sidecar_clock_steps_total", "Wall-clock jumps of over a second", _global(Global.CLOCK_STEPS)),
    counter(
        "sidecar_process_starts_total",
        "Starts of each child process",
        lambda b, s: [
            (("recorder",), b.counters.get(Global.RECORDER_STARTS)),
            (("analyst",), b.counters.get(Global.ANALYST_STARTS)),
        ],
        "process",
    ),
    counter("sidecar_gaps_total", "Gap records, by reason", _by_gap_reason("gaps"), "reason"),
    counter(
        "sidecar_gap_exchanges_total",
        "Exchanges inside gap records",
        _by_gap_reason("gap_exchanges"),
        "reason",
    ),
    counter("sidecar_analyst_exchanges_total", "Exchanges read from the journal", _total("exchanges")),
    counter("sidecar_observations_total", "Exchanges decoded and counted", _total("observations")),
    counter(
        "sidecar_decode_errors_total", "Answered exchanges no decoder could read", _total("decode_errors")
    ),
    counter(
        "sidecar_decode_killed_total",
        "Exchanges stored undecoded because decoding them killed the analyst twice",
        _total("decode_killed"),
    ),
    counter("sidecar_uncounted_exchanges_total", "Exchanges that statistics failed on", _total("uncounted")),
    counter(
        "sidecar_late_exchanges_total",
        "Exchanges that came behind the watermark of their pane",
        _models(lambda summary: summary["late_exchanges"]),
        "route",
        "digest",
    ),
    gauge(
        "sidecar_panes_complete_timestamp_seconds",
        "Up to when panes are closed, seconds since 1970",
        _models(lambda summary: summary["complete_to_us"] / 1e6),
        "route",
        "digest",
    ),
    gauge(
        "sidecar_baseline_missing",
        "1 where a model's digest has no baseline in the folder, and is not watched",
        lambda b, s: [(key, int(seen.get("state") == "no_baseline")) for key, seen in b.summaries()],
        "route",
        "digest",
    ),
    gauge(
        "sidecar_alarms_open",
        "Alarms of this sidecar alone that are not over; the fleet's are those of `sidecar watch`",
        _alarms,
        "route",
        "digest",
        "severity",
    ),
    gauge(
        "sidecar_unproven_quantities",
        "Quantities whose false-alarm rate is not proven",
        _models(lambda summary: sum(not promise["kept"] for promise in summary["promises"])),
        "route",
        "digest",
    ),
    gauge(
        "sidecar_field_psi_ratio",
        "Population stability index of the recent window against the baseline",
        _psi,
        "route",
        "digest",
        "field",
    ),
    counter(
        "sidecar_rule_checked_rows_total",
        "Rows that a data-quality rule was applied to",
        _rules("checked"),
        "route",
        "digest",
        "rule",
    ),
    counter(
        "sidecar_rule_broken_rows_total",
        "Rows that broke a data-quality rule",
        _rules("violated"),
        "route",
        "digest",
        "rule",
    ),
    counter("sidecar_leaves_sealed_total", "Leaves appended to the logs", _total("leaves")),
    counter(
        "sidecar_redacted_exchanges_total", "Exchanges that a redaction rule changed", _total("redacted")
    ),
    counter(
        "sidecar_segments_corrupt_total",
        "Journal segments that could not be read",
        _total("segments_corrupt"),
    ),
    gauge(
        "sidecar_analyst_lag_records",
        "Records in the journal that the analyst has not read",
        lambda b, s: [((), b.analyst_lag(s).records)],
    ),
    gauge(
        "sidecar_analyst_lag_seconds",
        "The most that the oldest unread record can have waited",
        lambda b, s: [((), b.analyst_lag(s).seconds)],
    ),
    gauge(
        "sidecar_store_lag_records",
        "Records in the journal that are not in the store",
        lambda b, s: [((), b.store_lag(s).records)],
    ),
    gauge(
        "sidecar_store_lag_seconds",
        "The most that the oldest of them can have waited",
        lambda b, s: [((), b.store_lag(s).seconds)],
    ),
    gauge(
        "sidecar_store_up", "0 while the store refuses batches", lambda b, s: [((), int(not s.store_error))]
    ),
    gauge(
        "sidecar_batches_pending", "Encoded batches that wait for the store", lambda b, s: [((), s.pending)]
    ),
    gauge("sidecar_batch_bytes_pending", "Bytes of those batches", lambda b, s: [((), s.pending_bytes)]),
    counter("sidecar_batches_shipped_total", "Batches in the store", _shipping("batches")),
    counter("sidecar_batch_bytes_shipped_total", "Bytes of those batches", _shipping("bytes")),
    counter("sidecar_rows_shipped_total", "Rows of those batches", _shipping("rows")),
    gauge(
        "sidecar_seconds_since_last_ship",
        "Seconds since a batch reached the store, or since the analyst began",
        lambda b, s: [((), b.since_last_ship(s))],
    ),
    counter(
        "sidecar_labels_total",
        "Labels posted to this sidecar: taken, or repeated while they waited",
        lambda b, s: [((each,), b.labels().get(each, 0)) for each in ("taken", "repeated")],
        "result",
    ),
    gauge(
        "sidecar_labels_waiting",
        "Labels that are not in the store yet",
        lambda b, s: [((), b.labels().get("waiting", 0))],
    ),
    counter(
        "sidecar_alerts_total",
        "Alerts of this sidecar's own alarms, by receiver and what became of them",
        _alerts("sent", "failed", "refused", "dropped"),
        "receiver",
        "outcome",
    ),
    gauge("sidecar_alerts_waiting", "Alerts that wait to be sent", _alerts("waiting"), "receiver"),
    *IDENTITY,
)
COMMIT_DURATION = "sidecar_commit_duration_seconds"
COMMIT_DURATION_HELP = "Time to make one journal segment durable"


class BoardCollector(Collector):
    """Reads the board anew for every scrape; nothing is counted twice or kept in step."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        summaries = self._board.summaries()
        # Several families read them, and each time they would be made anew.
        board, seen = replace(self._board, summaries=lambda: summaries), self._board.snapshot()
        for family in FAMILIES:
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.meaning, labels=family.labels)
            for labels, value in family.samples(board, seen):
                metric.add_metric(labels, value)
            yield metric
        yield self._commit_durations()

    def _commit_durations(self) -> Metric:
        counters = self._board.counters
        buckets, running = [], 0
        for index, bound_us in enumerate((*COMMIT_BUCKETS_US, None)):
            running += int(counters.slots[Global.COMMIT_BUCKET + index])
            buckets.append(("+Inf" if bound_us is None else repr(bound_us / 1e6), float(running)))
        metric = HistogramMetricFamily(COMMIT_DURATION, COMMIT_DURATION_HELP)
        metric.add_metric((), buckets, counters.get(Global.COMMIT_SUM_US) / 1e6)
        return metric


def registry(board: Board) -> CollectorRegistry:
    made = CollectorRegistry(auto_describe=False)
    made.register(BoardCollector(board))
    return made


def exposition(made: CollectorRegistry) -> bytes:
    """The text a scrape gets."""
    return generate_latest(made)
