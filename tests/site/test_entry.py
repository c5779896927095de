from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import LedgerError
from sidecar.site.entry import Entry, body_text, leaf_hash, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAME = st.text(st.characters(codec="ascii"))
INTEGER = st.integers(-(2**53 - 1), 2**53 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4),
    max_leaves=12,
)


def entry(body: dict[str, Any], index: int = 3) -> Entry:
    return Entry(
        index, "ab" * 32, 1_795_000_000_000_000, "hold", body, b64encode(b"r" * 32).decode(), "key", "note\n"
    )


@given(st.dictionaries(NAME, JSON, max_size=4))
def test_an_entry_comes_back_as_it_was(body: dict[str, Any]) -> None:
    assert parse(entry(body).encode()) == entry(body)


@given(st.dictionaries(NAME, JSON, max_size=4))
def test_a_body_has_one_text_whatever_order_its_fields_were_given_in(body: dict[str, Any]) -> None:
    assert body_text(body) == body_text(dict(reversed(body.items())))
    assert json.loads(body_text(body)) == body


def test_the_leaf_is_that_of_the_description() -> None:
    # SHA-256(0x00 || msgpack of [1, 0, 1, "hold", '{"reason":"x"}']), made by hand from the msgpack format.
    packed = b"\x95\x01\x00\x01" + b"\xa4hold" + b"\xae" + b'{"reason":"x"}'
    import hashlib

    assert leaf_hash(0, 1, "hold", body_text({"reason": "x"})) == hashlib.sha256(b"\x00" + packed).digest()


@pytest.mark.parametrize(
    "body",
    [
        {"a": 1.5},
        {"a": float("nan")},
        {"a": 2**53},
        {"a": b"x"},
        {"a": {1: 2}},
        {"ü": 1},
        {"a": "\ud800"},
        {"a": object()},
    ],
)
def test_what_has_no_one_text_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(LedgerError, match="site log"):
        body_text(body)


def test_a_body_without_bottom_is_refused() -> None:
    body: dict[str, Any] = {}
    body["a"] = body
    with pytest.raises(LedgerError, match="nested"):
        body_text(body)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"format":1', '"format": 1'),
        lambda text: text.replace('"format":1', '"format":1.0'),
        lambda text: text.replace('"index":3', '"index":3,"index":3'),
        lambda text: text.replace('"index":3', '"index":3e0'),
        lambda text: text.replace('"index":3', '"index":true'),
        lambda text: text.replace('{"b":1,"c":2}', '{"c":2,"b":1}'),
        lambda text: text.replace('{"b":1,"c":2}', '{"b":1,"c":2,"c":2}'),
        lambda text: text.replace('{"b":1,"c":2}', '{"b":1,"c":2.0}'),
        lambda text: text.replace('{"b":1,"c":2}', '["b"]'),
        lambda text: text.replace('"kind":"hold"', '"kind":"hold","more":1'),
        lambda text: text.replace('"kind":"hold"', '"kind":"other"'),
        lambda text: text.replace('"kind":"hold"', '"kind":"\\u0068old"'),
        lambda text: text.replace('"note":"note', '"note":"\\ud800'),
        lambda text: text + "\n",
        lambda text: text[:-1],
        lambda text: "﻿" + text,
        lambda text: "",
        lambda text: "[" * 100_000,
    ],
)
def test_an_entry_has_one_form_only(change: Any) -> None:
    text = entry({"b": 1, "c": 2}).encode().decode()
    assert change(text) != text
    with pytest.raises(LedgerError):
        parse(change(text).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_entry_are_an_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(LedgerError):
        parse(data)
