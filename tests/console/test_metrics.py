from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from sidecar.clock import ManualClock
from sidecar.console import metrics
from sidecar.console.admin import application
from sidecar.console.board import Board
from sidecar.console.snapshot import Snapshot
from sidecar.counters import Counters, Global, Route
from sidecar.records import GAP_REASONS, Outcome

BOOT = "20261123T231500-9f3c2a71b0"
DOCS = Path(__file__).parents[2] / "docs" / "records.md"
CLOCK = ManualClock()


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Counters]:
    made = Counters.create(tmp_path, BOOT, ["default", "b"])
    yield made
    made.close()


def board(counters: Counters, seen: Snapshot | None = None) -> Board:
    snapshot = seen or Snapshot()
    summary = {
        "state": "watching",
        "features": {},
        "late_exchanges": 2,
        "complete_to_us": 60_000_000,
        "alarms": [{"state": "open", "severity": "critical"}, {"state": "resolved", "severity": "warning"}],
        "promises": [{"kept": True}, {"kept": False}],
        "rules": [{"rule": "inputs.x/range", "checked": 40, "violated": 3}],
        "window": {"features": {"x": {"psi": 0.25}, "y": {"psi": None}}},
    }
    summaries: list[tuple[tuple[str, str], dict[str, Any]]] = [(("default", "sha256:aa"), summary)]
    told = {"sent": 3, "failed": 2, "refused": 1, "dropped": 0, "waiting": 4, "error": None}
    return Board(
        counters, CLOCK, "/journal", "/store", lambda: snapshot, lambda: list(summaries),
        alerts=lambda: {"webhook+http://h": told},
    )  # fmt: skip


def scraped(made: Board) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.exposition(metrics.registry(made)).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_docs_and_exposition_name_the_same_metrics_with_the_same_labels(counters: Counters) -> None:
    documented = {
        (name, tuple(sorted(re.findall(r"[a-z]+", labels or ""))))
        for name, labels in re.findall(
            r"^\| `(sidecar_[a-z_]+)(?:\{([a-z, ]+)\})?` \|", DOCS.read_text(), re.MULTILINE
        )
    }
    offered = {(family.name, tuple(sorted(family.labels))) for family in metrics.FAMILIES}
    assert documented == offered | {(metrics.COMMIT_DURATION, ())}
    told = dict.fromkeys(("known", "waiting", "reachable", "epochs", "news", "unreadable"), 1)
    seen = Snapshot(totals={"gaps/disk_full": 1, "gap_exchanges/disk_full": 3}, identity=told)
    names = {name for name, _ in scraped(board(counters, seen))}
    for name, _ in documented:
        assert any(each == name or each == name + "_bucket" for each in names), name


def test_exchanges_are_told_apart_by_route_and_outcome(counters: Counters) -> None:
    counters.slots[counters.base("b") + Route.OUTCOME + Outcome.CLIENT_ABORT] = 3
    found = scraped(board(counters))
    assert found["sidecar_exchanges_total", (("outcome", "client_abort"), ("route", "b"))] == 3
    assert found["sidecar_exchanges_total", (("outcome", "client_abort"), ("route", "default"))] == 0


def test_every_reason_of_gaps_is_counted_from_nought_on(counters: Counters) -> None:
    """An alarm on `increase` would sleep through the first gap of a series that begins above nought."""
    text = (DOCS.parent / "journal-format.md").read_text()
    (told,) = re.findall(r"Reasons: (.*?)\n\n", text, re.DOTALL)
    documented = set(re.findall(r"`([a-z_]+)`", told)) - {"capture_memory"}
    assert documented == set(GAP_REASONS)
    found = scraped(board(counters, Snapshot(totals={"gaps/killed": 1, "gap_exchanges/killed": 9})))
    for reason in GAP_REASONS:
        wanted = (1, 9) if reason == "killed" else (0, 0)
        names = ("sidecar_gaps_total", "sidecar_gap_exchanges_total")
        assert tuple(found[name, (("reason", reason),)] for name in names) == wanted


def test_the_share_that_is_not_read_can_be_told_from_the_status(counters: Counters) -> None:
    base = counters.base("b")
    for slot, value in (
        (Route.REQUEST_BYTES, 700),
        (Route.RESPONSE_BYTES, 300),
        (Route.OPAQUE_BYTES, 450),
        (Route.OPAQUE_ENDED_BYTES, 400),
        (Route.OPAQUE_TLS, 2),
    ):
        counters.slots[base + slot] = value
    route = board(counters).status()["routes"]["b"]
    assert route["readable_bytes"] == 600
    assert route["opaque"] == {"bytes": 450, "tls": 2, "http2": 0}
    found = scraped(board(counters))
    assert found["sidecar_opaque_bytes_total", (("route", "b"),)] == 450
    assert found["sidecar_opaque_connections_total", (("protocol", "tls"), ("route", "b"))] == 2


def test_commit_times_are_a_cumulative_histogram(counters: Counters) -> None:
    for duration_us in (400, 900, 900, 7_000_000):
        counters.observe_commit(duration_us)
    found = scraped(board(counters))
    name = "sidecar_commit_duration_seconds"
    assert found[f"{name}_bucket", (("le", "0.0005"),)] == 1
    assert found[f"{name}_bucket", (("le", "0.001"),)] == 3
    assert found[f"{name}_bucket", (("le", "5.0"),)] == 3
    assert found[f"{name}_bucket", (("le", "+Inf"),)] == 4
    assert found[f"{name}_count", ()] == 4
    assert found[f"{name}_sum", ()] == pytest.approx(7.0022)


def test_lag_is_what_was_committed_and_not_read_or_not_shipped(counters: Counters) -> None:
    counters.slots[counters.base("default") + Route.COMMITTED_SEQ] = 100
    now_us = CLOCK.wall_us()
    seen = Snapshot(
        read_seq={f"{BOOT}.default": 90},
        caught_up_us=now_us - 2_000_000,
        waiting_rows=5,
        pending_rows=7,
        oldest_us=now_us - 60_000_000,
    )
    found = scraped(board(counters, seen))
    assert found["sidecar_analyst_lag_records", ()] == 10
    assert found["sidecar_analyst_lag_seconds", ()] == 2
    assert found["sidecar_store_lag_records", ()] == 22
    assert found["sidecar_store_lag_seconds", ()] == 60


def test_nothing_waiting_is_no_lag(counters: Counters) -> None:
    found = scraped(board(counters, Snapshot(caught_up_us=1)))
    assert found["sidecar_analyst_lag_seconds", ()] == 0
    assert found["sidecar_store_lag_seconds", ()] == 0


async def test_the_admin_address_answers_status_metrics_and_health(counters: Counters) -> None:
    counters.set(Global.RECORDER_PID, 42)
    seen = Snapshot(store_error="gone", totals={"gaps/killed": 1, "gap_exchanges/killed": 9})
    async with TestClient(TestServer(application(board(counters, seen)))) as client:
        status = orjson.loads(await (await client.get("/api/v1/status")).read())
        assert status["processes"]["recorder"] == 42
        assert (status["store"]["up"], status["store"]["error"]) == (False, "gone")
        assert status["gaps"] == {"killed": {"gaps": 1, "exchanges": 9}}
        assert status["models"][0]["digest"] == "sha256:aa"
        assert status["mode"] == "record"
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b"sidecar_store_up 0.0" in await answer.read()
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/nothing")).status == 404


def test_what_statistics_found_is_offered_by_route_and_digest(counters: Counters) -> None:
    found = scraped(board(counters))
    model = (("digest", "sha256:aa"), ("route", "default"))
    assert found["sidecar_late_exchanges_total", model] == 2
    rule = (*model, ("rule", "inputs.x/range"))
    assert found["sidecar_rule_checked_rows_total", tuple(sorted(rule))] == 40
    assert found["sidecar_rule_broken_rows_total", tuple(sorted(rule))] == 3
    assert found["sidecar_panes_complete_timestamp_seconds", model] == 60
    assert found["sidecar_unproven_quantities", model] == 1
    assert found["sidecar_alarms_open", (*model, ("severity", "critical"))] == 1
    receiver = ("receiver", "webhook+http://h")
    assert found["sidecar_alerts_total", (("outcome", "failed"), receiver)] == 2
    assert found["sidecar_alerts_waiting", (receiver,)] == 4
    assert found["sidecar_alarms_open", (*model, ("severity", "warning"))] == 0
    psi = {labels: value for (name, labels), value in found.items() if name == "sidecar_field_psi_ratio"}
    assert psi == {(model[0], ("field", "inputs.x"), model[1]): 0.25}
