"""How the recorder's process is put together; its behaviour is tested in conformance/ and faults/."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sidecar.config import Handover, load
from sidecar.counters import Counters
from sidecar.proxy.capture import SCARCE_PREFIX_BYTES
from sidecar.recorder import Recorder
from sidecar.records import Epoch
from tests.journal.rig import exchange

MIB = 1 << 20


async def test_what_waits_for_the_journal_counts_at_once(tmp_path: Path) -> None:
    """Not only when the counters are brought up to date: much arrives between two ticks."""
    flags = {
        "listen": "127.0.0.1:0",
        "upstream": "http://127.0.0.1:1",
        "store": str(tmp_path / "records"),
        "journal": str(tmp_path),
        "capture_memory": "8MiB",
        "body_limit": "4MiB",
    }
    counters = Counters.create(tmp_path, "20261123T231500-9f3c2a71b0", ["default"])
    handover = Handover(
        load(flags, {}), counters.boot, 0, str(counters.path), {}, [], [], -1, -1, (Epoch("default", 1, "m"),)
    )
    recorder = Recorder(handover, counters, asyncio.get_running_loop())
    budget = recorder.budget
    recorder.journal.start(recorder.loop)
    assert budget.fits(4 * MIB)
    for _ in range(2):
        recorder.journal.append(exchange(b"q" * 3 * MIB))
    assert not budget.fits(2 * MIB)
    assert budget.fits(MIB)
    assert budget.fits(SCARCE_PREFIX_BYTES)
    await recorder.journal.close(10.0)
    assert budget.fits(4 * MIB), "what is durable counts no longer"
