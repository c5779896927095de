"""Tables of any size: the values that requests would carry, part by part."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import write_parquet

from sidecar.errors import UsageError
from sidecar.table_file import ROWS_AT_ONCE, table_parts


def whole(path: Path, **told: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for part in table_parts(path, **told):
        assert max(map(len, part.values())) <= ROWS_AT_ONCE
        for name, values in part.items():
            found.setdefault(name, []).extend(values)
    return found


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_column_is_of_the_kind_that_all_its_cells_have(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,c,d,e\n1,true,01,x,\n2.5,False,2,1,\n,,3,,\n-1e3,true,,2,\n")
    assert whole(path) == {
        "a": [1, 2.5, None, -1000.0],
        "b": [True, False, None, True],
        "c": ["01", "2", "3", None],
        "d": ["x", "1", None, "2"],
        "e": [None] * 4,
    }


def test_kinds_that_are_given_are_taken_cell_by_cell(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,c\n1,true,1\nx,yes,2\n")
    found = whole(path, kinds={"a": "number", "b": "boolean", "c": "text"})
    assert found == {"a": [1, "x"], "b": [True, "yes"], "c": ["1", "2"]}


def test_one_late_text_makes_a_column_of_texts(tmp_path: Path) -> None:
    rows = 3 * ROWS_AT_ONCE
    path = csv_file(tmp_path, "\ufeffa\n" + "7\n" * rows + "x\n")
    found = whole(path)["a"]
    assert (len(found), set(found)) == (rows + 1, {"7", "x"})


def test_progress_is_told_to_its_end(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a\n" + "7\n" * 20_000)
    told: list[tuple[int, int]] = []
    list(table_parts(path, advance=lambda done, total: told.append((done, total))))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == 2 * path.stat().st_size


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "a": Array([1, None, 3], type=DataType.int64()),
        "b": Array(["x", "y", None], type=DataType.utf8()),
        "c": Array([True, False, None], type=DataType.bool()),
    }
    out = io.BytesIO()
    write_parquet(RecordBatch.from_pydict(columns), out)
    path = tmp_path / "table.parquet"
    path.write_bytes(out.getvalue())
    assert whole(path) == {"a": [1, None, 3], "b": ["x", "y", None], "c": [True, False, None]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "its first line is no header of different names: give a CSV with one"),
        (b"a,a\n1,2\n", "its first line is no header of different names: give a CSV with one"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 values for 2 columns: mend it"),
        (b"a\n\xff\xfe\n", "is no CSV file in UTF-8"),
        (b"a\n" + b"x" * 200_000, "is no CSV file in UTF-8 (field larger than field limit (131072))"),
        (b"PAR1 and no more", "is a Parquet file without its end: copy it again"),
        (b"PAR1", "is a Parquet file without its end: copy it again"),
        (
            b"PAR1 and what is no footer \x01\x02\x03\x04\x05\x00\x00\x00PAR1",
            "is no Parquet file that can be read: ",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        whole(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory: give a CSV or Parquet file"):
        whole(tmp_path / "nothing.csv")


def test_what_tools_write_for_no_number_leaves_a_column_of_numbers(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,c,d\n1,1.5,NA,NA\nNA,-inf,NaN,x\nnull,Infinity,NA,\n,2,,y\n")
    found = whole(path)
    assert found["a"] == [1, None, None, None]
    assert found["b"] == [1.5, -math.inf, math.inf, 2]
    assert found["c"] == ["NA", "NaN", "NA", None]
    assert found["d"] == ["NA", "x", None, "y"]
    (first, second) = whole(csv_file(tmp_path, "a\n3\nnan\n"))["a"]
    assert (first, math.isnan(second)) == (3, True)
