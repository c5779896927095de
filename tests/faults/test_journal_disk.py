"""The journal's disk is too small, or fails: traffic flows, the loss is counted, recording comes back by itself."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sidecar.counters import Global
from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.mounts import tmpfs
from tests.support.running import ModelServer, Sidecar, running_sidecar, until

pytestmark = pytest.mark.faults


def check_books(running: Sidecar, loads: list[Load]) -> tuple[int, set[str]]:
    """Assert that every answered request is recorded once or counted in a gap; returns how many were not."""
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    answered = {identity for load in loads for identity in load.answered}
    for load in loads:
        assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
    assert set(found.ids) <= answered
    missing = answered - set(found.ids)
    assert found.missing_count == len(missing)
    return len(missing), {row["reason"] for row in found.gaps}


@pytest.mark.root
def test_a_journal_of_64_mib_recovers_once_batches_are_shipped(
    tmp_path: Path, upstream: ModelServer, report: Report
) -> None:
    chance = random.Random(7)

    def large(identity: str) -> bytes:
        """Does not compress, so that pending batches fill the disk too."""
        return b'{"id": "%s", "noise": "%s"}' % (identity.encode(), chance.randbytes(40_000).hex().encode())

    away = tmp_path / "away"
    with (
        tmpfs(tmp_path / "journal", "64m"),
        running_sidecar(tmp_path, upstream.port, capture_memory="4MiB", body_limit="256KiB") as running,
    ):
        with Load(running.port, connections=4, prefix="before") as before:
            before.more(50)
        # Nothing can be shipped: the journal fills up and must shed.
        until(lambda: running.status()["store"]["batches_shipped"], "a first batch")
        running.store.rename(away)
        with Load(running.port, connections=4, prefix="full", body=large) as full:
            until(lambda: running.status()["routes"]["default"]["shed"] > 100, "exchanges to be shed")
            assert running.status()["journal"]["shedding"] is True
            full.more(100)
            free = os.statvfs(running.journal)
        away.rename(running.store)
        until(lambda: not running.status()["journal"]["shedding"], "the journal to take writes again")
        with Load(running.port, connections=4, prefix="after") as after:
            after.more(100)
        status = running.status()
        assert status["starts"] == {"recorder": 1, "analyst": 1}
        assert running.tracebacks() == []
        assert running.stop() == 0
        missing, reasons = check_books(running, [before, full, after])
        stored = read_evidence(running.store).ids
        assert set(after.answered) <= set(stored)
    assert missing >= 100
    report(
        f"64 MiB journal: {len(full.answered)} answered while full, {missing} in gaps ({', '.join(sorted(reasons))}), "
        f"{free.f_bavail * free.f_frsize >> 20} MiB left free, slowest {full.slowest_s:.3f} s"
    )


@contextmanager
def injected(pid: int, fault: str) -> Iterator[None]:
    """Make the process's syncs fail or wait, as strace's `-e inject` words it; skips where that is not allowed."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    command = [strace, "-f", "-q", "-p", str(pid), "-e", "trace=fdatasync,fsync,msync", "-e", fault]
    process = subprocess.Popen([*command, "-o", "/dev/null"], stderr=subprocess.PIPE, text=True)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            assert process.stderr is not None
            pytest.skip(f"strace may not trace here: {process.stderr.read().strip()}")
        yield
    finally:
        process.terminate()
        process.wait()


def test_syncs_that_fail_become_a_gap(tmp_path: Path, upstream: ModelServer, report: Report) -> None:
    with running_sidecar(tmp_path, upstream.port, capture_memory="1MiB", body_limit="64KiB") as running:
        with Load(running.port, connections=4, pause_s=0.002) as load:
            load.more(100)
            with injected(running.pid(Global.RECORDER_PID), "inject=fdatasync,fsync,msync:error=EIO"):
                until(lambda: running.status()["journal"]["shedding"], "the journal to be found failing")
                until(lambda: running.status()["routes"]["default"]["shed"] > 20, "exchanges to be shed")
                load.more(200)
            until(lambda: not running.status()["journal"]["shedding"], "the journal to take writes again")
            load.more(100)
        status = running.status()
        assert status["starts"]["recorder"] == 1
        assert status["journal"]["commit_failures"] > 0
        assert running.tracebacks() == []
        assert running.stop() == 0
    missing, reasons = check_books(running, [load])
    assert missing > 20
    assert "io_error" in reasons
    report(
        f"EIO on sync: {len(load.answered)} answered, {missing} in gaps ({', '.join(sorted(reasons))}), "
        f"slowest {load.slowest_s:.3f} s"
    )


def test_slow_syncs_do_not_slow_traffic(tmp_path: Path, upstream: ModelServer, report: Report) -> None:
    with running_sidecar(tmp_path, upstream.port) as running:
        with Load(running.port, connections=4) as load:
            load.more(100)
            with injected(
                running.pid(Global.RECORDER_PID), "inject=fdatasync,fsync,msync:delay_enter=1500000"
            ):
                load.more(500)
        assert running.tracebacks() == []
        assert running.stop() == 0
    missing, _ = check_books(running, [load])
    assert missing == 0
    report(f"syncs of 1.5 s: {len(load.answered)} answered, all stored, slowest {load.slowest_s:.3f} s")
