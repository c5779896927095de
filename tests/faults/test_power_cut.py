"""The machine loses power: what the disk has by then is all there is, page cache and counters are gone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidecar.counters import Counters
from sidecar.journal import Segment
from tests.faults.conftest import Report
from tests.journal.rig import BOOT, Rig, exchange, exchanges, gaps, read_all
from tests.journal.test_recovery import ROOMY, ROOT
from tests.support.mounts import ext4

pytestmark = [pytest.mark.faults, pytest.mark.root]

OLD = "20260101T000000-aaaaaaaaaa"


def write_and_cut(
    folder: Path, image: Path, copy: Path, durability: str, seed: int, after_s: float
) -> list[int]:
    """Write to a journal for a while, then copy the disk under it; returns what had been answered."""
    Counters.create(folder, OLD, ["default"]).close()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.writing_process", str(folder), OLD, durability, str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        answered = process.stdout.readline()
        os.set_blocking(process.stdout.fileno(), False)
        deadline = time.monotonic() + after_s
        while time.monotonic() < deadline:
            answered += process.stdout.read(1 << 20) or b""
            time.sleep(0.002)
        # Nothing is written while the disk is copied: a cut is one moment.
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
        answered += process.stdout.read() or b""
    finally:
        process.kill()
        process.wait()
    return [int(line) for line in answered.split(b"\n")[:-1]]


def commits(found: list) -> list[tuple[int, list[int]]]:  # type: ignore[type-arg]
    """Time and numbers of each commit: its segments carry one time."""
    result: list[tuple[int, list[int]]] = []
    for segment in found:
        assert isinstance(segment, Segment), segment
        if not result or result[-1][0] != segment.wall_us:
            result.append((segment.wall_us, []))
        result[-1][1].extend(each.seq for each in exchanges([segment]))
    return result


@pytest.mark.parametrize("durability", ["relaxed", "before_response"])
async def test_a_power_cut_loses_at_most_the_last_commit_and_nothing_that_was_promised(
    tmp_path: Path, durability: str, report: Report
) -> None:
    chance = random.Random(durability)
    lost, written = 0, 0
    for seed in range(4):
        image, copy = tmp_path / f"disk-{seed}.img", tmp_path / f"cut-{seed}.img"
        with ext4(image, tmp_path / f"live-{seed}", size_mib=768) as live:
            answered = write_and_cut(live, image, copy, durability, seed, chance.uniform(0.2, 1.2))
            before = commits(read_all(live))
        with ext4(copy, tmp_path / f"after-{seed}") as after:
            survived = commits(read_all(after))
            missing = [each for each in before if each not in survived]
            assert survived == before[: len(survived)], f"a hole: {[numbers[:1] for _, numbers in missing]}"
            assert len(missing) <= 1
            recorded = {number for _, numbers in survived for number in numbers}
            if durability == "before_response":
                assert set(answered) <= recorded
            async with Rig(after, ROOMY) as rig:
                assert await rig.record(exchange()) == [True]
                assert rig.counters.boot == BOOT
            found = read_all(after)
            segments = [each for each in found if isinstance(each, Segment) and each.boot == OLD]
            of_old = [each.seq for each in exchanges(segments)]
            for gap in gaps(found):
                of_old += range(gap.first_seq, gap.first_seq + gap.count)
            assert sorted(of_old) == list(range(1, len(of_old) + 1)), "numbered without hole or repetition"
        lost += sum(len(numbers) for _, numbers in missing)
        written += len(before)
        image.unlink()
        copy.unlink()
    report(f"4 power cuts, {durability}: {written} commits, {lost} committed exchanges lost")
