from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidecar.counters import Counters, Global, Route, find_all
from sidecar.journal.folder import volume_path, volumes
from sidecar.records import Position
from tests.journal.rig import BOOT, SMALL, Rig, accounted, events, exchange, exchanges, gaps, read_all

ROOMY = dataclasses.replace(SMALL, max_bytes=4 << 30)
ROOT = Path(__file__).resolve().parents[2]


def run_and_kill(folder: Path, boot: str, durability: str, seed: int, after_s: float) -> list[int]:
    """Kill -9 a writing process; returns the numbers of the exchanges that it had answered."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.writing_process", str(folder), boot, durability, str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    os.set_blocking(process.stdout.fileno(), False)
    answered = first
    deadline = time.monotonic() + after_s
    while time.monotonic() < deadline:
        answered += process.stdout.read(1 << 20) or b""
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    os.set_blocking(process.stdout.fileno(), True)
    answered += process.stdout.read()
    process.wait()
    return [int(line) for line in answered.split(b"\n")[:-1]]


@pytest.mark.faults
@pytest.mark.parametrize("durability", ["relaxed", "before_response"])
async def test_a_recorder_killed_again_and_again_accounts_for_every_exchange(
    tmp_path: Path, durability: str
) -> None:
    rng = random.Random(durability)
    answered: list[int] = []
    Counters.create(tmp_path, BOOT, ["default"]).close()
    for seed in range(12):
        answered += run_and_kill(tmp_path, BOOT, durability, seed, rng.uniform(0.0, 0.25))
    async with Rig(tmp_path, ROOMY) as rig:
        assert await rig.record(exchange()) == [True]
        started = rig.counters.route("default", Route.STARTED)
        shed = rig.counters.route("default", Route.SHED)
        assert rig.counters.route("default", Route.ENDED) == started
    found = read_all(tmp_path)
    assert accounted(found) == started
    recorded = {e.seq for e in exchanges(found)}
    missing = set(answered) - recorded
    covered = {n for g in gaps(found) for n in range(g.first_seq, g.first_seq + g.count)}
    assert missing <= covered
    assert sum(g.count for g in gaps(found)) == shed == started - len(recorded)
    if durability == "before_response":
        assert not missing


@pytest.mark.faults
async def test_the_next_boot_accounts_for_what_a_dead_one_left_and_removes_its_counters(
    tmp_path: Path,
) -> None:
    dead = [f"2026010{n}T000000-aaaaaaaaaa" for n in range(1, 4)]
    for seed, boot in enumerate(dead):
        Counters.create(tmp_path, boot, ["default"]).close()
        run_and_kill(tmp_path, boot, "relaxed", seed, 0.1)
    started = {}
    for boot in dead[-1:]:
        counters = Counters.open(tmp_path / f"counters-{boot}.bin")
        started[boot] = counters.route("default", Route.STARTED)
        counters.close()
    async with Rig(tmp_path, ROOMY) as rig:
        assert await rig.record(exchange()) == [True]
        # Removed after those who wait have been told.
        await rig.until(lambda: find_all(tmp_path) == [rig.counters.path])
    found = read_all(tmp_path)
    assert accounted(found) == 1
    for boot in dead:
        last = accounted_over_boots(found, boot)
        assert last == started.get(boot, last)


def accounted_over_boots(found: list, boot: str) -> int:  # type: ignore[type-arg]
    numbers = [e.seq for s in found if s.boot == boot for e in exchanges([s])]
    for gap in gaps(found):
        if gap.boot == boot:
            numbers += range(gap.first_seq, gap.first_seq + gap.count)
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    return len(numbers)


async def test_a_restarted_recorder_counts_what_was_started_and_never_ended(tmp_path: Path) -> None:
    async with Rig(tmp_path) as first:
        await first.record(exchange(), exchange())
        first.begin(count=3)
    async with Rig(tmp_path) as second:
        made = exchange()
        second.append(made)
        assert made.seq == 6
    found = read_all(tmp_path)
    assert accounted(found) == 6
    assert [(g.first_seq, g.count, g.reason) for g in gaps(found)] == [(3, 3, "killed")]
    assert second.counters.route("default", Route.SHED) == 3


async def test_without_any_volume_left_the_counters_say_what_was_committed(tmp_path: Path) -> None:
    async with Rig(tmp_path) as first:
        await first.record(exchange(), exchange())
        first.begin()
    for number in volumes(tmp_path):
        volume_path(tmp_path, number).unlink()
    async with Rig(tmp_path) as second:
        await second.record(exchange())
        assert second.counters.get(Global.VOLUME_CURRENT) == 2
    found = read_all(tmp_path)
    assert [(g.first_seq, g.count) for g in gaps(found)] == [(3, 1)]
    assert [e.seq for e in exchanges(found)] == [4]
    assert found[0].position == Position(2, 2 << 32)


async def test_volume_numbers_go_on_over_boots_even_when_all_was_shipped(tmp_path: Path) -> None:
    async with Rig(tmp_path, boot="20260101T000000-aaaaaaaaaa") as old:
        for _ in range(8):
            await old.record(exchange(b"q" * 600_000))
        last = old.counters.get(Global.VOLUME_CURRENT)
    for number in volumes(tmp_path):
        volume_path(tmp_path, number).unlink()
    async with Rig(tmp_path) as rig:
        await rig.record(exchange())
        assert rig.counters.get(Global.VOLUME_CURRENT) == last + 1
    assert not gaps(read_all(tmp_path))


async def test_a_volume_that_never_got_a_segment_is_removed(tmp_path: Path) -> None:
    volume_path(tmp_path, 1).touch()
    async with Rig(tmp_path) as rig:
        await rig.record(exchange())
        assert rig.counters.get(Global.VOLUMES_MOVED_ASIDE) == 0
    assert volumes(tmp_path) == [2]


async def test_a_damaged_counters_file_of_a_dead_boot_is_moved_aside_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "counters-20260101T000000-aaaaaaaaaa.bin").write_bytes(b"junk")
    async with Rig(tmp_path) as rig:
        await rig.record(exchange())
    assert len(events(read_all(tmp_path), "counters_moved_aside")) == 1
    assert (tmp_path / "aside" / "counters-20260101T000000-aaaaaaaaaa.bin").exists()


async def test_killed_exchanges_of_several_routes_are_counted_apart(tmp_path: Path) -> None:
    limits = dataclasses.replace(SMALL, commit_interval_s=0.001)
    async with Rig(tmp_path, limits, routes=("a", "b", "c")) as first:
        await first.record(exchange(route="a"), exchange(route="b"))
        first.begin("b", 2)
        first.begin("c", 5)
    async with Rig(tmp_path, limits) as second:
        await second.record(exchange(route="a"), exchange(route="c"))
    found = read_all(tmp_path)
    assert [accounted(found, route=r) for r in "abc"] == [2, 3, 6]
    assert {(g.route, g.first_seq, g.count) for g in gaps(found)} == {("b", 2, 2), ("c", 1, 5)}


DYING_RECOVERY = """
import asyncio, os, sys
from pathlib import Path
from sidecar.journal import committer, recovery
from tests.journal.rig import BOOT, Rig, exchange

folder, place, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
module = {"move_aside": recovery, "_removed": committer}[place]
real = getattr(module, place)
calls = 0

def dying(*arguments):
    global calls
    calls += 1
    done = real(*arguments) if place == "move_aside" else None
    if calls == times:
        os._exit(9)
    return done if place == "move_aside" else real(*arguments)

setattr(module, place, dying)

async def main():
    async with Rig(folder) as rig:
        await rig.record(exchange())

asyncio.run(main())
"""


def die_in_recovery(folder: Path, place: str, times: int) -> None:
    """A recorder of BOOT that is gone right after (a move) or before (a removal) that call."""
    done = subprocess.run([sys.executable, "-c", DYING_RECOVERY, str(folder), place, str(times)], cwd=ROOT)
    assert done.returncode == 9


@pytest.mark.parametrize(
    "deaths",
    [
        [("move_aside", 1)],
        [("move_aside", 2)],
        [("move_aside", 3)],
        [("move_aside", 1), ("move_aside", 1), ("move_aside", 1)],
        [("_removed", 1)],
        [("move_aside", 2), ("_removed", 2)],
    ],
    ids=["first move", "second move", "third move", "each move", "before cleaning up", "while cleaning up"],
)
async def test_what_is_owed_for_a_file_moved_aside_survives_a_kill(
    tmp_path: Path, deaths: list[tuple[str, int]]
) -> None:
    """Two neighbouring volumes and a counters file are damaged; each loss is recorded once, whoever dies when."""
    old = "20260101T000000-aaaaaaaaaa"
    async with Rig(tmp_path, boot=old) as dead:
        for _ in range(12):
            await dead.record(exchange(b"q" * 600_000))
    assert volumes(tmp_path) == [1, 2, 3, 4]
    for number in (2, 3):
        with volume_path(tmp_path, number).open("r+b") as file:
            file.write(b"\0" * 8192)
    (tmp_path / "counters-20251231T000000-bbbbbbbbbb.bin").write_bytes(b"junk")
    for place, times in deaths:
        die_in_recovery(tmp_path, place, times)
    async with Rig(tmp_path) as rig:
        assert await rig.record(exchange()) == [True]
    found = read_all(tmp_path)
    moved = [each.details["volume"] for each in events(found, "volume_moved_aside")]
    assert sorted(moved) == ["volume-00000002.lmdb", "volume-00000003.lmdb"]
    assert len(events(found, "counters_moved_aside")) == 1
    [lost] = [gap for gap in gaps(found) if gap.boot == old]
    kept = [e.seq for s in found if s.boot == old for e in exchanges([s])]  # type: ignore[union-attr]
    assert sorted([*kept, *range(lost.first_seq, lost.first_seq + lost.count)]) == list(range(1, 13))
    assert not (tmp_path / "owed.json").exists()


async def test_nothing_is_moved_aside_before_it_could_be_noted(tmp_path: Path) -> None:
    damaged = tmp_path / "counters-20251231T000000-bbbbbbbbbb.bin"
    damaged.write_bytes(b"junk")
    in_the_way = tmp_path / "owed.tmp"
    in_the_way.mkdir()
    async with Rig(tmp_path) as rig:
        durable = rig.append(exchange())
        await rig.until(lambda: rig.writer.reason)
        assert damaged.exists()
        in_the_way.rmdir()
        assert await durable is True
    assert not damaged.exists()
    assert len(events(read_all(tmp_path), "counters_moved_aside")) == 1


async def test_a_note_of_debts_that_cannot_be_understood_keeps_nobody_waiting(tmp_path: Path) -> None:
    for text in ('{"format": 2}', "", '{"format":1,"after":0,"events":[{"x":1}],"gaps":[]}'):
        (tmp_path / "owed.json").write_text(text)
        async with Rig(tmp_path) as rig:
            assert await rig.record(exchange()) == [True]
        assert not (tmp_path / "owed.json").exists()
    assert len(list((tmp_path / "aside").glob("owed.json*"))) == 3
