from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.counters import Counters
from sidecar.errors import JournalError, JournalLocked, JournalVersion
from sidecar.journal import acquire_lock, check

ROOT = Path(__file__).resolve().parents[2]


def test_a_missing_folder_is_made_and_left_unlocked(tmp_path: Path) -> None:
    check(tmp_path / "a" / "b")
    check(tmp_path / "a" / "b")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["lock"]


def test_a_second_holder_is_told_who_has_the_journal(tmp_path: Path) -> None:
    held = acquire_lock(tmp_path)
    for attempt in (acquire_lock, check):
        with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
            attempt(tmp_path)
    os.close(held)
    os.close(acquire_lock(tmp_path))


def test_the_lock_lives_as_long_as_any_process_that_inherited_it(tmp_path: Path) -> None:
    held = acquire_lock(tmp_path)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[held])
    os.close(held)
    with pytest.raises(JournalLocked):
        check(tmp_path)
    child.communicate()
    check(tmp_path)


def test_a_newer_journal_is_refused_and_not_rewritten(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("sidecar-journal 2\npid 1\n")
    with pytest.raises(JournalVersion, match="format 2"):
        check(tmp_path)
    assert (tmp_path / "lock").read_text() == "sidecar-journal 2\npid 1\n"


def test_newer_counters_are_refused(tmp_path: Path) -> None:
    counters = Counters.create(tmp_path, "20260101T000000-aaaaaaaaaa", ["default"])
    counters.close()
    with counters.path.open("r+b") as file:
        file.seek(8)
        file.write((2).to_bytes(4, "little"))
    with pytest.raises(JournalVersion, match="counters format 2"):
        check(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file/journal"):
        check(tmp_path / "file" / "journal")


def test_checking_and_locking_do_not_load_lmdb() -> None:
    program = (
        "import sys; from sidecar.journal import check, acquire_lock, JournalLimits;"
        "sys.exit('lmdb' in sys.modules or 'msgpack' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
