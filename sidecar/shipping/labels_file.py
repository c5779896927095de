"""Labels → one Parquet file below `statistics/labels/`, named by the hash of its bytes.

The same labels give the same bytes in whatever order they came, so that a file
that is imported twice, or put again after a crash, is one object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from arro3.core import Array, DataType, Field, Schema

from sidecar.shipping.parquet import encode_table

FORMAT = 1
LABELS = "statistics/labels"
COLUMNS = ("record_id", "key_name", "key_value", "label", "t_us", "attributes")

_UTF8, _INT64 = DataType.utf8(), DataType.int64()
SCHEMA = Schema(
    [Field(name, _INT64 if name == "t_us" else _UTF8, nullable=name != "t_us") for name in COLUMNS]
)


@dataclass(frozen=True, slots=True, order=True)
class LabelRow:
    """One label as it is stored."""

    record_id: str
    """Empty when a key names the record."""
    key_name: str
    key_value: str
    label: str
    """JSON."""
    t_us: int
    attributes: str
    """A JSON object."""


def encode_labels(rows: Iterable[LabelRow]) -> tuple[str, bytes]:
    """The file's name and bytes."""
    ordered = sorted(set(rows))
    columns = [
        Array(
            [getattr(row, name) if name == "t_us" else getattr(row, name) or None for row in ordered],
            type=_INT64 if name == "t_us" else _UTF8,
        )
        for name in COLUMNS
    ]
    metadata = {"format": FORMAT, "kind": "labels", "rows": len(ordered)}
    data = encode_table(columns, SCHEMA, metadata)
    return f"{LABELS}/{hashlib.sha256(data).hexdigest()[:32]}.parquet", data
