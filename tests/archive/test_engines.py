"""One contract for both engines: the same answer from the same store, whatever is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sidecar.archive.find import find
from sidecar.archive.query import Query, Span
from sidecar.archive.source import Source
from sidecar.errors import StoreError, UsageError
from sidecar.ledger.note import SigningKey
from sidecar.objects import Entry, open_store
from sidecar.objects_directory import DirectoryStore
from tests.support.sealed_store import DIGEST, OTHER_DIGEST, START_US, LogMaker

SEVERAL = {"applicant": "first", "applicant.2": "second", "applicant.3": "third"}
Find = Callable[[Query], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two logs of two models and three batches each, overlapping in time; a gap; one redacted record."""
    store = tmp_path_factory.mktemp("store")
    for number, (model, digest) in enumerate((("mortgage", DIGEST), ("rates/v2", OTHER_DIGEST))):
        log = LogMaker(
            store, SigningKey("k", bytes([number + 1]) * 32), model=model, digest=digest,
            boot=f"20261123T231500-{number:010d}", t_us=START_US + number * 100_000,
        )  # fmt: skip
        log.exchanges(5)
        log.exchanges(2, status=500)
        log.next()
        log.gap(3)
        log.exchanges(5)
        log.exchange(keys=SEVERAL if number else None)
        log.next()
        log.exchanges(4)
        log.close()
    return store


class Ranges:
    """A bucket's side of the store: ranges and lists, no files. Counts what was asked for."""

    def __init__(self, root: Path) -> None:
        self._store = DirectoryStore(root)
        self.description = "bucket"
        self.asked: list[tuple[str, int, int]] = []
        self.whole: list[str] = []

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        return self._store.list(prefix, after)

    def folders(self, prefix: str = "") -> Sequence[str]:
        return self._store.folders(prefix)

    def get(self, name: str) -> bytes:
        self.whole.append(name)
        return self._store.get(name)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        self.asked.append((name, start, length))
        return self._store.get_range(name, start, length)


def fail(error: StoreError) -> None:
    raise AssertionError(error)


@pytest.fixture(params=["arrow", "duckdb", "arrow over ranges", "duckdb over ranges"])
def ask(request: pytest.FixtureRequest, root: Path) -> Find:
    kind = str(request.param)

    def run(query: Query) -> list[dict[str, Any]]:
        source = Source(Ranges(root)) if "ranges" in kind else Source(open_store(str(root)), root)
        return list(find(source, query, fail, use_duckdb=kind.startswith("duckdb")))

    return run


def everything(root: Path) -> list[dict[str, Any]]:
    return list(find(Source(open_store(str(root)), root), Query(limit=0), fail, use_duckdb=False))


def test_all_exchanges_come_newest_first(ask: Find, root: Path) -> None:
    rows = ask(Query(limit=0))
    assert len(rows) == 34
    assert rows == everything(root)
    assert [row["t_request_us"] for row in rows] == sorted(
        (row["t_request_us"] for row in rows), reverse=True
    )


CASES: list[tuple[Query, Callable[[dict[str, Any]], bool]]] = [
    (Query(model="mortgage", limit=0), lambda row: row["model"] == "mortgage"),
    (Query(model="rates/v2", limit=0), lambda row: row["model"] == "rates/v2"),
    (Query(status=500, limit=0), lambda row: row["status"] == 500),
    (Query(digest=DIGEST[:20], limit=0), lambda row: row["image_digest"] == DIGEST),
    (Query(digest="sha256:99", limit=0), lambda row: False),
    (Query(outcome="complete", limit=0), lambda row: True),
    (Query(outcome="client_abort", limit=0), lambda row: False),
    (Query(decision="deny", limit=0), lambda row: row["status"] == 200),
    (Query(decision="grant", limit=0), lambda row: False),
    (Query(path="/predict", limit=0), lambda row: True),
    (Query(path="/pre*", limit=0), lambda row: True),
    (Query(path="/pre", limit=0), lambda row: False),
    (Query(keys=(("applicant", "A-12"),), limit=0), lambda row: row["keys"] == {"applicant": "A-12"}),
    (Query(keys=(("applicant", "A-12"), ("case", "1")), limit=0), lambda row: False),
    (Query(keys=(("applicant", "third"),), limit=0), lambda row: row["keys"] == SEVERAL),
    (Query(keys=(("applicant.3", "third"),), limit=0), lambda row: row["keys"] == SEVERAL),
    (Query(keys=(("applicant.2", "third"),), limit=0), lambda row: False),
    (
        Query(since_us=START_US + 500_000, until_us=START_US + 1_500_000, limit=0),
        lambda row: START_US + 500_000 <= row["t_request_us"] < START_US + 1_500_000,
    ),
    (
        Query(spans=(Span("mortgage", None, START_US, START_US + 900_000),), limit=0),
        lambda row: row["model"] == "mortgage" and row["t_request_us"] < START_US + 900_000,
    ),
    (
        Query(spans=(Span("mortgage", OTHER_DIGEST, START_US, START_US + 900_000),), limit=0),
        lambda row: False,
    ),
]


@pytest.mark.parametrize(
    ("query", "wanted"), CASES, ids=lambda each: str(each)[:60] if isinstance(each, Query) else ""
)
def test_each_condition_keeps_exactly_what_it_says(
    ask: Find, root: Path, query: Query, wanted: Callable[[dict[str, Any]], bool]
) -> None:
    assert ask(query) == [row for row in everything(root) if wanted(row)]


@pytest.mark.parametrize("limit", [1, 7, 33])
def test_a_limit_gives_the_newest(ask: Find, root: Path, limit: int) -> None:
    assert ask(Query(limit=limit)) == everything(root)[:limit]


def test_gaps_and_what_sealing_added_are_found_by_kind(ask: Find) -> None:
    gaps = ask(Query(frozenset({"gap"}), limit=0))
    assert [(row["seq"], row["count"]) for row in gaps] == [(8, 3), (8, 3)]
    assert len(ask(Query(frozenset({"genesis", "batch", "close"}), limit=0))) == 8


def test_sql_is_for_duckdb_alone(root: Path) -> None:
    source = Source(open_store(str(root)), root)
    query = Query(where="status = 500 AND seq > 6 -- the last", limit=0)
    assert [row["seq"] for row in find(source, query, fail, use_duckdb=True)] == [7, 7]
    with pytest.raises(UsageError, match=r"sidecar-recorder\[audit\]"):
        list(find(source, query, fail, use_duckdb=False))


def test_a_bucket_is_read_by_ranges_and_no_object_whole(root: Path) -> None:
    objects = Ranges(root)
    source = Source(objects)
    rows = list(find(source, Query(model="mortgage", status=500, limit=0), fail, use_duckdb=True))
    assert len(rows) == 2
    assert objects.whole == []
    assert {name for name, _, _ in objects.asked} == {
        entry.name for entry in objects.list("records") if "model=mortgage" in entry.name
    }
    assert source.account.bytes_read == sum(len(objects.get_range(*each)) for each in list(objects.asked))


def test_a_time_outside_reads_no_rows(root: Path) -> None:
    source = Source(open_store(str(root)), root)
    assert list(find(source, Query(since_us=START_US + 3_600_000_000), fail, use_duckdb=True)) == []
    assert source.account.opened == 0
    assert source.account.footers == 6
    source = Source(open_store(str(root)), root)
    assert list(find(source, Query(until_us=START_US - 1), fail, use_duckdb=True)) == []
    assert source.account.listed == 0


def test_a_root_whose_name_looks_like_a_pattern_is_searched_all_the_same(tmp_path: Path) -> None:
    store = tmp_path / "st[o]re*"
    LogMaker(store, SigningKey("k", bytes(32))).exchanges(3)
    log = LogMaker(store, SigningKey("k", bytes(32)), route="b")
    log.exchanges(3)
    log.cut()
    rows = list(find(Source(open_store(str(store)), store), Query(), fail, use_duckdb=True))
    assert len(rows) == 3
