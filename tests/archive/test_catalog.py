"""Names alone tell which files may hold a record."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.archive import catalog
from sidecar.archive.catalog import RecordId, StoredFile
from sidecar.archive.source import Source
from sidecar.errors import UsageError
from sidecar.ledger.origin import Place, origin
from sidecar.objects import open_store

PLACE = Place("prod", "lending", "scorer", "7f3c0d52-8a44-4c10-9c1e-2f1f3b1f0c11")
BOOT = "20261123T231500-9f3c2a71b0"


def stored(name: str, seqs: tuple[int, int] = (1, 10), leaves: tuple[int, int] = (0, 12)) -> StoredFile:
    return StoredFile("records/x", 1, "2026-11-23", name, *leaves, *seqs)


@pytest.mark.parametrize("text", ["", "nonsense", "boot.route", "a b.route.1", "boot.route.x", ".route.1"])
def test_what_no_record_can_be_called_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="take one from `sidecar find`"):
        RecordId.parse(text)


@given(
    st.text(min_size=1, max_size=40).filter(lambda text: text == "".join(text.split()) and "\0" not in text)
)
@example("_")
def test_a_record_is_looked_for_in_its_log_whatever_its_route_is_called(route: str) -> None:
    record = RecordId.parse(f"{BOOT}.{route}.7")
    assert record.may_be_in(stored(origin(PLACE, route, BOOT)))
    assert record.may_be_in(stored(origin(PLACE, route, "another-boot", BOOT)))
    assert not record.may_be_in(stored(origin(PLACE, route, BOOT), seqs=(8, 10)))
    assert not record.may_be_in(stored(origin(PLACE, route + "x", BOOT)))
    assert not record.may_be_in(stored(origin(PLACE, route, "another-boot")))
    assert not record.may_be_in(stored(origin(PLACE, route, BOOT, "dead-boot")))


def test_what_sealing_added_is_looked_for_by_leaf() -> None:
    name = origin(PLACE, "default", BOOT)
    record = RecordId.parse(f"{name}.batch.12")
    assert record.may_be_in(stored(name))
    assert not record.may_be_in(stored(name, leaves=(13, 20)))
    assert not record.may_be_in(stored(origin(PLACE, "other", BOOT)))


def test_folders_prune_by_model_and_digest(tmp_path: Path) -> None:
    for model, digest, date in (
        ("mortgage", "sha256-ab", "2026-11-23"), ("mortgage", "sha256-cd", "2026-11-24"),
        ("rates%2Fv2", "unknown", "2026-11-24"),
    ):  # fmt: skip
        (tmp_path / f"records/model={model}/digest={digest}/date={date}").mkdir(parents=True)
    (tmp_path / "records/stray/digest=x/date=2026-11-25").mkdir(parents=True)
    source = Source(open_store(str(tmp_path)), tmp_path)
    assert [date for date, _ in catalog.days(source, "mortgage")] == ["2026-11-24", "2026-11-23"]
    assert [date for date, _ in catalog.days(source, "rates/v2")] == ["2026-11-24"]
    assert [date for date, _ in catalog.days(source, digest="sha256:ab")] == ["2026-11-23"]
    assert catalog.days(source, "fraud") == []
