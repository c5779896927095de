"""Somebody deletes the journal under a running sidecar: it says so, goes on, and loses what was not shipped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import Report
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, Sidecar, alive, running_sidecar, until

pytestmark = pytest.mark.faults


def remove(running: Sidecar, whole: bool) -> None:
    """The whole folder, or volumes, counters, lock and socket without the analyst's own state."""
    if whole:
        shutil.rmtree(running.journal)
        return
    for path in running.journal.iterdir():
        if not path.is_dir():
            path.unlink()


@pytest.mark.parametrize("whole", [False, True], ids=["its files", "the folder"])
@pytest.mark.parametrize("killed", [False, True], ids=["children live on", "children are killed too"])
def test_a_removed_journal_is_named_and_recording_goes_on(
    tmp_path: Path, upstream: ModelServer, report: Report, whole: bool, killed: bool
) -> None:
    with running_sidecar(tmp_path, upstream.port) as running:
        with Load(running.port, connections=4, prefix="before") as before:
            before.more(50)
        until(lambda: running.status()["store"]["rows_shipped"] >= 50, "the first records to be shipped")
        children = [running.status()["processes"][name] for name in ("recorder", "analyst")]
        remove(running, whole)
        if killed:
            for pid in children:
                os.kill(pid, 9)
            until(lambda: not any(map(alive, children)), "the children's end")
        with Load(running.port, connections=4, prefix="during") as during:
            during.more(50)
        if not killed:
            until(lambda: running.says("was removed while in use"), "the error")
        status = until(
            lambda: s if not (s := running.status())["journal"]["shedding"] else None, "a fresh volume"
        )
        with Load(running.port, connections=4, prefix="after") as after:
            after.more(100)
        assert status["starts"] == (
            {"recorder": 2, "analyst": 2} if killed else {"recorder": 1, "analyst": 1}
        )
        assert status["boot"] == running.boot
        assert running.stop() == 0
    found = read_evidence(running.store)
    if not (whole and killed):
        # An analyst that lost its state begins the boot's log again; `verify` calls that a fork.
        found.check_single()
    assert set(found.ids.values()) == {1}
    for load in (before, during, after):
        assert (load.failed, load.refused, load.statuses()) == ([], [], {200})
    stored = set(found.ids)
    assert set(before.answered) | set(after.answered) <= stored
    report(
        f"journal removed: {len(during.answered)} answered meanwhile, {len(set(during.answered) & stored)} stored"
    )
