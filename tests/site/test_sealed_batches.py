"""Witness and retention over batches that the analyst itself sealed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from sidecar.analyst import Analyst, Limits, LiveBoot
from sidecar.clock import ManualClock
from sidecar.journal.reader import JournalReader
from sidecar.ledger.note import SigningKey
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.state import AnalystState
from sidecar.suspects import Suspects
from tests.support.commands import sidecar
from tests.support.journaled import BOOT, EPOCH, START_US, analysis, exchange, fill
from tests.support.sealing import sealer_of

OPERATOR = SigningKey("operator.example", b"o" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    journal, store = tmp_path / "journal", tmp_path / "store"
    journal.mkdir()
    clock = ManualClock(wall_us=START_US)
    fill(journal, map(exchange, range(1, 1_001)))
    analyst = Analyst(
        JournalReader(journal, BOOT),
        AnalystState.open(journal / "analyst"),
        DirectorySink(store, create=True),
        analysis(),
        sealer_of(BOOT, clock),
        Suspects(journal / "analyst-marker.bin"),
        Limits(batch_bytes=64 * 1024),
        clock,
        LiveBoot(BOOT, (EPOCH,)),
    )
    assert analyst.finish(clock.monotonic_ns() + 10**12)
    return store


def test_a_log_as_the_analyst_seals_it_is_witnessed_removed_and_verified(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "operator.key"
    key.write_text(OPERATOR.private_text())
    base = ("--store", store, "--key", key)
    ran = sidecar("witness", *base, "--json")
    assert (ran.code, json.loads(ran.out)["cosigned"]) == (0, 1), ran.err
    files = len(list(store.rglob("*.parquet")))
    assert files > 3
    monkeypatch.setattr("sidecar.retention.time", _Later(START_US // 1_000_000 + 500 * 86_400))
    assert sidecar("hold", *base, "--record", f"{BOOT}.default.1000", "--reason", "case 4711").code == 0
    retain = ("retain", *base, "--model", EPOCH.model, "--older-than", "400d", "--yes", "--json")
    ran = sidecar(*retain)
    found = json.loads(ran.out)
    assert (ran.code, found["removed"]) == (0, files - 1), ran.err
    assert 0 < found["models"][0]["records"] < 1_000
    assert sidecar("witness", *base, "--from-start").code == 0
    ran = sidecar("verify", "--store", store, "--operator", OPERATOR.verifier, "--json")
    assert '"retention"' in ran.out
    for bad in ("removed", "altered", "truncated"):
        assert f'"{bad}"' not in ran.out


class _Later:
    """The time module's clock, set to a moment."""

    def __init__(self, seconds: float) -> None:
        self._seconds = max(seconds, time.time())

    def time(self) -> float:
        return self._seconds
