"""The columns of a stored record, and which of them its leaf seals: the contract between writers and readers.

Every row of a batch file is one leaf of one log. Its canonical bytes are the
msgpack encoding of `[CANONICAL_VERSION, values of LOG_COLUMNS, values of
ROW_COLUMNS]`, where a blob is replaced by its salted commitment;
docs/evidence.md describes them byte by byte.
"""

from __future__ import annotations

from typing import Final

CANONICAL_VERSION: Final = 1
"""Goes up when a sealed column is added, removed or moved; leaves of every version stay verifiable."""

LOG_COLUMNS: Final[dict[str, str]] = {
    "log": "utf8",
    "route": "utf8",
    "boot": "utf8",
    "model": "utf8",
    "image_digest": "utf8",
    "artifact_digest": "utf8",
    "identity_source": "utf8",
    "epoch": "int64",
}
"""Hold one value for all rows of a file."""

ROW_COLUMNS: Final[dict[str, str]] = {
    "record_id": "utf8",
    "kind": "utf8",
    "seq": "int64",
    "count": "int64",
    "connection": "int64",
    "client": "utf8",
    "t_request_us": "int64",
    "t_request_end_us": "int64",
    "t_first_byte_us": "int64",
    "t_end_us": "int64",
    "method": "utf8",
    "path": "utf8",
    "status": "int32",
    "outcome": "utf8",
    "reason": "utf8",
    "request_bytes": "int64",
    "response_bytes": "int64",
    "request_head": "binary",
    "request_body": "binary",
    "request_trailers": "binary",
    "response_interim": "binary",
    "response_head": "binary",
    "response_body": "binary",
    "response_trailers": "binary",
    "request_body_length": "int64",
    "request_body_sha256": "binary",
    "response_body_length": "int64",
    "response_body_sha256": "binary",
    "request_complete": "bool",
    "response_complete": "bool",
    "decoder": "utf8",
    "decode_error": "utf8",
    "inputs": "utf8",
    "outputs": "utf8",
    "decision": "utf8",
    "keys": "map",
    "redacted": "utf8",
    "subject_key_id": "binary",
    "wrapped_key": "binary",
    "key_commitment": "binary",
    "decoded_ciphertext": "binary",
    "details": "utf8",
}
"""Sealed values of a row, in the order of the canonical bytes; `map` is map<utf8, utf8>."""

UNSEALED_COLUMNS: Final[dict[str, str]] = {
    "leaf_hash": "binary",
    "salt": "binary",
    "leaf_index": "int64",
}
"""Beside the leaf: its place and hash, which the tree binds, and the salt of its commitments."""

BLOB_COLUMNS: Final = ("request_body", "response_body", "inputs", "outputs", "decoded_ciphertext")
"""Sealed by commitment, so that erasing the bytes leaves the leaf whole."""

COLUMN_TYPES: Final[dict[str, str]] = {**ROW_COLUMNS, **LOG_COLUMNS, **UNSEALED_COLUMNS}
"""Every column of a batch file, in the file's order."""
