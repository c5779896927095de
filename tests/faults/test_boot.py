"""What a start finds in the journal: damage, a newer format, another supervisor."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.journal.folder import volumes
from tests.support.evidence import read_evidence
from tests.support.load import Load
from tests.support.running import ModelServer, Sidecar, running_sidecar, until

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("damage", ["zeroed", "truncated", "garbled"])
def test_a_corrupt_volume_is_moved_aside_and_the_event_recorded(
    tmp_path: Path, upstream: ModelServer, damage: str
) -> None:
    # Nothing is shipped before the kill, so that the volume is there at the next start.
    running = Sidecar(tmp_path, upstream.port, batch_age="1h")
    try:
        running.start()
        with Load(running.port, prefix="lost") as lost:
            lost.more(200)
        until(lambda: running.status()["routes"]["default"]["committed_seq"] >= len(lost.answered), "commits")
        running.kill_group()
        (number,) = volumes(running.journal)
        volume = running.journal / f"volume-{number:08d}.lmdb"
        data = bytearray(volume.read_bytes())
        if damage == "zeroed":
            data[:8192] = bytes(8192)
        elif damage == "truncated":
            del data[12_288:]
        else:
            data[8192:65_536] = b"\xa5" * (65_536 - 8192)
        volume.write_bytes(data)
        running.start()
        with Load(running.port, prefix="kept") as kept:
            kept.more(100)
        assert (kept.failed, kept.refused, kept.statuses()) == ([], [], {200})
        assert running.tracebacks() == []
        assert running.stop() == 0
    finally:
        running.end()
    assert (running.journal / "aside" / volume.name).exists()
    errors = [entry["message"] for entry in running.log() if entry["level"] == "error"]
    assert any(volume.name in line and "aside" in line for line in errors), errors
    found = read_evidence(running.store)
    found.check_single()
    assert set(kept.answered) <= set(found.ids)
    assert found.event_names()["volume_moved_aside"] == 1
    # What was in it is at least counted.
    missing = set(lost.answered) - set(found.ids)
    assert len(missing) <= found.missing_count


def test_a_newer_journal_is_left_as_it_is_and_said_in_one_line_while_traffic_is_recorded(
    tmp_path: Path, upstream: ModelServer
) -> None:
    running = Sidecar(tmp_path, upstream.port)
    journal = running.journal
    journal.mkdir()
    (journal / "lock").write_text("sidecar-journal 99\n")
    (journal / "volume-00000001.lmdb").write_bytes(b"of another format")
    running.start()
    try:
        with Load(running.port) as load:
            load.more(50)
        assert load.failed == []
        assert running.stop() == 0
    finally:
        running.end()
    (line,) = [entry["message"] for entry in running.log() if "format 99" in str(entry.get("message"))]
    assert f"journal {journal}: format 99, this build reads up to 1" in line
    assert f"records into {journal / 'format-1'}" in line
    assert set(load.answered) <= set(read_evidence(running.store).ids)
    assert (journal / "lock").read_text() == "sidecar-journal 99\n"
    assert (journal / "volume-00000001.lmdb").read_bytes() == b"of another format"


def test_where_both_journals_are_newer_the_start_is_refused_in_one_line(
    tmp_path: Path, upstream: ModelServer
) -> None:
    running = Sidecar(tmp_path, upstream.port)
    for folder in (running.journal, running.journal / "format-1"):
        folder.mkdir()
        (folder / "lock").write_text("sidecar-journal 99\n")
    code, lines = running.refuses()
    assert code == 2
    assert "99" in lines[-1]
    assert (running.journal / "lock").read_text() == "sidecar-journal 99\n"


def test_a_second_supervisor_is_told_who_holds_the_journal(tmp_path: Path, upstream: ModelServer) -> None:
    with running_sidecar(tmp_path, upstream.port) as running:
        assert running.process is not None
        code, lines = Sidecar(tmp_path, upstream.port).refuses()
        assert code == 1
        assert len(lines) == 1
        assert str(running.process.pid) in lines[0]
        with Load(running.port) as load:
            load.more(20)
        assert load.failed == []
        assert running.stop() == 0
