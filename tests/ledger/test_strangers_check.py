"""A store as the shipping stage writes it, checked with DuckDB and the second implementation alone."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb

from tests.ledger import independent
from tests.support.stored_sample import sample


def stored(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A file's metadata and rows, binary values as hex."""
    name = str(path).replace("'", "''")
    found = duckdb.sql(
        f"SELECT value FROM parquet_kv_metadata('{name}') WHERE decode(key) = 'sidecar'"
    ).fetchone()
    assert found is not None
    # Row groups are read in order, and rows stand in the order of their leaves.
    table = duckdb.sql(f"SELECT * FROM read_parquet('{name}', hive_partitioning = false)")
    rows = [
        {
            column: value.hex() if isinstance(value, bytes) else value
            for column, value in zip(table.columns, row, strict=True)
        }
        for row in table.fetchall()
    ]
    return json.loads(found[0]), rows


def test_every_log_of_a_store_can_be_checked_from_the_document_alone(tmp_path: Path) -> None:
    sample(tmp_path)
    logs: dict[str, list[tuple[dict[str, Any], list[dict[str, Any]], Path]]] = defaultdict(list)
    for path in (tmp_path / "records").rglob("*.parquet"):
        metadata, rows = stored(path)
        logs[metadata["origin"]].append((metadata, rows, path))
    assert len(logs) == 2

    checked = 0
    for origin, files in logs.items():
        leaves: list[bytes] = []
        before: tuple[str, str] | None = None
        for metadata, rows, path in sorted(files, key=lambda each: each[0]["first_leaf"]):
            assert [row["leaf_index"] for row in rows] == list(range(len(leaves), len(leaves) + len(rows)))
            for row in rows:
                salt = bytes.fromhex(row["salt"]) if row["salt"] else None
                found = independent.leaf(independent.canonical(row, row, salt))
                assert found.hex() == row["leaf_hash"], row["record_id"]
                leaves.append(found)
            named, size, top, _ = independent.verified(metadata["checkpoint"], metadata["public_key"]).split(
                "\n"
            )
            assert (named, int(size), top) == (origin, len(leaves), independent.b64(independent.root(leaves)))
            assert rows[0]["kind"] == ("batch" if before else "genesis")
            if before:
                details = json.loads(rows[0]["details"])
                assert (details["name"], details["sha256"]) == before
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.stem.endswith(f"-L{metadata['first_leaf']:012d}-{metadata['last_leaf']:012d}"
                                      f"-S{metadata['first_seq']:012d}-{metadata['last_seq']:012d}-{digest[:16]}")  # fmt: skip
            before = (str(path.relative_to(tmp_path)), digest)
            checked += len(rows)
    assert checked > 250
