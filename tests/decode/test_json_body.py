"""JSON as clients really send it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decode.json_body import parse_json
from sidecar.errors import DecodeError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=values)
def test_what_python_writes_is_read_back(value: object) -> None:
    assert parse_json(json.dumps(value).encode(), "request") == value


def test_nan_and_infinities_are_read_though_json_has_none() -> None:
    value = parse_json(b'\xef\xbb\xbf{"a": NaN, "b": [Infinity, -Infinity], "c": 1}', "request")
    assert math.isnan(value["a"])
    assert value["b"] == [math.inf, -math.inf]
    assert value["c"] == 1


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), -(10**18) - 1])
def test_64_bit_integers_stay_exact_beside_nan(number: int) -> None:
    assert parse_json(f"[{number}, NaN]".encode(), "request")[0] == number


@pytest.mark.parametrize("digits", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 300])
def test_integers_beyond_64_bits_become_floats_with_and_without_nan(digits: str) -> None:
    for body in (f"[{digits}]", f"[{digits}, NaN]"):
        number = parse_json(body.encode(), "request")[0]
        assert type(number) is float
        assert number == float(digits)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer body is empty"),
        (b" \n", "the answer body is empty"),
        (b"\xef\xbb\xbf", "the answer body is empty"),
        (b"<html>", "the answer body is not JSON"),
        (b'{"a": 1} {"b"', "the answer body is not JSON"),
        (b"\x93NUMPY", "neither JSON nor UTF-8"),
        (b"\xff\xfe{\x00", "neither JSON nor UTF-8"),
        (b"[NaN, x]", "the answer body is not JSON"),
    ],
)
def test_anything_else_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        parse_json(body, "answer")
