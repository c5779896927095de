"""A predicate that somebody else wrote can look at the columns of the records and at nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sidecar.archive import catalog
from sidecar.archive.duck import DuckEngine, checked_where, lock
from sidecar.archive.find import find
from sidecar.archive.footer import read_footers
from sidecar.archive.query import Query
from sidecar.archive.source import Source
from sidecar.errors import StoreError, UsageError
from sidecar.ledger.note import SigningKey
from sidecar.objects import open_store
from tests.support.sealed_store import LogMaker


@pytest.fixture
def source(tmp_path: Path) -> Source:
    store = tmp_path / "store"
    log = LogMaker(store, SigningKey("k", bytes(32)))
    log.exchanges(3)
    log.cut()
    return Source(open_store(str(store)), store)


@pytest.mark.parametrize(
    "text",
    [
        "status = 200",
        "keys['applicant'] = 'A-1' OR path LIKE '/v2/%'",
        "json_extract_string(outputs, '$.deny[0]') = 'true'",
        "t_end_us - t_request_us > 1000000 -- slow",
        "(1 = 1)",
    ],
)
def test_a_predicate_over_the_columns_is_taken(text: str) -> None:
    assert checked_where(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "status =",
        "nope = 1",
        "1; DROP TABLE x",
        "1) OR (1",
        "1 AS one",
        "*",
        "true) UNION ALL SELECT 1 WHERE (true",
        "true) FROM read_csv('/etc/passwd') WHERE (true",
        "EXISTS (SELECT * FROM read_text('/etc/passwd'))",
        "status IN (SELECT 200)",
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "(FROM read_text('/etc/passwd'))",
        "status = 200, 1",
        "row_number() OVER () = 1",
        "true ORDER BY 1",
        "getenv('HOME') = '/root'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "count(*) > 1",
        "query('SELECT 1')",
    ],
)
def test_anything_else_is_a_usage_error_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_where(text)
    assert str(caught.value).startswith("--where: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_predicate_that_fails_on_a_row_is_the_predicates_fault(source: Source) -> None:
    problems: list[StoreError] = []
    with pytest.raises(UsageError, match="--where: Conversion Error"):
        list(find(source, Query(where="path::INT = 1"), problems.append, use_duckdb=True))
    assert problems == []


STATEMENTS = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    "COPY (SELECT 1) TO '{folder}/evil.csv'",
    "COPY (SELECT 1) TO '{file}'",
    "ATTACH '{folder}/evil.db'",
    "EXPORT DATABASE '{folder}/evil'",
    "INSTALL httpfs",
    "LOAD '{folder}/evil.duckdb_extension'",
    "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/etc/passwd']",
    "SET lock_configuration = false",
    "RESET enable_external_access",
    "PRAGMA enable_external_access",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_even_a_whole_statement_finds_the_engine_locked(
    source: Source, tmp_path: Path, statement: str
) -> None:
    """What the check of the predicate might miss, the lock still holds."""
    footers = list(
        read_footers(source, [file for day in catalog.days(source) for file in catalog.files(source, *day)])
    )
    evidence = source.path(footers[0].file.name)
    assert evidence is not None
    before = evidence.read_bytes()
    with DuckEngine(source, footers) as engine:
        text = statement.format(folder=tmp_path, file=evidence)
        with pytest.raises(duckdb.Error):
            engine._connection.execute(text).fetchall()
        assert len(engine.newest(footers, Query())) == 3
    assert evidence.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["store"]


def test_only_the_files_that_were_given_can_be_read(source: Source, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    (name,) = [entry.name for entry in source.objects.list("records")]
    given = source.path(name)
    assert given is not None
    other.write_bytes(given.read_bytes())
    with duckdb.connect(":memory:") as connection:
        lock(connection, [str(given)])
        assert connection.execute("SELECT count(*) FROM read_parquet(?)", [str(given)]).fetchone()
        with pytest.raises(duckdb.PermissionException):
            connection.execute("SELECT count(*) FROM read_parquet(?)", [str(other)])


@pytest.mark.parametrize("text", ["status = 200; DROP TABLE x", "status = 200; SELECT 1", "true ORDER BY 1"])
def test_what_is_more_than_a_predicate_is_called_so(text: str) -> None:
    with pytest.raises(UsageError, match="more than one condition was written"):
        checked_where(text)
