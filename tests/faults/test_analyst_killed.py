"""SIGKILL of the analyst at random points: the store holds every committed record once, traffic does not notice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from sidecar.counters import Global
from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, running_sidecar, until

pytestmark = pytest.mark.faults


def test_nothing_is_lost_or_doubled(
    tmp_path: Path, upstream: ModelServer, kills: int, report: Report
) -> None:
    chance = random.Random(3)
    count = max(1, kills // 5)
    # Small batches and volumes, so that the kills meet every step of reading, encoding, putting and releasing.
    with running_sidecar(
        tmp_path,
        upstream.port,
        batch_age="100ms",
        batch_bytes="64KiB",
        body_limit="64KiB",
        volume_bytes="5MiB",
        volume_age="1s",
    ) as running:
        struck = 0
        with Load(running.port, connections=4) as load:
            while struck < count:
                time.sleep(chance.uniform(0.1, 2.0))
                struck += bool(running.kill(Global.ANALYST_PID))
            load.more(200)
        until(lambda: running.pid(Global.ANALYST_PID), "the analyst to be started again")
        assert running.pid(Global.RECORDER_PID)
        # A kill between noting what is decoded and its end may blame an innocent; twice the same is rare.
        assert running.status()["analyst"]["decode_killed"] <= 1
        assert running.stop() == 0
        assert running.tracebacks() == []
    assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    assert found.gaps == []
    assert set(found.ids) == set(load.answered)
    assert list(running.journal.glob("volume-*.lmdb")) == []
    report(
        f"analyst: {struck} kills, {len(load.answered)} answered, all stored once, {len(list(running.store.rglob('*.parquet')))} files"
    )
