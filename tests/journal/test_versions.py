"""Journals of this version and of those before it, kept as they were written: they stay readable.

The rule: a sidecar reads journals of its own format and of the one before it.
Whoever raises FORMAT keeps the last one's file here, and adds the new one's
(`python -m tests.journal.golden`).
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from sidecar.journal.folder import FORMAT, acquire_lock
from sidecar.journal.reader import JournalReader, Segment
from sidecar.records import Exchange, Position
from sidecar.shipping.state import AnalystState

GOLDEN = Path(__file__).parent / "golden"
READ = [number for number in (FORMAT - 1, FORMAT) if number >= 1]


def test_each_format_that_must_be_read_is_kept() -> None:
    kept = {path.name for path in GOLDEN.glob("*.tar.gz")}
    assert {f"format-{number}.tar.gz" for number in READ} <= kept


@pytest.fixture(params=READ)
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN / f"format-{request.param}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return next(tmp_path.glob("*/journal"))


def test_every_exchange_is_read(journal: Path) -> None:
    expected = json.loads((journal.parents[1] / "expected.json").read_text())
    acquire_lock(journal)
    reader = JournalReader(journal, None)
    found, after = set(), Position(0, 0)
    while segments := reader.read(after, 1 << 20):
        for segment in segments:
            assert isinstance(segment, Segment), segment
            assert segment.boot == expected["boot"]
            for entry in segment.entries:
                if isinstance(entry, Exchange):
                    found.add(re.search(rb'"id": "([^"]+)"', b"".join(entry.request))[1].decode())  # type: ignore[index]
            after = segment.position
    reader.close()
    assert found == set(expected["ids"])


def test_what_the_analyst_knew_is_read_with_the_batches_that_wait(journal: Path) -> None:
    state = AnalystState.open(journal / "analyst", pytest.fail)
    known = state.load()
    assert known.cursor != Position(0, 0)
    assert all(state.data(each) for each in state.pending())
    assert state.pending()
    state.close()
