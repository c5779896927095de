"""Look-ups in a large store: `python -m tests.bench.archive build DIR`, then `… measure DIR`.

The store has the writer's columns, metadata and names, and small rows with
shared bodies; its leaves are placeholders, so that it is made in minutes and
cannot be verified. Every measured command is a process of its own, as an
auditor runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arro3.core import Array, RecordBatch

from sidecar.key_filter import key_filter
from sidecar.ledger.origin import Place, origin
from sidecar.shipping.columns import SCHEMA, array
from sidecar.shipping.parquet import BatchFacts, encode, object_name

START_US = 1_795_478_400_000_000
"""2026-11-24 00:00 UTC."""
DAYS = 10
DAY_US = 86_400_000_000
MODELS = ("mortgage", "fraud")
BODY = b'{"inputs": [{"name": "x", "shape": [1, 8], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6, 7, 8]}]}'
ANSWER = b'{"outputs": [{"name": "y", "shape": [1], "datatype": "INT64", "data": [0]}]}'
HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n\r\n"


def applicant(log: str, number: int) -> str:
    """The business key of one record: as random as real ones, and known without looking."""
    return "A-" + hashlib.md5(f"{log}.{number}".encode(), usedforsecurity=False).hexdigest()[:12]


class Writer:
    """Makes one log's files; arrays of columns that are the same in every file are made once."""

    def __init__(self, store: Path, rows: int) -> None:
        self._store = store
        self._rows = rows
        self._same: dict[tuple[str, Any], Array] = {}

    def file(self, number: int, index: int, files_a_log: int) -> int:
        """File `index` of log `number`; gives its bytes."""
        rows = self._rows
        boot = f"20261123T231500-{number:010x}"
        log = f"{boot}.default"
        place = Place("prod", "lending", "scorer", f"{number:08x}-8f4e-4c1d-9a57-0d6f6c1e7f11")
        span_us = DAYS * DAY_US // files_a_log
        begin_us = START_US + index * span_us + number * 1_000
        step_us = min(30_000_000, span_us // 2) // rows
        model = MODELS[number % len(MODELS)]
        digest = "sha256:" + hashlib.sha256(model.encode()).hexdigest()
        seqs = range(index * rows + 1, (index + 1) * rows + 1)
        names = [applicant(log, seq) for seq in seqs]
        times = [begin_us + at * step_us for at in range(rows)]
        changing: dict[str, list[Any]] = {
            "record_id": [f"{log}.{seq}" for seq in seqs],
            "seq": list(seqs),
            "leaf_index": list(range(index * rows, (index + 1) * rows)),
            "t_request_us": times,
            "t_end_us": [each + 2_000 for each in times],
            "status": [500 if seq % 997 == 0 else 200 for seq in seqs],
            "keys": [{"applicant": each} for each in names],
        }
        fixed = {
            "kind": "exchange", "connection": 1, "client": "10.0.0.1:4000", "method": "POST",
            "path": "/v2/models/m/infer", "outcome": "complete", "request_bytes": 200, "response_bytes": 150,
            "request_head": HEAD, "request_body": BODY, "response_body": ANSWER, "request_complete": True,
            "response_complete": True, "decoder": "open_inference", "decision": "0", "model": model,
            "image_digest": digest, "identity_source": "flag", "epoch": 1, "route": "default", "log": log,
            "boot": boot, "salt": bytes(32), "leaf_hash": bytes(32),
        }  # fmt: skip
        columns = [
            array(name, changing[name]) if name in changing else self._constant(name, fixed.get(name))
            for name in SCHEMA.names
        ]
        facts = BatchFacts(
            origin=origin(place, "default", boot),
            log=log,
            model=model,
            digest=digest,
            date=datetime.fromtimestamp(begin_us // 1_000_000, UTC).date().isoformat(),
            rows=rows,
            first_leaf=index * rows,
            first_seq=seqs[0],
            last_seq=seqs[-1],
            t_min_us=times[0],
            t_max_us=times[-1],
            checkpoint="x" * 260,
            public_key="k" * 160,
            enrolment=None,
            keys=None,
            key_filter=key_filter(("applicant", each) for each in names),
        )
        data = encode(facts, [RecordBatch.from_arrays(columns, schema=SCHEMA)])
        path = self._store / object_name(facts, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return len(data)

    def _constant(self, name: str, value: Any) -> Array:
        known = self._same.get((name, value))
        if known is None:
            if len(self._same) > 1_000:
                self._same.clear()
            known = self._same[name, value] = array(name, [value] * self._rows)
        return known


def build(store: Path, files: int, rows: int, logs: int) -> None:
    """The whole store, a log after the other."""
    writer = Writer(store, rows)
    began, size = time.monotonic(), 0
    for number in range(logs):
        for index in range(files // logs):
            size += writer.file(number, index, files // logs)
        print(f"\r{number + 1} of {logs} logs, {size / 1e6:,.0f} MB", end="", flush=True)
    print(f", {time.monotonic() - began:.0f} s")


def measure(store: Path, logs: int, rows: int, files: int, repeats: int) -> None:
    """Each look-up as a process of its own, best and worst of `repeats`."""
    chance = random.Random(7)
    numbers = [
        (
            f"20261123T231500-{chance.randrange(logs):010x}.default",
            chance.randrange(1, rows * files // logs + 1),
        )
        for _ in range(repeats)
    ]
    ids = [f"{log}.{number}" for log, number in numbers]
    cases: dict[str, list[list[str]]] = {
        "show RECORD_ID": [["show", each, "--json"] for each in ids],
        "find --key, all days": [
            ["find", "--key", f"applicant={applicant(*each)}", "--json", "--explain"] for each in numbers
        ],
        "find --key, absent": [["find", "--key", "applicant=nobody", "--explain"]] * repeats,
        "find, newest 50": [["find", "--json", "--explain"]] * repeats,
        "find --status 500 --model fraud, 50": [
            ["find", "--status", "500", "--model", "fraud", "--json", "--explain"]
        ] * repeats,
        "find --where, one day": [
            ["find", "--where", "status = 500 AND seq % 2 = 1", "--since", "2026-11-30", "--until",
             "2026-12-01", "--limit", "0", "--json", "--explain"]
        ],
    }  # fmt: skip
    for name, commands in cases.items():
        took, last = [], subprocess.CompletedProcess([], 0, b"", b"")
        for command in commands:
            began = time.perf_counter()
            last = subprocess.run(
                [str(Path(sys.executable).with_name("sidecar")), *command, "--store", str(store)],
                capture_output=True,
                check=True,
            )
            took.append(time.perf_counter() - began)
        found = len(last.stdout.splitlines())
        read = " ".join(
            " ".join(line.split()) + "," for line in last.stderr.decode().splitlines() if "  " in line
        )
        print(f"{name}: {min(took):.2f} to {max(took):.2f} s, {found} lines; {read}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("build", "measure"))
    parser.add_argument("store", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--logs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.what == "build":
        os.nice(19)
        build(given.store, given.files, given.rows, given.logs)
    else:
        print(json.dumps({"files": given.files, "rows": given.rows, "logs": given.logs}))
        measure(given.store, given.logs, given.rows, given.files, given.repeats)


if __name__ == "__main__":
    main()
