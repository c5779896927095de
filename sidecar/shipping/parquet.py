"""Rows → one Parquet file and the name it is stored under.

Equal rows and metadata give equal bytes, in any process: the file's own
SHA-256 is part of its name, and a second put after a crash must be the same
object. That is why all metadata is one key: the writer keeps several keys in
an order that differs from process to process.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from urllib.parse import quote

import orjson
from arro3.core import RecordBatchReader
from arro3.io import write_parquet

from sidecar.shipping.rows import COLUMNS, SCHEMA, GroupKey, RowGroup

FORMAT = 1
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
    "request_body",
    "response_body",
    "inputs",
    "outputs",
    "details",
    "request_body_sha256",
    "response_body_sha256",
)
"""Columns whose values rarely repeat: a dictionary for them costs time and space."""

_NO_STATISTICS = tuple(name for name in COLUMNS if name.endswith(("_head", "_body", "_trailers", "_interim")))


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """One file, ready to be put."""

    name: str
    """Path below the store's root."""
    data: bytes
    records: int
    """Rows in it."""


def encode(group: RowGroup) -> bytes:
    """The group as a zstd-compressed Parquet file; deterministic for equal rows."""
    key = group.key
    metadata = {
        "format": FORMAT,
        "log": key.log,
        "model": group.epoch.model,
        "digest": group.epoch.digest,
        "date": key.iso_date,
        "rows": group.rows,
        "first": group.first,
        "last": group.last,
        "t_min_us": group.t_min_us,
        "t_max_us": group.t_max_us,
    }
    out = io.BytesIO()
    write_parquet(
        RecordBatchReader.from_batches(SCHEMA, list(group.slices())),
        out,
        compression="zstd(1)",
        column_dictionary_enabled=dict.fromkeys(_UNIQUE, False),
        column_max_statistics_size=dict.fromkeys(_NO_STATISTICS, 0),
        created_by="sidecar",
        key_value_metadata={METADATA_KEY: orjson.dumps(metadata).decode()},
        max_row_group_size=65_536,
    )
    return out.getvalue()


def batch(group: RowGroup) -> EncodedBatch:
    """Encode the group and give it its name."""
    data = encode(group)
    return EncodedBatch(object_name(group, data), data, group.rows)


def object_name(group: RowGroup, data: bytes) -> str:
    """Where the file belongs: partition folders, then log, sequence range and content hash."""
    key: GroupKey = group.key
    digest = hashlib.sha256(data).hexdigest()[:16]
    model, named = path_safe(group.epoch.model), path_safe(group.epoch.digest.replace(":", "-"))
    return (
        f"records/model={model}/digest={named}"
        f"/date={key.iso_date}/{key.log}-{group.first:012d}-{group.last:012d}-{digest}.parquet"
    )


def path_safe(value: str) -> str:
    """Value as a part of a folder name: percent-encoded, shortened with a hash past 160 bytes."""
    if not value:
        return NO_VALUE
    safe = re.sub("~", "%7E", quote(value, safe=""))
    if len(safe) > 160:
        safe = safe[:140].rsplit("%", 1)[0] + "-" + hashlib.sha256(value.encode()).hexdigest()[:16]
    return safe
