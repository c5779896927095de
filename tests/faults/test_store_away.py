"""The store is gone, or read-only, for a while: traffic does not notice, everything is shipped afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.mounts import remount, tmpfs
from tests.support.running import ModelServer, Sidecar, running_sidecar, until

pytestmark = pytest.mark.faults


def live_through(
    running: Sidecar, take: Callable[[], object], give_back: Callable[[], object], report: Report, what: str
) -> None:
    with Load(running.port, connections=4) as load:
        load.more(200)
        until(lambda: running.status()["store"]["batches_shipped"], "a first batch")
        take()
        load.more(1000)
        until(lambda: not running.status()["store"]["up"], "the failure to be seen")
        status = running.status()
        assert status["store"]["error"]
        assert str(running.store) in status["store"]["error"]
        assert status["journal"]["shedding"] is False
        give_back()
        load.more(200)
        until(lambda: running.status()["store"]["up"], "the store to be found again")
    assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
    assert running.tracebacks() == []
    assert running.stop() == 0
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    assert found.gaps == []
    assert set(found.ids) == set(load.answered)
    report(f"store {what}: {len(load.answered)} answered, all stored, slowest {load.slowest_s:.3f} s")


def test_a_store_that_is_gone_and_comes_back(tmp_path: Path, upstream: ModelServer, report: Report) -> None:
    away = tmp_path / "away"
    with running_sidecar(tmp_path, upstream.port) as running:
        live_through(
            running, lambda: running.store.rename(away), lambda: away.rename(running.store), report, "gone"
        )


def test_a_file_in_the_stores_place(tmp_path: Path, upstream: ModelServer, report: Report) -> None:
    away = tmp_path / "away"
    with running_sidecar(tmp_path, upstream.port) as running:

        def take() -> None:
            running.store.rename(away)
            running.store.write_text("not a folder")

        def give_back() -> None:
            running.store.unlink()
            away.rename(running.store)

        live_through(running, take, give_back, report, "replaced by a file")


@pytest.mark.root
def test_a_store_that_is_read_only_for_a_while(tmp_path: Path, upstream: ModelServer, report: Report) -> None:
    with (
        tmpfs(tmp_path / "records", "64m") as store,
        running_sidecar(tmp_path, upstream.port) as running,
    ):
        live_through(running, lambda: remount(store, "ro"), lambda: remount(store, "rw"), report, "read-only")


@pytest.mark.root
def test_a_store_without_space(tmp_path: Path, upstream: ModelServer, report: Report) -> None:
    with (
        tmpfs(tmp_path / "records", "16m") as store,
        running_sidecar(tmp_path, upstream.port) as running,
    ):
        ballast = store / "ballast"

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return

        live_through(running, fill, ballast.unlink, report, "full")
