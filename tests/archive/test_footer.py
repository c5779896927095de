"""A file's metadata out of its last bytes is what a Parquet reader says it is."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from arro3.io import read_parquet
from hypothesis import given
from hypothesis import strategies as st

from sidecar.archive import catalog
from sidecar.archive.footer import TAIL_BYTES, metadata_in, read_footers
from sidecar.archive.source import Source
from sidecar.ledger.note import SigningKey
from sidecar.objects import open_store
from tests.support.sealed_store import LogMaker
from tests.support.stored_sample import sample


def files(source: Source) -> list[catalog.StoredFile]:
    return [file for day in catalog.days(source) for file in catalog.files(source, *day)]


@pytest.mark.parametrize("local", [True, False])
def test_metadata_is_that_of_the_parquet_reader(tmp_path: Path, local: bool) -> None:
    sample(tmp_path)
    source = Source(open_store(str(tmp_path)), tmp_path if local else None)
    footers = list(read_footers(source, files(source)))
    assert len(footers) == 4
    for footer in footers:
        stored = read_parquet(tmp_path / footer.file.name).schema.metadata[b"sidecar"]
        assert footer.metadata == orjson.loads(stored)
        assert footer.metadata["rows"] > 0


def test_a_footer_longer_than_the_first_read_is_read_whole(tmp_path: Path) -> None:
    log = LogMaker(tmp_path, SigningKey("k", bytes(32)))
    log.enrolled = "x" * (2 * TAIL_BYTES)
    log.exchanges(3)
    log.cut()
    source = Source(open_store(str(tmp_path)))
    (footer,) = read_footers(source, files(source))
    assert footer.metadata["enrolment"] == "x" * (2 * TAIL_BYTES)
    assert len(footer.tail) > 2 * TAIL_BYTES


@given(st.binary(max_size=300))
def test_any_bytes_give_metadata_or_none_and_never_an_error(data: bytes) -> None:
    assert isinstance(metadata_in(data + b"\x18\x07sidecar\x18" + data), dict)
    assert metadata_in(data.replace(b"sidecar", b"")) == {}
