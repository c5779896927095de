from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.privacy.json_values import Unreadable, redact_json
from sidecar.privacy.replacement import Replacer
from sidecar.privacy.rules import parse_rule
from tests.privacy.exchanges import KEY

REPLACER = Replacer(KEY)
MASK_WHO = [parse_rule("body:$.who=mask")]
ABSENT = [parse_rule("body:$.nowhere.at.all=mask")]

names = st.sampled_from(["a", ":", "a:b", "\\u003a", "\\u0061", '\\"', "x\\\\", ""])
scalars = st.sampled_from(["1", '":"', '"\\u003a"', "null", '"{\\"a\\":1,\\"a\\":2}"', "1e3", "[]"])
numbers = st.one_of(
    st.integers(-(10**40), 10**40).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=25).map(lambda number: f"{number:f}"),
    st.sampled_from(["-0", "-0.0", "0e0", "1E400", "1e-400", "2E+3", "1.0", "1.50", "100000000000000000000"]),
)


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(names, inner), max_size=3)
    spaces = st.sampled_from(["", " "])
    return st.tuples(pairs, spaces).map(
        lambda made: "{" + ",".join(f'"{name}"{made[1]}:{made[1]}{value}' for name, value in made[0]) + "}"
    )


texts = st.recursive(
    scalars,
    lambda inner: objects(inner) | st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
)


def names_twice(text: str) -> bool:
    found = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len(dict(pairs)) != len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=members)
    return found


@settings(max_examples=400, deadline=None)
@given(texts)
def test_a_member_named_twice_is_always_noticed_and_nothing_else_is_refused(text: str) -> None:
    body = text.encode()
    if names_twice(text):
        with pytest.raises(Unreadable, match="twice"):
            redact_json(body, ABSENT, REPLACER, set())
    else:
        assert redact_json(body, ABSENT, REPLACER, set())[0] is body


@settings(max_examples=400, deadline=None)
@given(st.lists(numbers, max_size=6))
def test_numbers_keep_their_value_to_the_last_digit(written: list[str]) -> None:
    body = f'{{"who": "x", "n": [{", ".join(written)}]}}'.encode()
    new, _ = redact_json(body, MASK_WHO, REPLACER, set())
    after = json.loads(new, parse_int=Decimal, parse_float=Decimal)["n"]
    assert len(after) == len(written)
    for number, text in zip(after, written, strict=True):
        assert number == Decimal(text)
        assert number.is_signed() == Decimal(text).is_signed()
