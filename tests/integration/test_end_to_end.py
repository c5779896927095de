"""`sidecar run` with all its processes and no fault: what went in is in the store, and every account agrees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import (
    SIDECAR,
    ModelServer,
    Sidecar,
    alive,
    fetch,
    model_server,
    running_sidecar,
    until,
)


@pytest.fixture
def upstream() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


def command(*arguments: str) -> str:
    """What a `sidecar` command prints; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    done = subprocess.run(
        [*SIDECAR, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def metric(text: str, name: str, **labels: str) -> float:
    """The sample of that name and these labels; 0 when there is none."""
    for line in text.splitlines():
        match = re.match(r"([a-z_]+)(?:\{(.*)\})? (\S+)$", line)
        if match and match[1] == name:
            found = dict(re.findall(r'([a-z_]+)="([^"]*)"', match[2] or ""))
            if labels.items() <= found.items():
                return float(match[3])
    return 0.0


@pytest.mark.parametrize("durability", ["relaxed", "before_response"])
def test_traffic_is_found_shown_and_counted(tmp_path: Path, upstream: ModelServer, durability: str) -> None:
    digest = "sha256:" + "ab" * 32
    with running_sidecar(
        tmp_path, upstream.port, durability=durability, model="mortgage", image_digest=digest
    ) as running:
        with Load(running.port, per_connection=25) as load:
            load.more(300)
        assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
        sent = len(load.answered)
        until(lambda: running.status()["analyst"]["exchanges"] >= sent, "the analyst")
        until(lambda: running.status()["store"]["lag_records"] == 0, "the store")
        status = running.status()
        route = status["routes"]["default"]
        assert (route["started"], route["ended"], route["committed_seq"]) == (sent, sent, sent)
        assert route["outcomes"] == {"complete": sent}
        assert (route["shed"], status["gaps"]) == (0, {})
        assert status["starts"] == {"recorder": 1, "analyst": 1}
        metrics = fetch(running.ports["admin"], "/metrics")[1].decode()
        assert metric(metrics, "sidecar_exchanges_total", route="default", outcome="complete") == sent
        assert metric(metrics, "sidecar_request_bytes_total", route="default") == route["request_bytes"]
        assert metric(metrics, "sidecar_gap_exchanges_total") == 0
        assert metric(metrics, "sidecar_batches_shipped_total") == status["store"]["batches_shipped"]
        processes = status["processes"]
        assert running.process is not None
        assert processes["supervisor"] == running.process.pid
        assert all(alive(pid) for pid in processes.values())
        assert running.stop() == 0
        assert not any(alive(pid) for pid in processes.values())
    assert running.tracebacks() == []
    found = read_evidence(running.store)
    found.check_single()
    assert found.check_sequences() == {f"{running.boot}.default": sent}
    assert set(found.ids) == set(load.answered)
    assert {row["model"] for row in found.exchanges} == {"mortgage"}
    check_commands(running, sent, digest)


def check_commands(running: Sidecar, sent: int, digest: str) -> None:
    store = str(running.store)
    lines = command("find", "--store", store, "--limit", str(sent + 10), "--json").splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    # Newest first goes by the time of the request; numbers by the time of the end.
    began = [record["t_request_us"] for record in records]
    assert began == sorted(began, reverse=True)
    assert {record["seq"] for record in records} == set(range(1, sent + 1))
    first = records[0]
    assert (first["model"], first["image_digest"]) == ("mortgage", digest)
    assert (first["method"], first["path"], first["status"]) == ("POST", "/predict", 200)
    shown = json.loads(command("show", first["record_id"], "--store", store, "--json"))
    assert shown["record_id"] == first["record_id"]
    assert ["Content-Type", "application/json"] in shown["request"]["headers"]
    assert (
        shown["request"]["decoded"]["debt_ratio"] == [pytest.approx(0.5, abs=0.5)]
        or shown["request"]["decoded"]
    )
    assert first["record_id"] in command("show", first["record_id"], "--store", store)
    assert command("find", "--store", store, "--status", "503", "--json") == ""


def test_several_routes_from_yaml_keep_apart(tmp_path: Path, upstream: ModelServer) -> None:
    config = tmp_path / "sidecar.yaml"
    routes = [
        {
            "name": name,
            "listen": "127.0.0.1:0",
            "upstream": f"http://127.0.0.1:{upstream.port}",
            "model": name,
        }
        for name in ("loans", "cards")
    ]
    config.write_text(json.dumps({"routes": routes}))
    with running_sidecar(tmp_path, upstream.port, "--config", str(config), listen="", upstream="") as running:
        with (
            Load(running.ports["loans"], prefix="loans") as loans,
            Load(running.ports["cards"], prefix="cards") as cards,
        ):
            loans.more(100)
            cards.more(100)
        assert running.stop() == 0
    found = read_evidence(running.store)
    found.check_single()
    assert found.check_sequences() == {
        f"{running.boot}.loans": len(loans.answered),
        f"{running.boot}.cards": len(cards.answered),
    }
    for row in found.exchanges:
        assert f'"id": "{row["model"]}-'.encode() in bytes(row["request_body"])
        assert row["log"].endswith("." + row["model"])


def test_splice_only_passes_traffic_and_counts_it(tmp_path: Path, upstream: ModelServer) -> None:
    with running_sidecar(tmp_path, upstream.port) as running:
        journal = str(running.journal)
        with Load(running.port, prefix="before") as before:
            before.more(50)
        assert command("ctl", "splice-only", "on", "--journal", journal) == "mode: splice-only\n"
        until(lambda: running.status()["mode"] == "splice_only", "the mode")
        # The recorder looks at the mode ten times a second.
        with Load(running.port, prefix="settling") as settling:
            until(lambda: running.status()["routes"]["default"]["spliced"] > 0, "the recorder to follow")
        with Load(running.port, prefix="spliced") as spliced:
            spliced.more(50)
        command("ctl", "splice-only", "off", "--journal", journal)
        with Load(running.port, prefix="again") as again:
            already = running.status()["routes"]["default"]["committed_seq"]
            until(lambda: running.status()["routes"]["default"]["committed_seq"] > already + 100, "records")
            seen = len(again.answered)
            again.more(50)
        assert running.stop() == 0
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    for load in (before, settling, spliced, again):
        assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
    assert set(before.answered) <= set(found.ids)
    assert not set(spliced.answered) & set(found.ids)
    assert len(set(again.answered) & set(found.ids)) >= 50, seen
    everything = sum(len(load.answered) for load in (before, settling, spliced, again))
    assert len(found.exchanges) + found.missing_count == everything
    assert found.event_names()["splice_only_on"] == 1
    assert found.event_names()["splice_only_off"] == 1


def test_a_drain_finishes_what_is_in_flight_and_takes_nothing_new(
    tmp_path: Path, upstream: ModelServer
) -> None:
    with running_sidecar(tmp_path, upstream.port, drain_delay="300ms", grace="20s") as running:
        with Load(running.port, connections=5, path="/predict?wait=2000", per_connection=1) as slow:
            until(lambda: running.status()["routes"]["default"]["started"] == 5, "five exchanges in flight")
            assert running.process is not None
            running.process.send_signal(signal.SIGTERM)
            until(lambda: fetch(running.ports["health"], "/readyz")[0] == 503, "it to be unready")
            with Load(running.port, connections=2, prefix="late") as late:
                until(lambda: len(late.refused) > 4, "new connections to be refused")
            until(lambda: len(slow.answered) == 5, "the slow answers")
        assert running.process.wait(30) == 0
    assert slow.statuses() == {200}
    assert slow.failed == []
    assert {"hung"} & {failure.reason for failure in late.failed} == set()
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    assert set(found.ids) >= set(slow.answered) | set(late.answered)


def test_a_signal_to_the_whole_group_still_ships_everything(tmp_path: Path, upstream: ModelServer) -> None:
    """As service managers do it."""
    with running_sidecar(tmp_path, upstream.port, grace="20s") as running:
        assert running.process is not None
        with Load(running.port, connections=4, path="/predict?wait=1000", per_connection=1) as slow:
            until(lambda: running.status()["routes"]["default"]["started"] == 4, "four exchanges in flight")
            os.killpg(running.process.pid, signal.SIGTERM)
            until(lambda: len(slow.answered) == 4, "the slow answers")
            slow.stop()
        assert running.process.wait(30) == 0
    found = read_evidence(running.store)
    found.check_sequences()
    assert set(found.ids) >= set(slow.answered)
    assert slow.statuses() == {200}
