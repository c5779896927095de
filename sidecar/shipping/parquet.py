"""Rows → one Parquet file and the name it is stored under.

The file's own SHA-256 is part of its name, so a put that is repeated after a
crash is the same object. All metadata is one key: the writer keeps several
keys in an order that differs from process to process.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from arro3.core import Array, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_parquet

from sidecar.schema import BLOB_COLUMNS, COLUMN_TYPES
from sidecar.shipping.columns import SCHEMA

FORMAT = 2
METADATA_KEY = "sidecar"
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive-style readers take for null in a partition folder."""

_UNIQUE = (
    "record_id",
    "seq",
    "t_request_us",
    "t_request_end_us",
    "t_first_byte_us",
    "t_end_us",
    "request_body_sha256",
    "response_body_sha256",
    "wrapped_key",
    "key_commitment",
    "details",
    "leaf_hash",
    "salt",
    "leaf_index",
    *BLOB_COLUMNS,
)
"""Columns whose values rarely repeat: a dictionary for them costs time and space."""

_NO_STATISTICS = (
    *(name for name in COLUMN_TYPES if name.endswith(("_head", "_body", "_trailers", "_interim"))),
    *("inputs", "outputs", "decoded_ciphertext", "wrapped_key", "key_commitment", "leaf_hash", "salt"),
)


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """One file, ready to be put."""

    name: str
    """Path below the store's root."""
    data: bytes
    records: int
    """Rows in it."""
    before: tuple[tuple[str, bytes], ...] = ()
    """Objects that must be in the store before it is, by name."""


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What a file's name and metadata say of it. Leaves count from 0, sequence numbers from 1 (0: none)."""

    origin: str
    log: str
    model: str
    digest: str
    date: str
    rows: int
    first_leaf: int
    first_seq: int
    last_seq: int
    t_min_us: int
    t_max_us: int
    checkpoint: str
    public_key: str
    enrolment: str | None
    keys: str | None
    frontier: tuple[str, ...] = ()
    """Subtrees over all leaves before the file's, largest first, base64: the file proves itself with them."""
    key_entries: tuple[str, ...] | None = None
    """Digests of what its key object held at first: entries may go from there, but none may change."""
    key_filter: str | None = None
    """Bloom filter over the business keys of its rows."""

    @property
    def last_leaf(self) -> int:
        return self.first_leaf + self.rows - 1

    def metadata(self) -> dict[str, Any]:
        """The JSON under the file's one metadata key."""
        return {
            "format": FORMAT,
            "canonical": 1,
            "origin": self.origin,
            "log": self.log,
            "model": self.model,
            "digest": self.digest,
            "date": self.date,
            "rows": self.rows,
            "first_leaf": self.first_leaf,
            "last_leaf": self.last_leaf,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "t_min_us": self.t_min_us,
            "t_max_us": self.t_max_us,
            "checkpoint": self.checkpoint,
            "public_key": self.public_key,
            "enrolment": self.enrolment,
            "keys": self.keys,
            "key_entries": self.key_entries,
            "frontier": self.frontier,
            "key_filter": self.key_filter,
        }


def encode_table(columns: Sequence[Array], schema: Schema, metadata: Mapping[str, Any]) -> bytes:
    """A small table as a Parquet file with this metadata; deterministic, as `encode` is."""
    out = io.BytesIO()
    write_parquet(
        RecordBatch.from_arrays(columns, schema=schema),
        out,
        compression="zstd(3)",
        created_by="sidecar",
        key_value_metadata={METADATA_KEY: orjson.dumps(metadata).decode()},
        skip_arrow_metadata=True,
    )
    return out.getvalue()


def encode(facts: BatchFacts, batches: Sequence[RecordBatch]) -> bytes:
    """The rows as a zstd-compressed Parquet file; deterministic for equal rows and facts."""
    out = io.BytesIO()
    write_parquet(
        RecordBatchReader.from_batches(SCHEMA, batches),
        out,
        compression="zstd(1)",
        column_dictionary_enabled=dict.fromkeys(_UNIQUE, False),
        column_max_statistics_size=dict.fromkeys(_NO_STATISTICS, 0),
        created_by="sidecar",
        key_value_metadata={METADATA_KEY: orjson.dumps(facts.metadata()).decode()},
        max_row_group_size=65_536,
        # The Arrow schema would be a third of the footer again; every type here has its Parquet type.
        skip_arrow_metadata=True,
    )
    return out.getvalue()


def object_name(facts: BatchFacts, data: bytes) -> str:
    """Where the file belongs: partition folders, then origin, ranges of leaves and numbers, content hash."""
    digest = hashlib.sha256(data).hexdigest()[:16]
    model, named = path_safe(facts.model), path_safe(facts.digest.replace(":", "-"))
    return (
        f"records/model={model}/digest={named}/date={facts.date}/{facts.origin}"
        f"-L{facts.first_leaf:012d}-{facts.last_leaf:012d}-S{facts.first_seq:012d}-{facts.last_seq:012d}"
        f"-{digest}.parquet"
    )


def path_safe(value: str) -> str:
    """Value as a part of a folder name: percent-encoded, shortened with a hash past 160 bytes."""
    if not value:
        return NO_VALUE
    safe = re.sub("~", "%7E", quote(value, safe=""))
    if len(safe) > 160:
        safe = safe[:140].rsplit("%", 1)[0] + "-" + hashlib.sha256(value.encode()).hexdigest()[:16]
    return safe
