"""The wall clock jumps while records are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, running_sidecar, until

pytestmark = pytest.mark.faults


LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed")
def test_a_clock_that_jumps_back_is_recorded_and_nothing_is_lost(
    tmp_path: Path, upstream: ModelServer
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    environment = {
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Not through the `faketime` command: it forks, and its FAKETIME would win over the file.
        "LD_PRELOAD": str(LIBRARY),
    }
    with running_sidecar(tmp_path, upstream.port, environment=environment) as running:
        with Load(running.port) as load:
            load.more(100)
            clock.write_text("-3600\n")
            until(lambda: running.status()["journal"]["clock_steps"], "the step to be noticed")
            load.more(100)
        assert running.stop() == 0
    found = read_evidence(running.store)
    found.check_single()
    found.check_sequences()
    assert set(found.ids) == set(load.answered)
    assert found.event_names()["clock_step"] >= 1
