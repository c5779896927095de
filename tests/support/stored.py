"""What a store really holds, read from its files and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arro3.io import read_parquet


def record_files(store: Path) -> list[Path]:
    """Every file of records in a store or a copy of its records, by path: panes of statistics are none."""
    found = store.rglob("*.parquet")
    return sorted(path for path in found if "statistics" not in path.relative_to(store).parts)


def stored_rows(store: Path) -> list[dict[str, Any]]:
    """Every row of every file, by path."""
    rows: list[dict[str, Any]] = []
    for path in record_files(store):
        for batch in read_parquet(path):
            names = batch.schema.names
            columns = [batch.column(name).to_pylist() for name in names]
            rows += [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return rows


def sequence_numbers(store: Path, route: str = "default") -> list[int]:
    """Sequence numbers of all stored exchanges of a route, sorted, repeated if stored twice."""
    return sorted(
        row["seq"] for row in stored_rows(store) if row["kind"] == "exchange" and row["route"] == route
    )
