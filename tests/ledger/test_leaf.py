from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.ledger.leaf import LeafEncoder, Row, canonical, commitment, leaf_hash
from sidecar.schema import BLOB_COLUMNS, ROW_COLUMNS
from tests.ledger.rows import LOG, SALT, any_log, any_row, row

NAMES = list(ROW_COLUMNS)


def plainly(log: Row, values: Row, salt: bytes) -> bytes:
    """The same from the libraries' own HMAC and one-shot msgpack."""
    out: list[Any] = list(values)
    for name in BLOB_COLUMNS:
        stored = out[NAMES.index(name)]
        if stored is not None:
            data = stored.encode() if isinstance(stored, str) else stored
            out[NAMES.index(name)] = hmac.new(salt, name.encode() + b"\0" + data, "sha256").digest()
    keys = out[NAMES.index("keys")]
    if keys is not None:
        out[NAMES.index("keys")] = [
            [name, keys[name]] for name in sorted(keys, key=lambda each: each.encode())
        ]
    packed: bytes = msgpack.packb([1, list(log), out], use_bin_type=True)
    return packed


@given(any_log, any_row, st.binary(min_size=32, max_size=32))
def test_canonical_bytes_are_the_msgpack_of_version_log_and_row(log: Row, values: Row, salt: bytes) -> None:
    assert canonical(log, values, salt) == plainly(log, values, salt)
    hashed = hashlib.sha256(b"\x00" + plainly(log, values, salt)).digest()
    assert LeafEncoder(log).leaf(values, salt) == leaf_hash(canonical(log, values, salt)) == hashed


@given(st.lists(any_row, max_size=5))
def test_an_encoder_keeps_nothing_of_one_row_for_the_next(rows: list[Row]) -> None:
    encoder = LeafEncoder(LOG)
    assert [encoder.leaf(each, SALT) for each in rows] == [LeafEncoder(LOG).leaf(each, SALT) for each in rows]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1 << 20])
@pytest.mark.parametrize("column", BLOB_COLUMNS)
def test_blobs_of_every_size_are_replaced_by_their_commitment(column: str, size: int) -> None:
    stored = "é" * (size // 2) if ROW_COLUMNS[column] == "utf8" else b"\xff" * size
    sealed = msgpack.unpackb(canonical(LOG, row(**{column: stored}), SALT), raw=False)
    assert sealed[2][NAMES.index(column)] == commitment(SALT, column, stored)


@pytest.mark.parametrize("name", ["request_head", "response_head", "details", "path", "client"])
def test_an_encoder_forgets_a_row_it_could_not_encode(name: str) -> None:
    encoder = LeafEncoder(LOG)
    with pytest.raises(LedgerError, match="no canonical form"):
        encoder.leaf(row(**{name: object()}), SALT)
    good = row(record_id="r", status=200)
    assert encoder.leaf(good, None) == LeafEncoder(LOG).leaf(good, None)


@pytest.mark.parametrize("column", [name for name in NAMES if name not in BLOB_COLUMNS])
def test_every_sealed_column_is_in_the_leaf(column: str) -> None:
    values: dict[str, list[Any]] = {
        "utf8": ["", "a"], "binary": [b"", b"a"], "bool": [False, True], "map": [{}, {"a": None}],
    }  # fmt: skip
    hashes = {
        LeafEncoder(LOG).leaf(row(**{column: value}), None)
        for value in [None, *values.get(ROW_COLUMNS[column], [0, 1])]
    }
    assert len(hashes) == 3


@pytest.mark.parametrize("column", BLOB_COLUMNS)
def test_null_and_empty_blobs_and_other_columns_of_the_same_bytes_differ(column: str) -> None:
    empty = "" if ROW_COLUMNS[column] == "utf8" else b""
    assert canonical(LOG, row(**{column: empty}), SALT) != canonical(LOG, row(), None)
    others = {commitment(SALT, name, b"x") for name in BLOB_COLUMNS}
    assert len(others) == len(BLOB_COLUMNS)


def test_keys_are_sorted_whether_they_come_as_a_dict_or_as_pairs() -> None:
    pairs = [("é", "3"), ("b", "2"), ("a", None)]
    assert (
        canonical(LOG, row(keys=dict(pairs)), None)
        == canonical(LOG, row(keys=pairs), None)
        == canonical(LOG, row(keys=[list(pair) for pair in sorted(pairs)]), None)
    )


@pytest.mark.parametrize("keys", [[("a", "1"), ("a", "1")], [(None, "1")], [("a",)], [("a", 1.0, 2)], 7])
def test_keys_without_one_meaning_are_refused(keys: Any) -> None:
    with pytest.raises(LedgerError, match="no canonical form"):
        LeafEncoder(LOG).leaf(row(keys=keys), None)


@pytest.mark.parametrize("salt", [None, b"", SALT[:31], SALT + b"\0", SALT * 2 + b"\0"])
def test_a_blob_needs_a_salt_of_32_bytes(salt: bytes | None) -> None:
    with pytest.raises(LedgerError, match="row 'r': its salt should be 32 bytes"):
        LeafEncoder(LOG).leaf(row(record_id="r", request_body=b"x"), salt)


@pytest.mark.parametrize(
    ("column", "value"), [("seq", True), ("status", "200"), ("path", b"/"), ("seq", 1.0)]
)
def test_values_of_another_type_than_their_column_are_named(column: str, value: Any) -> None:
    with pytest.raises(LedgerError, match=f"column {column} is {type(value).__name__}"):
        canonical(LOG, row(**{column: value}), None)


def test_rows_and_logs_of_another_width_and_text_outside_utf_8_are_refused() -> None:
    with pytest.raises(LedgerError, match="41 values, 42 columns"):
        LeafEncoder(LOG).leaf(row()[:-1], None)
    with pytest.raises(LedgerError, match="7 log values, 8 columns"):
        LeafEncoder(LOG[:-1])
    with pytest.raises(LedgerError, match="no canonical form"):
        LeafEncoder(LOG).leaf(row(path="\ud800"), None)
    with pytest.raises(LedgerError, match=r"log 'b1\.default': .* no canonical form"):
        LeafEncoder((*LOG[:3], "\ud800", *LOG[4:]))
    with pytest.raises(LedgerError, match="no canonical form"):
        LeafEncoder(LOG).leaf(row(seq=1 << 64), None)
