"""Logs checked from a store's files alone: leaves, ranges, roots, signatures and the chain of files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
from arro3.io import read_parquet

from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.leaf import canonical, leaf_hash
from sidecar.ledger.note import VerifierKey
from sidecar.ledger.tree import Frontier
from sidecar.schema import LOG_COLUMNS, ROW_COLUMNS
from tests.support.stored import record_files


class Chain:
    """One log as its files tell it, checked while it is read."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.kinds: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.files: list[Path] = []


def logs_of(store: Path) -> dict[str, Chain]:
    """Every log by origin, after checking leaves, ranges, roots, signatures and the chain of files."""
    found: dict[str, list[tuple[int, Path, dict[str, Any]]]] = defaultdict(list)
    for path in record_files(store):
        metadata = orjson.loads(read_parquet(path).schema.metadata[b"sidecar"])
        found[metadata["origin"]].append((metadata["first_leaf"], path, metadata))
    chains = {}
    for name, files in found.items():
        chain = chains[name] = Chain()
        for first, path, metadata in sorted(files, key=lambda each: each[0]):
            _check_file(chain, first, path, metadata)
    return chains


def _check_file(chain: Chain, first: int, path: Path, metadata: dict[str, Any]) -> None:
    data = path.read_bytes()
    assert path.stem.endswith(hashlib.sha256(data).hexdigest()[:16])
    assert f"-L{first:012d}-{metadata['last_leaf']:012d}-" in path.name
    assert first == chain.frontier.size
    rows = []
    for batch in read_parquet(path):
        columns = [batch.column(name).to_pylist() for name in batch.schema.names]
        rows += [dict(zip(batch.schema.names, each, strict=True)) for each in zip(*columns, strict=True)]
    if chain.files:
        assert rows[0]["kind"] == "batch"
        previous = chain.files[-1].read_bytes()
        assert orjson.loads(rows[0]["details"])["sha256"] == hashlib.sha256(previous).hexdigest()
    for row in rows:
        log = tuple(row[name] for name in LOG_COLUMNS)
        own = tuple(row[name] for name in ROW_COLUMNS)
        assert row["leaf_hash"] == leaf_hash(canonical(log, own, row["salt"]))
        assert row["leaf_index"] == chain.frontier.size
        chain.frontier.append(row["leaf_hash"])
    key = VerifierKey.parse(metadata["public_key"])
    checkpoint = Checkpoint.open(metadata["checkpoint"], [key], metadata["origin"])
    assert (checkpoint.size, checkpoint.root) == (chain.frontier.size, chain.frontier.root())
    chain.kinds += [row["kind"] for row in rows]
    chain.rows += rows
    chain.files.append(path)
