"""Three sidecars, one bucket, one baseline: the watcher raises the one alarm that it should."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from tests.support.fleet import baseline, row
from tests.support.receiver import Receiver
from tests.support.running import SIDECAR, Sidecar, model_server, running_sidecar
from tests.support.seaweed import ADMINISTRATOR, BUCKET, WRITER, Seaweed

PODS = 3
BEFORE, AFTER = 1800, 1500


def command(environment: dict[str, str], *arguments: str) -> str:
    """What a `sidecar` command prints; it must succeed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    done = subprocess.run(
        [*SIDECAR, *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def send(pods: list[Sidecar], chance: random.Random, count: int, shift: float) -> None:
    """So many requests, spread over the pods, at some 150 a second."""
    clients = [http.client.HTTPConnection("127.0.0.1", pod.ports["default"], timeout=20) for pod in pods]
    for number in range(count):
        income, region, _ = row(chance, shift)
        client = clients[number % len(clients)]
        body = json.dumps({"income": income, "region": region})
        client.request("POST", "/predict", body, {"Content-Type": "application/json"})
        client.getresponse().read()
        time.sleep(0.005)
    for client in clients:
        client.close()


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_shift_over_three_pods_is_one_alarm_and_no_shift_is_none(
    tmp_path: Path, seaweed: Seaweed, shift: float
) -> None:
    store = f"s3://{BUCKET}/fleet-{uuid4().hex}"
    reader = {**ADMINISTRATOR.environment(), "SIDECAR_STORE_ENDPOINT": seaweed.endpoint}
    frozen = msgspec.structs.replace(baseline(), exchange=[], outputs=[], projections=[], pairs=[])
    (tmp_path / "baseline.json").write_bytes(frozen.encode())
    chance = random.Random(11)
    with ExitStack() as stack:
        upstream = stack.enter_context(model_server())
        receiver = stack.enter_context(Receiver())
        pods = []
        for number in range(PODS):
            folder = tmp_path / f"pod-{number}"
            folder.mkdir()
            pods.append(
                stack.enter_context(
                    running_sidecar(
                        folder,
                        upstream.port,
                        environment=WRITER.environment(),
                        store=store,
                        store_endpoint=seaweed.endpoint,
                        model="mortgage",
                        pod_uid=f"pod-{number}",
                        baseline_file=str(tmp_path / "baseline.json"),
                        pane="500ms",
                        watermark="1s",
                        statistics_ship="2s",
                        false_alarms="1 per 30d",
                    )
                )
            )
        send(pods, chance, BEFORE, 0.0)
        send(pods, chance, AFTER, shift)
        for pod in pods:
            assert pod.stop() == 0
            assert pod.tracebacks() == []
        url = f"webhook+{receiver.url}"
        for _ in range(2):
            command(reader, "watch", "--store", store, "--once", "--wait", "1s", "--alert-url", url)
        told = [json.loads(each.body) for each in receiver.received]
    found: list[dict[str, Any]] = [
        json.loads(line)
        for line in command(reader, "alarms", "--store", store, "--all", "--json").splitlines()
    ]
    drift = json.loads(command(reader, "drift", "--store", store, "--by", "pod", "--json"))
    (series,) = drift["series"]
    assert series["exchanges"] == BEFORE + AFTER
    assert sum(each["exchanges"] for each in series["sources"].values()) == BEFORE + AFTER
    assert set(series["sources"]) == {f"pod-{number}" for number in range(PODS)}
    quantities = [each["alarm"]["quantity"] for each in found]
    if not shift:
        assert (quantities, told) == ([], [])
        return
    assert quantities == ["inputs.income"]
    assert [each["quantity"] for each in told] == ["inputs.income"]
    lines = command(reader, "find", "--store", store, "--drifted", "--json", "--limit", "0").splitlines()
    assert AFTER * 0.7 < len(lines) < AFTER * 1.3
