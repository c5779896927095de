"""Recorder, analyst, store and all of it killed at random under load: the store is whole, and every log verifies."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from sidecar.counters import Global
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import read_master_key
from sidecar.privacy.opening import open_record
from tests.faults.conftest import Report
from tests.support.chains import Chain, logs_of
from tests.support.evidence import Evidence, read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, Sidecar
from tests.support.seaweed import BUCKET, WRITER, Seaweed

pytestmark = pytest.mark.faults

CONNECTIONS = 6
VICTIMS = ("recorder", "analyst", "store", "everything")
WEIGHTS = (45, 45, 4, 6)


class Campaign:
    """One journal, one bucket with a put-only identity, and what is done to them."""

    def __init__(self, folder: Path, upstream: ModelServer, durability: str, **settings: str) -> None:
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
            **settings,
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


def besiege(campaign: Campaign, kills: int, seed: str) -> Load:
    """Kill at random under load, end properly, and return what the clients saw."""
    chance = random.Random(seed)
    campaign.running.start()
    with Load(campaign.running.port, CONNECTIONS) as load:
        for _ in range(kills):
            load.more(chance.randrange(1, 40))
            time.sleep(chance.random() * 0.05)
            campaign.strike(chance.choices(VICTIMS, WEIGHTS)[0])
        load.more(50)
    assert campaign.running.tracebacks() == []
    assert campaign.running.stop() == 0
    return load


def told(campaign: Campaign, load: Load, found: Evidence, chains: dict[str, Chain]) -> str:
    answered = set(load.answered)
    return (
        f"{dict(campaign.kills)} killed, {len(answered)} answered, gaps count {found.missing_count}, "
        f"{len(load.failed)} cut off; {len(chains)} logs with "
        f"{sum(chain.frontier.size for chain in chains.values())} leaves in "
        f"{sum(len(chain.files) for chain in chains.values())} objects verify"
    )


@pytest.mark.parametrize("durability", ["relaxed", "before_response"])
def test_kills_at_random_leave_a_store_that_is_whole_and_verifies(
    tmp_path: Path, upstream: ModelServer, kills: int, report: Report, durability: str
) -> None:
    campaign = Campaign(tmp_path, upstream, durability)
    try:
        load = besiege(campaign, kills, f"campaign {durability}")
        store = campaign.download(tmp_path / "copy")
    finally:
        campaign.end()
    found = read_evidence(store)
    found.check_single()
    found.check_sequences()
    missing = set(load.answered) - set(found.ids)
    assert set(found.ids) <= load.sent
    assert len(missing) <= found.missing_count <= len(missing) + len(load.failed)
    assert set(found.reasons()) <= {"killed"}
    if durability == "before_response":
        assert missing == set()
    report(
        f"campaign, {durability}: {len(missing)} not recorded; " + told(campaign, load, found, logs_of(store))
    )


def test_kills_at_random_leave_encrypted_records_that_open(
    tmp_path: Path, upstream: ModelServer, kills: int, report: Report
) -> None:
    keys = {name: tmp_path / name for name in ("master_key", "hash_key")}
    for number, path in enumerate(keys.values()):
        path.write_text(bytes([number + 1] * 32).hex())
        path.chmod(0o400)
    campaign = Campaign(
        tmp_path,
        upstream,
        "before_response",
        **{name: str(path) for name, path in keys.items()},
        keys="number=request.body:$.score",
        subject="request.body:$.score",
        redact="request.body:$.debt_ratio=drop",
    )
    try:
        load = besiege(campaign, max(1, kills // 4), "campaign encrypted")
        store = campaign.download(tmp_path / "copy")
    finally:
        campaign.end()
    found = read_evidence(store)
    found.check_single()
    found.check_sequences()
    chains = logs_of(store)
    master = read_master_key(keys["master_key"])
    objects = [KeyObject.parse(path.read_bytes()) for path in store.rglob("subjects/*.json")]
    keys_of = {entry.id: each for each in objects for entry in each.entries}
    opened: Counter[str] = Counter()
    for row in (row for chain in chains.values() for row in chain.rows if row["kind"] == "exchange"):
        held = json.loads(open_record(row, keys_of[row["subject_key_id"]], master).request_body or b"{}")
        assert "debt_ratio" not in held
        opened[held["id"]] += 1
    assert set(load.answered) <= set(opened) <= load.sent
    assert max(opened.values()) == 1
    report("campaign, encrypted: " + told(campaign, load, found, chains))
