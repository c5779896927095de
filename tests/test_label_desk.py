"""Posted labels reach the store exactly once, whatever fails on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson
import pytest
from arro3.io import read_parquet
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import StoreError
from sidecar.label_desk import FOLDER, LabelDesk, hashed, row_of
from sidecar.shipping.directory import DirectorySink
from sidecar.shipping.label_queue import LabelQueue
from sidecar.shipping.labels_file import LabelRow, encode_labels
from sidecar.shipping.sink import PutResult
from sidecar.statistics.label_event import parse_events


def body(*numbers: int) -> bytes:
    return b"\n".join(orjson.dumps({"record_id": f"b.r.{n}", "label": n % 2}) for n in numbers)


def stored(store: Path) -> list[str]:
    """Record ids of every label in the store, sorted."""
    files = sorted((store / "statistics" / "labels").glob("*.parquet"))
    return sorted(
        row for file in files for batch in read_parquet(file) for row in batch.column("record_id").to_pylist()
    )


class Unsure:
    """A store that takes an object and then says that it did not, every other time."""

    def __init__(self, sink: DirectorySink) -> None:
        self._sink = sink
        self.calls = 0

    @property
    def description(self) -> str:
        return self._sink.description

    def put(self, name: str, data: bytes) -> PutResult:
        self.calls += 1
        result = self._sink.put(name, data)
        if self.calls % 2:
            raise StoreError("connection reset after the last byte")
        return result


def test_a_put_whose_answer_was_lost_does_not_double_labels(tmp_path: Path) -> None:
    store = tmp_path / "store"
    sink = Unsure(DirectorySink(store, create=True))
    desk = LabelDesk(tmp_path, lambda: sink, 0.01)
    desk.take(body(*range(10)))
    worker = threading.Thread(target=desk.run, daemon=True)
    worker.start()
    deadline = time.monotonic() + 10
    while desk.counts()["objects"] or desk.counts()["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    desk.stop()
    worker.join(5)
    assert sink.calls >= 2
    assert stored(store) == sorted(f"b.r.{n}" for n in range(10))
    assert desk.counts()["error"] is None


CHILD = """
import sys
from pathlib import Path
from sidecar.label_desk import LabelDesk
from sidecar.shipping.directory import DirectorySink
import threading
from tests.test_label_desk import body
folder = Path(sys.argv[1])
desk = LabelDesk(folder, lambda: DirectorySink(folder / "store", create=True), 0.002)
threading.Thread(target=desk.run, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    desk.take(body(int(line)))
    print(line.strip(), flush=True)
"""


@pytest.mark.faults
def test_labels_survive_kills_exactly_once(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    number = 0
    for life in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(20 + 7 * life):
            child.stdin.write(f"{number}\n")
            child.stdin.flush()
            assert child.stdout.readline() == f"{number}\n"
            acknowledged.append(number)
            number += 1
        child.send_signal(signal.SIGKILL)
        child.wait()
    desk = LabelDesk(tmp_path, lambda: DirectorySink(tmp_path / "store"), 0.01)
    desk.stop()
    desk.run()
    assert desk.counts()["waiting"] == 0
    assert stored(tmp_path / "store") == sorted(f"b.r.{n}" for n in acknowledged)


@given(st.permutations(range(6)), st.integers(0, 6))
def test_a_file_of_labels_is_named_by_its_content_whatever_their_order(order: list[int], twice: int) -> None:
    rows = [LabelRow(f"b.r.{n}", "", "", str(n), n, "{}") for n in range(6)]
    name, data = encode_labels(rows)
    assert encode_labels([rows[n] for n in order] + rows[:twice]) == (name, data)


def test_keys_are_kept_as_the_store_has_them(tmp_path: Path) -> None:
    desk = LabelDesk(tmp_path, lambda: DirectorySink(tmp_path / "store"), 60, lambda value: f"h({value})")
    desk.take(b'{"key": {"name": "applicant", "value": "4711"}, "label": true, "attributes": {"sex": "f"}}')
    queue = LabelQueue.open(tmp_path / FOLDER) if desk._queue is None else desk._queue
    seen: list[bytes] = []

    def encode(events: list[bytes]) -> tuple[str, bytes]:
        seen.extend(events)
        return "statistics/labels/x", b""

    queue.seal(encode, 10)
    (event,) = parse_events(seen[0])
    assert event.target == ("applicant", "h(4711)")
    assert row_of(event) == LabelRow("", "applicant", "h(4711)", "true", 0, '{"sex":"f"}')
    (plain,) = parse_events(body(1))
    assert hashed(plain, str.upper) == plain
