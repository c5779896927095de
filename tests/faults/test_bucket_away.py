"""The whole sidecar, with a bucket as store and an identity that may only put, over a network that fails it."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.fault_proxy import Fault, FaultProxy, Status
from tests.support.load import Load
from tests.support.receiver import Receiver
from tests.support.running import ROOT, SIDECAR, ModelServer, Sidecar, running_sidecar, until
from tests.support.seaweed import ADMINISTRATOR, BUCKET, WRITER, Seaweed

pytestmark = pytest.mark.faults

FAULTS: list[Fault | Status] = [
    *(Status(500), Status(503), Status(429), Fault.RESET_EARLY, Fault.RESET_MIDWAY, Fault.ANSWER_LOST),
    *(Fault.ANSWER_500, Fault.HALF_ANSWER, Fault.FLIPPED_BIT, Fault.HANG),
]


def fetched(server: Seaweed, folder: str, into: Path) -> Path:
    """The objects below a folder of the bucket, as files."""
    for name in server.names():
        if name.startswith(folder + "/"):
            path = into / name.removeprefix(folder + "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(server.content(name))
    return into


def bucket_sidecar(tmp_path: Path, upstream: ModelServer, endpoint: str, folder: str) -> Sidecar:
    return Sidecar(
        tmp_path,
        upstream.port,
        environment=WRITER.environment(),
        store=f"s3://{BUCKET}/{folder}",
        store_endpoint=endpoint,
        store_timeout="2s",
    )


def verified(server: Seaweed, folder: str) -> None:
    """`sidecar verify` over the bucket itself, as an auditor would run it."""
    environment = {
        **os.environ,
        **ADMINISTRATOR.environment(),
        "PYTHONPATH": str(ROOT),
        "SIDECAR_STORE_ENDPOINT": server.endpoint,
    }
    done = subprocess.run(
        [*SIDECAR, "verify", "--store", f"s3://{BUCKET}/{folder}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "intact" in done.stdout


def settled(running: Sidecar) -> bool:
    """Whether the store is reached again and everything so far is in it: a stop within a back-off ships nothing."""
    store = running.status()["store"]
    return bool(store["up"]) and store["lag_records"] == 0 and store["batches_pending"] == 0


def test_over_a_network_that_fails_every_third_request_everything_is_stored_once(
    tmp_path: Path, upstream: ModelServer, seaweed: Seaweed, report: Report
) -> None:
    folder = f"faults/{uuid4().hex}"
    chance = random.Random(20261125)
    with FaultProxy(seaweed.port) as proxy:
        proxy.plan.extend(
            chance.choice(FAULTS) if chance.random() < 0.34 else Fault.PASS for _ in range(1000)
        )
        running = bucket_sidecar(tmp_path, upstream, proxy.endpoint, folder)
        try:
            running.start()
            with Load(running.port, connections=4, pause_s=0.01) as load:
                load.more(200)
                until(lambda: len(proxy.seen) > 40, "requests to the store", 120)
            proxy.plan.clear()
            until(lambda: settled(running), "the rest to be shipped", 90)
            assert running.stop() == 0
            assert running.tracebacks() == []
            assert WRITER.secret not in running.log_text()
            assert set(proxy.methods()) == {"PUT"}
        finally:
            running.end()
    assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
    verified(seaweed, folder)
    found = read_evidence(fetched(seaweed, folder, tmp_path / "fetched"))
    found.check_single()
    found.check_sequences()
    assert found.gaps == []
    assert set(found.ids) == set(load.answered)
    report(
        f"bucket, every third request failed: {len(load.answered)} answered, all stored once, "
        f"{len(proxy.seen)} requests to the store"
    )


def test_a_server_that_is_killed_and_comes_back_gets_everything(
    tmp_path: Path, upstream: ModelServer, report: Report
) -> None:
    server = Seaweed(tmp_path / "weed")
    folder = "kills"
    try:
        server.start()
        running = bucket_sidecar(tmp_path, upstream, server.endpoint, folder)
        try:
            running.start()
            with Load(running.port, connections=4, pause_s=0.02) as load:
                load.more(100)
                until(lambda: running.status()["store"]["batches_shipped"], "a first batch")
                server.kill()
                load.more(100)
                until(lambda: not running.status()["store"]["up"], "the failure to be seen")
                error = running.status()["store"]["error"]
                assert error.startswith(f"store s3://{BUCKET}/{folder}: ")
                load.more(400)
            server.start()
            until(lambda: settled(running), "the rest to be shipped", 90)
            assert running.stop() == 0
            assert running.tracebacks() == []
        finally:
            running.end()
        assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
        verified(server, folder)
        found = read_evidence(fetched(server, folder, tmp_path / "fetched"))
        found.check_single()
        found.check_sequences()
        assert found.gaps == []
        assert set(found.ids) == set(load.answered)
        report(f"bucket's server killed: {len(load.answered)} answered, all stored once")
    finally:
        server.kill()


def test_an_event_receiver_that_fails_now_and_then_gets_every_exchange(
    tmp_path: Path, upstream: ModelServer, report: Report
) -> None:
    chance = random.Random(7)
    with Receiver() as receiver:
        receiver.statuses = [chance.choice([500, 503, 429, *[202] * 57]) for _ in range(3000)]
        with running_sidecar(tmp_path, upstream.port, store=receiver.url) as running:
            with Load(running.port, connections=4, pause_s=0.01) as load:
                load.more(300)
            receiver.statuses.clear()
            until(lambda: settled(running), "the rest to be sent", 90)
            assert running.stop() == 0
            assert running.tracebacks() == []
        events = [json.loads(each.body) for each in receiver.received]
    asked = {event["id"]: event["data"]["id"] for event in events if event["type"].endswith("request")}
    answered = {event["id"] for event in events if event["type"].endswith("response")}
    assert set(asked.values()) == set(load.answered)
    assert set(asked) == answered
    report(
        f"event receiver: {len(load.answered)} answered, each at least once, "
        f"{len(events) - 2 * len(asked)} events twice"
    )
