"""Glue: a schema file's rules, as statistics count them."""

from __future__ import annotations

from hashlib import blake2b, sha256
from pathlib import Path

import numpy as np

from sidecar.errors import UsageError
from sidecar.quality.checker import Batch, Checker, Verdict
from sidecar.quality.column import Mask
from sidecar.quality.rules import Schema
from sidecar.quality.schema_file import MAX_BYTES, SchemaError, parse_schema
from sidecar.quality.schema_text import write_schema
from sidecar.quality.window import Hashes
from sidecar.records import Sample
from sidecar.statistics.rows import Rows
from sidecar.statistics.rule_tally import Checks, RuleSet, RuleSpec


def read_schema(path: Path) -> Schema:
    """The schema in a file. Raises UsageError in one line."""
    try:
        with path.open("rb") as file:
            return parse_schema(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: give a schema file that can be read") from error
    except SchemaError as error:
        raise UsageError(str(error)) from error


def rule_set(schema: Schema) -> RuleSet:
    """What a plan knows of a schema."""
    digest = sha256(write_schema(schema).encode("utf-8", "surrogatepass")).hexdigest()
    return RuleSet(digest, tuple(RuleSpec(rule.name, rule.limit) for rule in Checker(schema).rules))


def checks_of(schema: Schema, concealed: str | None = None) -> Checks:
    """A fresh function that checks rows; texts that begin with `concealed` stand for values not shown."""
    checker = Checker(schema)

    def checks(rows: Rows) -> list[Verdict]:
        return checker.check(batch_of(rows, concealed))

    return checks


def batch_of(rows: Rows, concealed: str | None = None) -> Batch:
    """Rows as rules look at them."""

    def row_hashes() -> Hashes:
        return rows.derived("row_hashes", lambda: _row_hashes(rows))

    return Batch(rows.column, rows.count, row_hashes, _answered(rows), concealed)


def _answered(rows: Rows) -> Mask | None:
    """The rows of the samples that have outputs; None if all have."""
    have = np.fromiter(map(_has_outputs, rows.decoded), dtype=np.bool_, count=len(rows.decoded))
    return None if have.all() else have[rows.sample_of_row]


def _has_outputs(sample: Sample) -> bool:
    return sample.observation is not None and bool(sample.observation.outputs)


def _row_hashes(rows: Rows) -> Hashes:
    """8 bytes that tell each row from all others: of its record and its place in that."""
    records = np.array([_hash(sample.record_id) for sample in rows.decoded], dtype=np.uint64)
    sizes = np.array(rows.sizes, dtype=np.int64)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = (np.arange(rows.count, dtype=np.int64) - first).astype(np.uint64)
    return records[rows.sample_of_row] + places * np.uint64(0x9E3779B97F4A7C15)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
