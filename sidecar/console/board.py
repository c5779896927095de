"""Counters and snapshot → the numbers that metrics, status and pages all show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sidecar
from sidecar.clock import Clock
from sidecar.console.snapshot import Snapshot
from sidecar.counters import Counters, Global, Mode, Route
from sidecar.records import Outcome

Summaries = Callable[[], list[tuple[tuple[str, str], dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Lag:
    """How far something is behind what the journal holds durably."""

    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Board:
    """One boot, read at any time from any thread."""

    counters: Counters
    clock: Clock
    journal: str
    store: str
    snapshot: Callable[[], Snapshot]
    summaries: Summaries
    labels: Callable[[], dict[str, Any]] = dict
    """Counts of posted labels: `taken`, `repeated`, `shipped`, `waiting`, `objects`, `error`."""

    alerts: Callable[[], dict[str, dict[str, Any]]] = dict
    """By receiver of its own alarms: `sent`, `failed`, `refused`, `dropped`, `waiting`, `error`."""

    def analyst_lag(self, seen: Snapshot) -> Lag:
        """Records committed and not yet read; seconds is the most that the oldest of them can have waited."""
        counters = self.counters
        records = 0
        for route in counters.routes:
            committed = counters.route(route, Route.COMMITTED_SEQ)
            records += max(0, committed - seen.read_seq.get(f"{counters.boot}.{route}", 0))
        since_us = seen.caught_up_us or counters.get(Global.BOOT_WALL_US)
        return Lag(records, self._since(since_us) if records else 0.0)

    def store_lag(self, seen: Snapshot) -> Lag:
        """Records committed and not yet in the store, and the longest that one of them has waited."""
        unread = self.analyst_lag(seen)
        seconds = max(unread.seconds, self._since(seen.oldest_us) if seen.oldest_us else 0.0)
        return Lag(unread.records + seen.waiting_rows + seen.pending_rows, seconds)

    def since_last_ship(self, seen: Snapshot) -> float:
        """Seconds since a batch reached the store; since the analyst began when none has."""
        return self._since(seen.shipping.get("last_us") or seen.started_us or self.clock.wall_us())

    def status(self) -> dict[str, Any]:
        """Everything, as /api/v1/status gives it."""
        seen = self.snapshot()
        counters = self.counters
        get = counters.get
        lag, store_lag = self.analyst_lag(seen), self.store_lag(seen)
        return {
            "version": sidecar.__version__,
            "boot": counters.boot,
            "uptime_s": round(self._since(get(Global.BOOT_WALL_US)), 3),
            "mode": "record" if get(Global.MODE) == Mode.RECORD else "splice_only",
            "processes": {
                "supervisor": get(Global.SUPERVISOR_PID),
                "recorder": get(Global.RECORDER_PID),
                "analyst": get(Global.ANALYST_PID),
            },
            "starts": {"recorder": get(Global.RECORDER_STARTS), "analyst": get(Global.ANALYST_STARTS)},
            "connections_open": get(Global.CONNECTIONS_OPEN),
            "capture_memory_bytes": get(Global.CAPTURE_BYTES),
            "journal": {
                "folder": self.journal,
                "bytes": get(Global.JOURNAL_BYTES),
                "shedding": bool(get(Global.JOURNAL_SHEDDING)),
                "commits": get(Global.COMMITS),
                "commit_failures": get(Global.COMMIT_FAILURES),
                "last_commit_us": get(Global.LAST_COMMIT_WALL_US),
                "volumes_opened": get(Global.VOLUMES_OPENED),
                "volumes_moved_aside": get(Global.VOLUMES_MOVED_ASIDE),
                "clock_steps": get(Global.CLOCK_STEPS),
            },
            "analyst": {
                "lag_records": lag.records,
                "lag_seconds": round(lag.seconds, 3),
                "exchanges": seen.totals.get("exchanges", 0),
                "observations": seen.totals.get("observations", 0),
                "decode_errors": seen.totals.get("decode_errors", 0),
                "decode_killed": seen.totals.get("decode_killed", 0),
                "segments_corrupt": seen.totals.get("segments_corrupt", 0),
                "batch_limit_bytes": seen.batch_limit_bytes,
                "error": seen.state_error or None,
            },
            "store": {
                "address": self.store,
                "up": not seen.store_error,
                "error": seen.store_error or None,
                "failures": seen.store_failures,
                "lag_records": store_lag.records,
                "lag_seconds": round(store_lag.seconds, 3),
                "batches_pending": seen.pending,
                "batch_bytes_pending": seen.pending_bytes,
                "batches_shipped": seen.shipping.get("batches", 0),
                "batch_bytes_shipped": seen.shipping.get("bytes", 0),
                "rows_shipped": seen.shipping.get("rows", 0),
                "last_ship_us": seen.shipping.get("last_us", 0),
                "seconds_since_last_ship": round(self.since_last_ship(seen), 3),
            },
            "identity": dict(seen.identity),
            "labels": self.labels(),
            "alerts": self.alerts(),
            "gaps": {
                reason: {"gaps": count, "exchanges": seen.totals.get(f"gap_exchanges/{reason}", 0)}
                for reason, count in gaps(seen)
            },
            "routes": {route: self._route(route) for route in counters.routes},
            "models": [
                {"route": route, "digest": digest, **summary} for (route, digest), summary in self.summaries()
            ],
        }

    def _route(self, route: str) -> dict[str, Any]:
        counters = self.counters
        return {
            "started": counters.route(route, Route.STARTED),
            "ended": counters.route(route, Route.ENDED),
            "committed_seq": counters.route(route, Route.COMMITTED_SEQ),
            "shed": counters.route(route, Route.SHED),
            "spliced": counters.route(route, Route.SPLICED),
            "outcomes": {
                outcome.label: count
                for outcome in Outcome
                if (count := counters.route(route, Route.OUTCOME, outcome))
            },
            "request_bytes": counters.route(route, Route.REQUEST_BYTES),
            "response_bytes": counters.route(route, Route.RESPONSE_BYTES),
            "readable_bytes": self.readable_bytes(route),
            "opaque": {
                "bytes": counters.route(route, Route.OPAQUE_BYTES),
                "tls": counters.route(route, Route.OPAQUE_TLS),
                "http2": counters.route(route, Route.OPAQUE_HTTP2),
            },
            "connections": counters.route(route, Route.CONNECTIONS),
            "cut": counters.route(route, Route.CUT),
            "upstream_failures": counters.route(route, Route.UPSTREAM_FAILURES),
            "delivery_failures": counters.route(route, Route.DELIVERY_FAILURES),
            "held_expired": counters.route(route, Route.HELD_EXPIRED),
        }

    def readable_bytes(self, route: str) -> int:
        """Bytes of both directions of the exchanges that ended and could be read."""
        read = self.counters.route
        whole = read(route, Route.REQUEST_BYTES) + read(route, Route.RESPONSE_BYTES)
        # Opaque bytes are counted before they are in the whole, and the recorder writes meanwhile.
        return max(0, whole - read(route, Route.OPAQUE_ENDED_BYTES))

    def _since(self, wall_us: int) -> float:
        return max(0.0, (self.clock.wall_us() - wall_us) / 1e6)


def gaps(seen: Snapshot) -> list[tuple[str, int]]:
    """Number of gap records by reason."""
    return sorted(
        (name.partition("/")[2], count) for name, count in seen.totals.items() if name.startswith("gaps/")
    )
