"""`*:PORT`: every socket of both families answers, those of health and status too."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.support.running import model_server, running_sidecar


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_traffic_health_and_status_answer_on_both_families(tmp_path: Path, host: str) -> None:
    every = {"listen": "*:0", "health": "*:0", "admin": "*:0"}
    with model_server() as model, running_sidecar(tmp_path, model.port, **every) as sidecar:
        for port, path in (
            (sidecar.port, "/"),
            (sidecar.ports["health"], "/readyz"),
            (sidecar.ports["admin"], "/metrics"),
        ):
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
                assert answer.status == 200
