"""The filter never misses a key that is there, and seldom sends anyone to a file in vain."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.key_filter import LARGEST_BITS, key_filter, may_hold

PAIRS = st.tuples(st.text(max_size=20), st.text(max_size=20))


@given(st.sets(PAIRS, min_size=1, max_size=200))
def test_every_pair_that_was_put_in_is_found(pairs: set[tuple[str, str]]) -> None:
    text = key_filter(pairs)
    assert all(may_hold(text, name, value) for name, value in pairs)


def test_others_are_ruled_out_but_for_one_in_a_thousand() -> None:
    text = key_filter(("applicant", f"A-{number}") for number in range(1_000))
    wrong = sum(may_hold(text, "applicant", f"B-{number}") for number in range(20_000))
    assert wrong < 40
    assert sum(may_hold(text, "case", f"A-{number}") for number in range(1_000)) < 10


def test_no_keys_make_no_filter() -> None:
    assert key_filter([]) is None


def test_the_filter_is_bounded_however_many_keys_there_are() -> None:
    text = key_filter(("n", str(number)) for number in range(100_000))
    assert text is not None
    assert len(text) <= 2 + LARGEST_BITS // 6 + 4


def test_the_bits_are_where_the_document_says() -> None:
    """A second implementation, from the words of the docstring alone."""
    text = key_filter([("applicant", "A-17")])
    assert text is not None
    hashes, coded = text.split(":")
    bits = base64.b64decode(coded)
    digest = hashlib.sha256(b"applicant\x00A-17").digest()
    first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little") | 1
    places = {(first + index * second) % 2**64 % (len(bits) * 8) for index in range(int(hashes))}
    assert {8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1} == places


@pytest.mark.parametrize("text", [None, "", "8:", "8:!!", "x:AAAA", "0:AAAA", "8:AAAA", "99:AAAAAAAAAAA=", 7])
def test_a_filter_that_cannot_be_read_rules_nothing_out(text: object) -> None:
    assert may_hold(text, "applicant", "A-17")
