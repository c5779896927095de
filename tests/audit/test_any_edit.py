"""Whatever value of whatever sealed column of whatever row is changed: verify notices, and names the record."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.audit.findings import Kind
from sidecar.errors import LedgerError
from sidecar.schema import LOG_COLUMNS, ROW_COLUMNS
from tests.support import audited
from tests.support.audited import Store, failures
from tests.support.sealed_store import Tampered

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "utf8": st.none() | st.text(max_size=20),
    "binary": st.none() | st.binary(max_size=40),
    "int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "int32": st.none() | st.integers(-(2**31), 2**31 - 1),
    "bool": st.none() | st.booleans(),
    "map": st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
}
SEALED = {**LOG_COLUMNS, **ROW_COLUMNS}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return audited.make(tmp_path_factory.mktemp("edits"))


def edited(store: Store, data: st.DataObject, rehash: bool) -> tuple[Store, str, str] | None:
    """A copy with one value changed, and the record and column; None when it was that value already."""
    copy = store.root.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store.root, copy)
    opened = Tampered(copy, data.draw(st.sampled_from(store.log.names)))
    row = data.draw(st.sampled_from(opened.rows))
    column = data.draw(st.sampled_from(sorted(SEALED)))
    value = data.draw(VALUES[SEALED[column]])
    if row[column] == value:
        return None
    row[column] = value
    if rehash:
        try:
            opened.rehash()
        except LedgerError:
            # A value without a canonical form, such as a body without its salt: no leaf hash can fit it.
            return None
    opened.save()
    return Store(copy, store.log, store.other), str(row["record_id"]), column


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_edited_value_is_altered_and_its_record_named(store: Store, data: st.DataObject) -> None:
    made = edited(store, data, rehash=False)
    if made is None:
        return
    copy, record, column = made
    found = failures(copy.report())
    assert [each.kind for each in found if each.kind not in (Kind.ALTERED, Kind.RELABELLED)] == []
    assert any(record in each.records for each in found), (record, column, [each.text for each in found])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_edited_value_is_noticed_when_its_leaf_hash_fits(store: Store, data: st.DataObject) -> None:
    made = edited(store, data, rehash=True)
    if made is not None:
        kinds = {each.kind for each in failures(made[0].report())}
        assert kinds
        assert kinds <= {Kind.ALTERED, Kind.RELABELLED}


def test_every_column_is_sealed(store: Store, tmp_path: Path) -> None:
    """Each column in turn set to something else in one row."""
    other = {"utf8": "?", "binary": b"?", "int64": 77, "int32": 77, "bool": False, "map": {"a": "b"}}
    for column, kind in SEALED.items():
        copy = tmp_path / column
        shutil.copytree(store.root, copy)
        opened = Tampered(copy, store.log.names[1])
        opened.row(25)[column] = other[kind]
        opened.save()
        assert not audited.report(copy).intact, column
