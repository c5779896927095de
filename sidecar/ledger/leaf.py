"""The canonical bytes of a stored row, and the hash that becomes a leaf of its log.

Canonical bytes are the msgpack encoding of `[CANONICAL_VERSION, values of
LOG_COLUMNS, values of ROW_COLUMNS]` with a salted commitment in place of each
blob; docs/evidence.md describes them byte by byte, with test vectors. The leaf
hash is that of RFC 6962, section 2.1: SHA-256(0x00 || canonical bytes).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from sidecar.errors import LedgerError
from sidecar.schema import BLOB_COLUMNS, CANONICAL_VERSION, LOG_COLUMNS, ROW_COLUMNS

SALT_BYTES: Final = 32

Pairs = Mapping[str, str | None] | Sequence[Sequence[str | None]]
"""A map column as readers hand it over: a dict, or a list of (name, value)."""
Value = None | bool | int | str | bytes | Pairs
Row = tuple[Value, ...]

_LEAF = b"\x00"
_ROW_NAMES = tuple(ROW_COLUMNS)
_BLOBS = tuple((_ROW_NAMES.index(name), name.encode() + b"\x00") for name in BLOB_COLUMNS)
_MAPS = tuple(index for index, kind in enumerate(ROW_COLUMNS.values()) if kind == "map")
_TYPES: Final[dict[str, type]] = {"utf8": str, "binary": bytes, "int64": int, "int32": int, "bool": bool}

# HMAC (RFC 2104) by hand: its two pads are made once a row instead of once a blob, which halves its cost.
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_BLOCK_BYTES = 64
_LARGE_BYTES = 64 * 1024
"""From here on a blob is hashed in place rather than copied behind its pad."""


def commitment(salt: bytes, column: str, stored: bytes | str) -> bytes:
    """HMAC-SHA256 under the row's salt over the column's name, a zero byte and the stored bytes."""
    data = stored.encode() if isinstance(stored, str) else stored
    return hmac.digest(salt, column.encode() + b"\x00" + data, "sha256")


def leaf_hash(canonical_bytes: bytes) -> bytes:
    """SHA-256(0x00 || canonical bytes), 32 bytes."""
    return sha256(_LEAF + canonical_bytes).digest()


def canonical(log_values: Row, row_values: Row, salt: bytes | None) -> bytes:
    """The canonical bytes of one row, after checking every value against its column's type.

    `log_values` stand in the order of LOG_COLUMNS, `row_values` in that of
    ROW_COLUMNS. Raises LedgerError naming the column that has no canonical form.
    """
    _check_types(tuple(LOG_COLUMNS.items()), log_values)
    _check_types(tuple(ROW_COLUMNS.items()), row_values)
    return LeafEncoder(log_values).canonical(row_values, salt)


class LeafEncoder:
    """Encodes the rows of one file: they share the values of LOG_COLUMNS, which are encoded once.

    The values must already have their columns' types, as they have in a file
    whose schema was checked. Not for use by several threads at once.
    """

    __slots__ = ("_leaf_head", "_pack")

    def __init__(self, log_values: Row) -> None:
        if len(log_values) != len(LOG_COLUMNS):
            raise LedgerError(f"row: {len(log_values)} log values, {len(LOG_COLUMNS)} columns")
        self._pack = msgpack.Packer(autoreset=True, use_bin_type=True).pack
        # 0x93: an array of three.
        try:
            self._leaf_head: bytes = b"\x00\x93" + self._pack(CANONICAL_VERSION) + self._pack(log_values)
        except (TypeError, ValueError, OverflowError) as error:
            raise LedgerError(f"log {log_values[0]!r}: {error}: it has no canonical form") from error

    def leaf(self, row_values: Row, salt: bytes | None) -> bytes:
        """The leaf hash of one row. Raises LedgerError for a row that has no canonical form."""
        return sha256(self._leaf_head + self._row(row_values, salt)).digest()

    def canonical(self, row_values: Row, salt: bytes | None) -> bytes:
        """The canonical bytes of one row."""
        return self._leaf_head[1:] + self._row(row_values, salt)

    def _row(self, row_values: Row, salt: bytes | None) -> bytes:
        values: list[Any] = list(row_values)
        if len(values) != len(_ROW_NAMES):
            raise LedgerError(f"row: {len(values)} values, {len(_ROW_NAMES)} columns")
        try:
            inner = outer = b""
            for index, name in _BLOBS:
                stored = values[index]
                if stored is None:
                    continue
                if not inner:
                    inner, outer = _pads(salt)
                data = stored.encode() if isinstance(stored, str) else stored
                if len(data) < _LARGE_BYTES:
                    digest = sha256(inner + name + data).digest()
                else:
                    digest = _digest_in_place(inner + name, data)
                values[index] = sha256(outer + digest).digest()
            for index in _MAPS:
                if values[index] is not None:
                    values[index] = _pairs(values[index])
            packed: bytes = self._pack(values)
        except (TypeError, ValueError, OverflowError) as error:
            raise LedgerError(f"row {row_values[0]!r}: {error}: it has no canonical form") from error
        return packed


def _pads(salt: bytes | None) -> tuple[bytes, bytes]:
    """The HMAC's inner and outer block for this key.

    Another length is refused because HMAC pads short keys with zeros: a salt
    and the same salt with a zero behind it would give the same commitments.
    """
    if salt is None or len(salt) != SALT_BYTES:
        length = "none" if salt is None else f"{len(salt)} bytes"
        raise ValueError(f"its salt should be {SALT_BYTES} bytes and is {length}")
    block = salt.ljust(_BLOCK_BYTES, b"\x00")
    return block.translate(_INNER), block.translate(_OUTER)


def _digest_in_place(head: bytes, data: bytes) -> bytes:
    hasher = sha256(head)
    hasher.update(data)
    return hasher.digest()


def _pairs(value: Pairs) -> list[tuple[str, str | None]]:
    """Sorted by name: the order of code points is that of the UTF-8 bytes."""
    if isinstance(value, dict):
        named = value
    else:
        items = value.items() if isinstance(value, Mapping) else value
        named = {}
        for name, text in items:
            if name in named:
                raise ValueError(f"key {name!r} is there twice")
            named[name] = text
    for name in named:
        if not isinstance(name, str):
            raise TypeError(f"key {name!r} is no text")
    # Names are unique, so that values are never compared.
    return sorted(named.items())


def _check_types(columns: Sequence[tuple[str, str]], values: Row) -> None:
    if len(columns) != len(values):
        raise LedgerError(f"row: {len(values)} values, {len(columns)} columns")
    for (name, kind), value in zip(columns, values, strict=True):
        if value is None or kind == "map":
            continue
        if type(value) is not _TYPES[kind]:
            raise LedgerError(f"row: column {name} is {type(value).__name__}, not {kind}")
