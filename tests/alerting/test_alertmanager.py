"""A real Alertmanager: it takes an alarm, keeps one however often it is told, and lets it end."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.alerting.courier import Courier
from sidecar.alerting.outbox import Rate
from sidecar.alerting.target import parse_target
from sidecar.clock import SystemClock
from tests.alerting.test_outbox import NOTICE
from tests.support.commands import sidecar

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="Alertmanager is not installed (Debian: prometheus-alertmanager)"
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("alertmanager")
    config = folder / "alertmanager.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    address = f"127.0.0.1:{free_port()}"
    assert PROGRAM is not None
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={config}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{address}/-/ready", timeout=1)
                break
            except OSError:
                assert running.poll() is None, Path(log.name).read_text()
                time.sleep(0.1)
        yield address
    finally:
        running.terminate()
        running.wait(10)


def alerts(address: str, quantity: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://{address}/api/v2/alerts", timeout=5) as answer:
        return [each for each in json.load(answer) if each["labels"].get("quantity") == quantity]


async def test_an_alarm_is_one_alert_until_it_is_over(alertmanager: str) -> None:
    now_us = SystemClock().wall_us()
    target = parse_target(f"alertmanager+http://{alertmanager}")
    opened = replace(NOTICE, quantity="q1", since_us=now_us - 60_000_000, opened_us=now_us, updated_us=now_us)
    for _ in range(3):
        # A courier each, as after restarts: Alertmanager itself knows the alert again.
        sender = Courier([target], Rate(100, 1.0), SystemClock())
        sender.offer(opened)
        assert await sender.drain(5.0)
    (alert,) = alerts(alertmanager, "q1")
    assert alert["status"]["state"] in ("active", "unprocessed")
    assert alert["annotations"]["summary"] == "Income moved."
    assert alert["labels"]["severity"] == "warning"
    critical = replace(opened, state="escalated", severity="critical", updated_us=now_us)
    resolved = replace(critical, state="resolved", resolved_us=now_us + 1)
    sender = Courier([target], Rate(100, 1.0), SystemClock())
    sender.offer(critical)
    assert await sender.drain(5.0)
    assert {each["labels"]["severity"] for each in alerts(alertmanager, "q1")} == {"critical"}
    sender.offer(resolved)
    assert await sender.drain(5.0)
    assert alerts(alertmanager, "q1") == []


def test_the_test_command_reaches_it(alertmanager: str) -> None:
    ran = sidecar("alert", "test", "--alert-url", f"alertmanager+http://{alertmanager}")
    assert ran.code == 0, ran.out + ran.err
    (alert,) = alerts(alertmanager, "test")
    assert alert["labels"]["alertname"] == "SidecarAlarm"
