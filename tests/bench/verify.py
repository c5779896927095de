"""Verification of one large log: `python -m tests.bench.verify --leaves 10000000`.

Seals a log of so many leaves with the ledger's own parts (every leaf really
hashed, a salt for each, real checkpoints and chain), verifies it with the
command an auditor types, pinned to one core, and prints its time and memory.
Heads and bodies are the same in every record, so that the store is small.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from arro3.core import Array, RecordBatch

from sidecar.key_filter import key_filter
from sidecar.ledger import base64text
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.leaf import LeafEncoder
from sidecar.ledger.note import SigningKey
from sidecar.schema import LOG_COLUMNS, ROW_COLUMNS
from sidecar.shipping.columns import SCHEMA, array
from sidecar.shipping.parquet import BatchFacts, encode, object_name
from tests.support.sealed_store import LogMaker, Row, iso_date

ROWS = 10_000
"""Leaves of a file."""
STEP_US = 1_000
PEAK_EVERY_S = 0.1


class LargeLog(LogMaker):
    """Seals whole files of exchanges that differ in number, time, key and salt alone."""

    def fill(self, leaves: int) -> None:
        """Files of at most ROWS leaves until the log has `leaves` of them, its close included."""
        values = self.exchange()
        same = {name: value for name, value in values.items() if name not in LOG_COLUMNS}
        encoder = LeafEncoder(tuple(values[name] for name in LOG_COLUMNS))
        constants = {name: array(name, [value] * ROWS) for name, value in values.items()}
        end = leaves - 2
        while self.frontier.size < end:
            count = min(ROWS - len(self.rows), end - self.frontier.size)
            self._file(self._exchanges(encoder, same, count), constants, count)
            self.add("batch", details={"name": self.names[-1], "sha256": self.last_sha256})
        self.close()

    def _exchanges(self, encoder: LeafEncoder, same: Row, count: int) -> dict[str, list[Any]]:
        first, seq, t_us = self.frontier.size, self.seq + 1, self.t_us
        salts = os.urandom(32 * count)
        changing: dict[str, list[Any]] = {
            "record_id": [f"{self.log}.{seq + at}" for at in range(count)],
            "seq": list(range(seq, seq + count)),
            "keys": [{"applicant": f"A-{seq + at}"} for at in range(count)],
            "salt": [salts[at : at + 32] for at in range(0, len(salts), 32)],
            "leaf_index": list(range(first, first + count)),
            **{
                name: [t_us + STEP_US * at + after for at in range(1, count + 1)]
                for name, after in (
                    ("t_request_us", 0),
                    ("t_request_end_us", 0),
                    ("t_first_byte_us", 400),
                    ("t_end_us", 500),
                )
            },
        }
        row = [same[name] for name in ROW_COLUMNS]
        places = [(list(ROW_COLUMNS).index(name), changing[name]) for name in changing if name in ROW_COLUMNS]
        hashes = changing["leaf_hash"] = []
        for at, salt in enumerate(changing["salt"]):
            for place, column in places:
                row[place] = column[at]
            hashes.append(encoder.leaf(tuple(row), salt))
        self.frontier.extend(hashes)
        self.seq += count
        self.t_us += STEP_US * count
        return changing

    def _file(self, changing: dict[str, list[Any]], constants: dict[str, Array], count: int) -> None:
        columns = [
            array(name, changing[name]) if name in changing else constants[name].slice(0, count)
            for name in SCHEMA.names
        ]
        before = [array(name, [row[name] for row in self.rows]) for name in SCHEMA.names]
        batches = [RecordBatch.from_arrays(each, schema=SCHEMA) for each in (before, columns)]
        keyed = [*(row["keys"] or {} for row in self.rows), *changing["keys"]]
        seqs = [row["seq"] for row in self.rows if row["seq"] is not None] + changing["seq"]
        times = [row["t_request_us"] for row in self.rows] + changing["t_request_us"]
        self.checkpoint = Checkpoint(self.origin, self.frontier.size, self.frontier.root())
        facts = BatchFacts(
            origin=self.origin,
            log=self.log,
            model=self.model,
            digest=self.digest or "unknown",
            date=iso_date(times[0]),
            rows=len(self.rows) + count,
            first_leaf=self.before.size,
            first_seq=min(seqs),
            last_seq=max(seqs),
            t_min_us=min(times),
            t_max_us=max(times),
            checkpoint=self.checkpoint.signed(self.key).format(),
            public_key=str(self.key.verifier),
            enrolment=self.enrolled,
            keys=None,
            frontier=tuple(base64text.encode(each) for each in self.before.hashes),
            key_filter=key_filter(pair for keys in keyed for pair in keys.items()),
        )
        data = encode(facts, batches)
        name = object_name(facts, data)
        path = self.store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.names.append(name)
        self.last_sha256 = hashlib.sha256(data).hexdigest()
        self.rows, self.before = [], self.frontier.copy()


def build(store: Path, leaves: int) -> None:
    """One closed log of `leaves` leaves, certified by an enrolment key whose public half lies beside it."""
    enrolment_key = SigningKey("operator", b"o" * 32)
    LargeLog(store, SigningKey("log", b"k" * 32), enrolment_key=enrolment_key).fill(leaves)
    store.with_name(store.name + ".pub").write_text(str(enrolment_key.verifier))


def measure(store: Path, core: int) -> dict[str, Any]:
    """`sidecar verify` of the store on one core: what it found, seconds, and the peak memory of all its processes."""
    command = [str(Path(sys.executable).with_name("sidecar")), "verify", "--store", str(store)]
    command += ["--trust", str(store.with_name(store.name + ".pub")), "--jobs", "1", "--json"]
    before, began = os.times(), time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=out, env={**os.environ, "SIDECAR_STORE": ""}
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(_resident(each) for each in _family(process.pid)))
            time.sleep(PEAK_EVERY_S)
        seconds, after = time.perf_counter() - began, os.times()
        out.seek(0)
        found = json.load(out)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    (log,) = found["logs"]
    return {
        "intact": found["intact"],
        "leaves": log["records"],
        "files": log["files"],
        "mb": round(log["bytes"] / 1e6),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "us_a_leaf": round(seconds * 1e6 / log["records"], 1),
        "peak_rss_mb": round(peak / 1e6),
    }


def _family(pid: int) -> list[int]:
    """A process and what it started, as far as they still run."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verify", description=__doc__)
    parser.add_argument("--leaves", type=int, action="append", help="repeat for several stores (10,000,000)")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, help="folder for the store, which is deleted afterwards")
    given = parser.parse_args()
    for leaves in given.leaves or [10_000_000]:
        if leaves < 2 * ROWS:
            parser.error(f"--leaves {leaves}: give at least {2 * ROWS}")
        folder = Path(tempfile.mkdtemp(prefix="verify-", dir=given.work))
        try:
            began = time.monotonic()
            build(folder / "store", leaves)
            print(
                f"sealed {leaves:,} leaves in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
            )
            print(json.dumps(measure(folder / "store", given.core)), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
