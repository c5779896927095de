"""Recorder, analyst, store and all of it killed at random under load: the store is whole, and every log verifies."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from sidecar.counters import Global
from tests.faults.conftest import Report
from tests.support.chains import logs_of
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, Sidecar
from tests.support.seaweed import BUCKET, WRITER, Seaweed

pytestmark = pytest.mark.faults

CONNECTIONS = 6
VICTIMS = ("recorder", "analyst", "store", "everything")
WEIGHTS = (45, 45, 4, 6)


class Campaign:
    """One journal, one bucket with a put-only identity, and what is done to them."""

    def __init__(self, folder: Path, upstream: ModelServer, durability: str) -> None:
        self.kills: Counter[str] = Counter()
        self.bucket = Seaweed(folder / "bucket")
        self.bucket.start()
        self.running = Sidecar(
            folder,
            upstream.port,
            environment=WRITER.environment(),
            store=f"s3://{BUCKET}/fleet",
            store_endpoint=self.bucket.endpoint,
            store_region="us-east-1",
            store_timeout="5s",
            durability=durability,
            hold_limit="60s",
            grace="5s",
            batch_age="100ms",
        )

    def strike(self, victim: str) -> None:
        running = self.running
        if victim == "recorder":
            running.kill(Global.RECORDER_PID)
        elif victim == "analyst":
            running.kill(Global.ANALYST_PID)
        elif victim == "store":
            self.bucket.kill()
            self.bucket.start()
        else:
            running.kill_group()
            running.start()
        self.kills[victim] += 1

    def download(self, folder: Path) -> Path:
        """A copy of the bucket."""
        for name in self.bucket.names():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.bucket.content(name))
        return folder

    def end(self) -> None:
        self.running.end()
        self.bucket.kill()


@pytest.mark.parametrize("durability", ["relaxed", "before_response"])
def test_kills_at_random_leave_a_store_that_is_whole_and_verifies(
    tmp_path: Path, upstream: ModelServer, kills: int, report: Report, durability: str
) -> None:
    chance = random.Random(f"campaign {durability}")
    campaign = Campaign(tmp_path, upstream, durability)
    try:
        campaign.running.start()
        with Load(campaign.running.port, CONNECTIONS) as load:
            for _ in range(kills):
                load.more(chance.randrange(1, 40))
                time.sleep(chance.random() * 0.05)
                campaign.strike(chance.choices(VICTIMS, WEIGHTS)[0])
            load.more(50)
        assert campaign.running.tracebacks() == []
        assert campaign.running.stop() == 0
        store = campaign.download(tmp_path / "copy")
    finally:
        campaign.end()
    found = read_evidence(store)
    found.check_single()
    found.check_sequences()
    answered = set(load.answered)
    missing = answered - set(found.ids)
    assert set(found.ids) <= load.sent
    assert len(missing) <= found.missing_count <= len(missing) + len(load.failed)
    assert set(found.reasons()) <= {"killed"}
    if durability == "before_response":
        assert missing == set()
    chains = logs_of(store)
    report(
        f"campaign, {durability}: {dict(campaign.kills)} killed, {len(answered)} answered, {len(missing)} of them "
        f"not recorded, gaps count {found.missing_count}, {len(load.failed)} cut off; {len(chains)} logs with "
        f"{sum(chain.frontier.size for chain in chains.values())} leaves in "
        f"{sum(len(chain.files) for chain in chains.values())} objects verify"
    )
