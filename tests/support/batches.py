"""Batch files for tests of sinks: real Parquet with the stored columns that sinks look at."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

from arro3.core import Array, DataType, RecordBatch, Schema
from arro3.io import write_parquet

from sidecar.schema import COLUMN_TYPES
from sidecar.shipping.cloudevents import COLUMNS

LOG = "b00t.default"
ORIGIN = "cluster.fraud.scorer.0a1b.default.b00t"
_TYPES = {
    "utf8": DataType.utf8(),
    "int64": DataType.int64(),
    "int32": DataType.int32(),
    "binary": DataType.binary(),
}


def row(number: int, **changed: Any) -> dict[str, Any]:
    """One exchange, with `changed` values instead of its own."""
    request = b'{"inputs": [[%d, 1.50]]}' % number
    response = b'{"outputs": [%d]}' % (number % 2)
    values: dict[str, Any] = {
        "record_id": f"{LOG}.{number}",
        "kind": "exchange",
        "log": LOG,
        "route": "default",
        "model": "fraud",
        "image_digest": "sha256:" + "0f" * 32,
        "artifact_digest": None,
        "t_request_us": 1_795_600_000_000_000 + number,
        "t_first_byte_us": 1_795_600_000_001_000 + number,
        "t_end_us": 1_795_600_000_002_000 + number,
        "method": "POST",
        "path": "/v2/models/fraud/infer",
        "status": 200,
        "outcome": "complete",
        "request_head": b"POST /v2/models/fraud/infer HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n\r\n",
        "request_body": request,
        "response_head": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        "response_body": response,
        "wrapped_key": None,
        **changed,
    }
    for side in ("request", "response"):
        body = values[f"{side}_body"]
        values.setdefault(f"{side}_body_length", None if body is None else len(body))
    return values


def batch_file(
    rows: list[dict[str, Any]], folder: str = "records/model=fraud/digest=0f/date=2026-11-25"
) -> tuple[str, bytes]:
    """Name and bytes of a batch with these rows; the name holds the hash, as every batch's does."""
    types = {name: _TYPES[COLUMN_TYPES[name]] for name in COLUMNS}
    arrays = [Array([each[name] for each in rows], type=types[name]) for name in COLUMNS]
    schema = Schema.from_arrow(RecordBatch.from_arrays(arrays, names=list(COLUMNS)).schema)
    out = io.BytesIO()
    write_parquet(
        RecordBatch.from_arrays(arrays, schema=schema),
        out,
        compression="zstd(1)",
        key_value_metadata={"sidecar": json.dumps({"format": 2, "origin": ORIGIN})},
    )
    data = out.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:16]
    return (
        f"{folder}/{ORIGIN}-L{0:012d}-{len(rows) - 1:012d}-S{1:012d}-{len(rows):012d}-{digest}.parquet",
        data,
    )
