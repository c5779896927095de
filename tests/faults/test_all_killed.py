"""SIGKILL of the supervisor, and of all three at once: the next boot ships what the dead one left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Report
from tests.support.evidence import Evidence, read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, Sidecar

pytestmark = pytest.mark.faults

CONNECTIONS = 6


def boots(
    running: Sidecar, kill: Callable[[Sidecar], None], count: int, seed: int
) -> tuple[list[Load], Evidence]:
    """Kill so many boots at random moments under load, end one more properly, and read the store."""
    chance = random.Random(seed)
    loads = []
    for boot in range(count):
        running.start()
        with Load(running.port, CONNECTIONS, prefix=f"boot{boot}") as load:
            loads.append(load)
            load.more(chance.randrange(20, 400))
            time.sleep(chance.random() * 0.3)
            kill(running)
        assert running.tracebacks() == []
    running.start()
    with Load(running.port, CONNECTIONS, prefix="last") as load:
        loads.append(load)
        load.more(100)
    assert load.failed == []
    assert running.stop() == 0
    assert running.tracebacks() == []
    return loads, read_evidence(running.store)


@pytest.mark.parametrize("kill", [Sidecar.kill_supervisor, Sidecar.kill_group], ids=["supervisor", "group"])
@pytest.mark.parametrize("durability", ["relaxed", "before_response"])
def test_the_next_boot_ships_what_the_dead_one_left(
    tmp_path: Path,
    upstream: ModelServer,
    kills: int,
    report: Report,
    kill: Callable[[Sidecar], None],
    durability: str,
) -> None:
    running = Sidecar(tmp_path, upstream.port, durability=durability, hold_limit="60s", grace="5s")
    count = max(1, kills // 33)
    try:
        loads, found = boots(running, kill, count, seed=5)
    finally:
        running.end()
    found.check_single()
    found.check_sequences()
    answered = {identity for load in loads for identity in load.answered}
    failed = sum(len(load.failed) for load in loads)
    sent = {identity for load in loads for identity in load.sent}
    missing = answered - set(found.ids)
    assert set(found.ids) <= sent
    assert len(missing) <= found.missing_count <= len(missing) + failed
    assert set(found.reasons()) <= {"killed"}
    if durability == "before_response":
        assert missing == set()
    # The dead ones' counters and volumes are gone with what they said.
    assert list(running.journal.glob("volume-*.lmdb")) == []
    assert [path.name for path in running.journal.glob("counters-*.bin")] in (
        [],
        [f"counters-{running.boot}.bin"],
    )
    report(
        f"{kill.__name__}, {durability}: {count} kills, {len(answered)} answered, {len(missing)} of them not "
        f"recorded, gaps count {found.missing_count}, {failed} cut off"
    )
