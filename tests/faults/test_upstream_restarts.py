"""The model server dies and comes back under load: 503 in between, all of it recorded, nothing hangs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, running_sidecar

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("durability", ["relaxed", "before_response"])
def test_refusals_are_recorded_and_nothing_hangs(
    tmp_path: Path, upstream: ModelServer, report: Report, durability: str
) -> None:
    with running_sidecar(tmp_path, upstream.port, durability=durability, hold_limit="60s") as running:
        with Load(running.port, connections=8) as load:
            for _ in range(5):
                load.more(100)
                upstream.kill()
                time.sleep(0.2)
                load.more(20)
                upstream.start()
            load.more(100)
        assert running.tracebacks() == []
        assert running.status()["starts"]["recorder"] == 1
        assert running.stop() == 0
    assert load.refused == []
    assert [failure for failure in load.failed if failure.reason == "hung"] == []
    # Cut off at the moment of a kill: one for each connection, and one more that was made meanwhile.
    assert len(load.failed) <= 5 * 8 * 2
    assert load.statuses() == {200, 503}
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    assert found.gaps == []
    assert set(load.answered) <= set(found.ids) <= load.sent
    refused = {identity for identity, status in load.answered.items() if status == 503}
    assert {found.statuses[identity] for identity in refused} == {503}
    outcomes = {row["outcome"] for row in found.exchanges if row["status"] == 503}
    assert outcomes == {"upstream_error"}
    report(
        f"upstream killed 5 times, {durability}: {len(load.answered)} answered, {len(refused)} of them 503, "
        f"{len(load.failed)} cut off, slowest {load.slowest_s:.3f} s"
    )
