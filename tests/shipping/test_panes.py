"""Panes as files: what went in comes out, by independent readers too, and names say what they hold."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import StoreError
from sidecar.fleet import naming
from sidecar.fleet.pane_file import read
from sidecar.records import Pane
from sidecar.shipping.panes import SCHEMA, encode_panes, plan_name
from tests.support.panes import MINUTE_US, T0_US, encoded, facts, file_of, packed, pane

names = st.text(min_size=1, max_size=12)
vectors = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.dictionaries(names, vectors, min_size=1, max_size=5), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_what_was_counted_comes_back_exactly(counts: list[dict[str, list[int]]], late: list[bool]) -> None:
    panes = [pane(100 * number, each, number, late[number]) for number, each in enumerate(counts)]
    back = {(each.start_us, each.late): each for each in file_of(facts(), panes).panes}
    assert len(back) == len(panes)
    for each in panes:
        found = back[each.start_us, each.late]
        assert (found.length_us, found.exchanges) == (each.length_us, each.exchanges)
        assert {name: found.counts[name].astype("<i8").tobytes() for name in each.counts} == each.counts


def test_duckdb_reads_the_documented_schema_and_adds_the_counts(tmp_path: Path) -> None:
    panes = [pane(0, {"a": [1, 2], "b": [5]}, 3), pane(1, {"a": [10, 20], "b": [7]}, 4)]
    said = facts()
    path = tmp_path / "panes.parquet"
    path.write_bytes(encode_panes(said, panes))
    columns = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]
    assert columns == SCHEMA.names
    rows = duckdb.sql(
        f"SELECT tally, sum(counts[1]), sum(counts[2]), sum(exchanges) FROM '{path}' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert rows == [("a", 11, 22, 7), ("b", 12, None, 7)]
    one = duckdb.sql(
        f"SELECT DISTINCT plan, model, digest, pod, route, writer, pane_us FROM '{path}'"
    ).fetchall()
    assert one == [(said.plan, said.model, said.digest, said.pod, "default", said.writer, MINUTE_US)]


def test_the_docs_list_every_column_in_order_with_its_type() -> None:
    text = (Path(__file__).parents[2] / "docs" / "statistics-store.md").read_text()
    rows = text.partition("| column |")[2].partition("\n\n")[0].splitlines()[2:]
    table = [line.split("|")[1:3] for line in rows]
    documented = [(name.strip().strip("`"), kind.strip()) for name, kind in table]
    kinds = {"Utf8": "text", "Int64": "int64", "Boolean": "boolean"}

    def kind(name: str) -> str:
        shown = str(SCHEMA.field(name).type)
        inner = "list of " if "List" in shown else ""
        return inner + next(word for key, word in kinds.items() if key in shown)

    assert documented == [(name, kind(name)) for name in SCHEMA.names]


def test_a_name_says_writer_serial_span_and_content() -> None:
    said = facts(3, 17)
    panes = [pane(2, {"a": [1]}), pane(9, {"a": [1]})]
    name, data = encoded(said, panes)
    found = naming.parse(name)
    assert found is not None
    assert (found.writer, found.serial) == ("0" * 15 + "3", 17)
    assert (found.first_us, found.last_us) == (T0_US + 2 * MINUTE_US, T0_US + 9 * MINUTE_US)
    assert found.hash == hashlib.sha256(data).hexdigest()[:16]
    assert found.shipped == naming.stamp(T0_US)
    assert f"/date={naming.day(T0_US)}/" in name
    assert naming.date_of(name.rpartition("/")[0]) == naming.day(T0_US)


def test_names_sort_by_the_time_of_shipping() -> None:
    panes = [pane(0, {"a": [1]})]
    shipped = [encoded(facts(9 - number, shipped_us=T0_US + number * 1_000), panes)[0] for number in range(9)]
    assert shipped == sorted(shipped)


@pytest.mark.parametrize(
    "name",
    ["", "statistics/panes/x.parquet", plan_name("ab" * 32), "records/model=m/digest=d/date=2026-01-01/x"],
)
def test_other_names_are_no_panes(name: str) -> None:
    assert naming.parse(name) is None


def test_equal_panes_give_equal_bytes() -> None:
    panes = [pane(0, {"b": [1], "a": [2, 3]}, record_ids={"a": ["b.d.1"]})]
    assert encoded(facts(), panes) == encoded(facts(), panes)


def test_a_pane_without_counts_is_kept() -> None:
    back = file_of(facts(), [Pane(T0_US, MINUTE_US, False, 5, {})]).panes
    assert [(each.start_us, each.exchanges, each.counts) for each in back] == [(T0_US, 5, {})]


def test_records_that_stand_for_a_quantity_come_back() -> None:
    ids = {"inputs.a": ["b.d.1", "b.d.2"], "band/x": ["b.d.3"]}
    back = file_of(facts(), [pane(0, {"inputs.a": [1]}, record_ids=ids)]).panes[0]
    assert back.record_ids == ids
    assert list(back.counts) == ["inputs.a"]


def test_metadata_counts_what_is_in_the_file() -> None:
    panes = [pane(0, {"a": [1]}, 3), pane(0, {"a": [1]}, 4, late=True)]
    said = file_of(facts(boots=("b1", "b2"), final=True, complete_to_us=7), panes).facts
    assert (said.exchanges, said.late_exchanges, said.boots, said.final) == (3, 4, ("b1", "b2"), True)
    assert (said.complete_to_us, said.series.pane_us) == (7, MINUTE_US)


def _with_metadata(said: object) -> bytes:
    import io

    from arro3.core import Array, DataType, RecordBatch
    from arro3.io import write_parquet

    out = io.BytesIO()
    batch = RecordBatch.from_arrays([Array([1], type=DataType.int64())], names=["a"])
    write_parquet(batch, out, key_value_metadata={} if said is None else {"sidecar": json.dumps(said)})
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "cannot be read"),
        (b"PAR1 nonsense PAR1", "cannot be read"),
        (_with_metadata(None), "no file of panes"),
        (_with_metadata({"format": 1}), "no file of panes"),
    ],
)
def test_what_is_no_file_of_panes_is_one_clear_line(data: bytes, word: str) -> None:
    with pytest.raises(StoreError, match=word) as caught:
        read("statistics/panes/x.parquet", data)
    assert str(caught.value).startswith("statistics/panes/x.parquet: ")
    assert "\n" not in str(caught.value)


def test_a_newer_format_is_named() -> None:
    name, data = encoded(facts(), [pane(0, {"a": [1]})])
    assert data.count(b'"format":1') >= 1
    changed: Any = data.replace(b'"format":1', b'"format":7')
    with pytest.raises(StoreError, match="format 7"):
        read(name, changed)


def test_packed_counts_are_little_endian() -> None:
    assert np.frombuffer(packed([1, -2]), dtype="<i8").tolist() == [1, -2]


@pytest.mark.parametrize(("said", "words"), [("exchanges", "3 exchanges"), ("late_exchanges", "4 late")])
def test_a_file_that_does_not_hold_what_it_says_is_refused(said: str, words: str) -> None:
    panes = [pane(0, {"a": [1]}, 3), pane(0, {"a": [1]}, 4, late=True)]
    name, data = encoded(facts(), panes)
    count = 3 if said == "exchanges" else 4
    before, after = f'"{said}":{count}'.encode(), f'"{said}":9'.encode()
    assert data.count(before) == 1
    with pytest.raises(StoreError, match=rf"its rows hold {words}.*, its metadata says 9") as refused:
        read(name, data.replace(before, after))
    assert str(refused.value).startswith(name)
