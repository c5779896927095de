"""`sidecar labels`: ground truth into a store of sealed records, joined, once whatever is repeated."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import orjson
import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import write_parquet
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import StoreError, UsageError
from sidecar.label_files import Columns, read_labels
from sidecar.label_join import Truth
from sidecar.labelling import labels
from sidecar.records import Exchange, Message, Observation
from sidecar.shipping.rows import DAY_US, GroupKey
from sidecar.statistics.label_event import LabelEvent
from tests.support.sealing import group_for
from tests.support.stored_sample import BOOT, EPOCH, REQUEST_HEAD, START_US, put

PREDICTED = [seq % 3 == 0 for seq in range(1, 41)]
TRUE = [seq % 2 == 0 for seq in range(1, 41)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Forty records in two files; every third was approved; one was not decoded."""
    for first in (1, 21):
        made = group_for(GroupKey(BOOT, "default", 1, START_US // DAY_US), EPOCH)
        for seq in range(first, first + 20):
            exchange = Exchange("default", 1, "10.0.0.1:4000", START_US + seq, 0)
            exchange.seq = seq
            message = Message(REQUEST_HEAD, b"{}", length=2)
            inputs = {"sex": ["f" if seq % 4 < 2 else "m"]}
            seen = Observation("test", 1, inputs, {"p": [int(PREDICTED[seq - 1])], "s": [seq / 40]})
            made.exchange(
                exchange, message, message, seen if seq != 40 else None, None, {"applicant": f"A{seq:03d}"}
            )
        put(tmp_path / "store", made)
    return tmp_path / "store"


def run(store: Path, *arguments: str) -> dict[str, Any]:
    result = invoke(store, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(orjson.loads(result.stdout))


def invoke(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(labels, ["--store", str(store), *arguments])


def csv_file(path: Path, header: list[str], rows: list[list[Any]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def by_key(tmp_path: Path, numbers: range = range(1, 41), extra: int = 0) -> str:
    rows = [[f"A{seq:03d}", int(TRUE[seq - 1]), "x" if seq > 20 else "y"] for seq in numbers]
    rows += [[f"Z{number}", 1, "x"] for number in range(extra)]
    return csv_file(tmp_path / "labels.csv", ["applicant", "label", "region"], rows)


BINARY = ("--report", "--outcome", "outputs.p", "--positive", "1")


def test_labels_by_key_are_matched_and_the_rest_is_named(store: Path, tmp_path: Path) -> None:
    told = run(store, by_key(tmp_path, extra=3), "--key", "applicant")["file"]
    assert (told["matched"], told["unmatched"], told["records"]) == (40, 3, 40)
    assert told["first_unmatched"] == ["applicant=Z0", "applicant=Z1", "applicant=Z2"]


def test_the_figures_are_those_of_counting_by_hand(store: Path, tmp_path: Path) -> None:
    run(store, by_key(tmp_path), "--key", "applicant", "--attribute", "region")
    told = run(store, *BINARY, "--score", "outputs.s", "--by", "attributes.region", "--groups", "x,y")[
        "report"
    ]
    pairs = list(zip(PREDICTED, TRUE, strict=True))[:39]
    cells = {
        "tp": pairs.count((True, True)),
        "fp": pairs.count((True, False)),
        "fn": pairs.count((False, True)),
        "tn": pairs.count((False, False)),
    }
    assert told["figures"]["confusion"] == cells
    assert told["undecoded"] == 1
    assert {name: each["rows"] for name, each in told["figures"]["groups"].items()} == {"x": 19, "y": 20}
    assert [each["confusion"] for each in told["days"].values()] == [cells]
    sex = run(store, *BINARY, "--by", "inputs.sex", "--groups", "f,m")["report"]["figures"]["groups"]
    assert sum(each["rows"] for each in sex.values()) == 39


def test_the_same_file_again_changes_nothing(store: Path, tmp_path: Path) -> None:
    first = run(store, by_key(tmp_path), "--key", "applicant")["file"]
    before = run(store, *BINARY)
    again = run(store, by_key(tmp_path), "--key", "applicant")["file"]
    assert (first["objects"], again["objects"], again["objects_already_there"]) == (1, 0, 1)
    assert run(store, *BINARY) == before


def test_a_later_label_replaces_an_earlier_one_whatever_the_order_of_files(
    store: Path, tmp_path: Path
) -> None:
    header = ["record_id", "label", "t"]
    target = f"{BOOT}.default.3"
    late = csv_file(tmp_path / "late.csv", header, [[target, 0, "2026-11-02T00:00:00Z"]])
    early = csv_file(tmp_path / "early.csv", header, [[target, 1, "2026-11-01T00:00:00Z"]])
    run(store, late)
    run(store, early)
    told = run(store, *BINARY)["report"]["figures"]["confusion"]
    assert told == {"tp": 0, "fp": 1, "fn": 0, "tn": 0}


def test_a_parquet_file_and_lines_of_json_say_the_same(store: Path, tmp_path: Path) -> None:
    ids = [f"{BOOT}.default.{seq}" for seq in range(1, 40)]
    true = [int(TRUE[seq]) for seq in range(39)]
    arrays = [Array(ids, type=DataType.utf8()), Array(true, type=DataType.int64())]
    write_parquet(RecordBatch.from_arrays(arrays, names=["record_id", "label"]), tmp_path / "a.parquet")
    lines = b"\n".join(
        orjson.dumps({"record_id": each, "label": label}) for each, label in zip(ids, true, strict=True)
    )
    (tmp_path / "a.ndjson").write_bytes(lines)
    assert run(store, str(tmp_path / "a.parquet"))["file"]["objects"] == 1
    assert run(store, str(tmp_path / "a.ndjson"))["file"]["objects_already_there"] == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"x", "its name should end in"),
        ("a.csv", b"id,label\n1,2\n", "has no column 'record_id' but id, label"),
        ("a.csv", b"record_id,label\n", "holds no labels"),
        ("a.csv", b"record_id,label\n,1\n", "row 1: its record id or key is empty"),
        ("a.csv", b"record_id,label\nb.r.1,\n", "row 1: has neither label nor attributes"),
        ("a.csv", b"\xff\xfe\n", "a.csv: "),
        ("a.parquet", b"PAR1 nothing PAR1", "a.parquet: "),
        ("a.ndjson", b'{"record_id": "a", "label": 1}\n{', "line 2 is no JSON"),
        ("a.ndjson", b'{"label": 1}', "row 1: names no record"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words) as raised:
        read_labels(tmp_path / name, Columns())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a FILE of labels, or --report"),
        (("--report",), "say what is compared"),
        (("--report", "--outcome", "outputs.p"), "give one of positive"),
        (("--report", "--outcome", "p", "--positive", "1"), "no path"),
        (("nowhere.csv",), "nowhere.csv: No such file"),
        (("--report", "--watch-file", "nowhere.yaml"), "nowhere.yaml: No such file"),
    ],
)
def test_a_wrong_command_is_one_line(store: Path, arguments: tuple[str, ...], words: str) -> None:
    result = invoke(store, *arguments)
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_damaged_file_of_labels_is_named_and_the_rest_goes_on(store: Path, tmp_path: Path) -> None:
    run(store, by_key(tmp_path), "--key", "applicant")
    (store / "statistics" / "labels" / "broken.parquet").write_bytes(b"PAR1")
    result = invoke(store, *BINARY)
    assert isinstance(result.exception, StoreError)
    assert "statistics/labels/broken.parquet" in result.output
    assert "accuracy:" in result.output


def test_cells_of_a_table_are_what_they_write(tmp_path: Path) -> None:
    rows = [["a", "1"], ["b", "1.5"], ["c", "true"], ["d", "yes"], ["e", "007"], ["f", "nan"]]
    read = read_labels(Path(csv_file(tmp_path / "a.csv", ["record_id", "label"], rows)), Columns())
    assert [event.label for event in read] == [1, 1.5, True, "yes", "007", "nan"]


EVENTS = st.lists(
    st.builds(
        lambda who, label, t: LabelEvent(record_id=who, label=label, t=f"2026-01-{t:02d}T00:00:00Z"),
        st.sampled_from("ab"),
        st.integers(0, 9),
        st.integers(1, 28),
    ),
    max_size=8,
    unique_by=lambda event: (event.record_id, event.t),
)


@given(EVENTS, st.randoms(use_true_random=False))
def test_the_truth_does_not_depend_on_the_order_in_which_it_came(
    events: list[LabelEvent], order: Any
) -> None:
    straight, mixed = Truth(), Truth()
    for event in events:
        straight.add(event)
    order.shuffle(events)
    for event in events:
        mixed.add(event)
    assert straight.by_target == mixed.by_target
