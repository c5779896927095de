"""Decision rules: three-valued, the same for every split of the traffic, errors that point."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.countable import Countable, token_key
from sidecar.records import Sample
from sidecar.statistics.decision import UNKNOWN, parse_decision
from sidecar.statistics.field_path import parse_path
from sidecar.statistics.rows import Rows
from tests.statistics.row_samples import VALUES, streams, table

RULES = [
    "outputs.p == 1",
    "outputs.p[0] == 1",
    "outputs.p != 'a'",
    "outputs.q in ['a', 'b', 2]",
    "outputs.q < 0.5",
    "outputs.q >= 'b'",
    "inputs.x",
    "not (outputs.p <= 1 and inputs.x > 0 or outputs.q == true)",
]


def answers(text: str, **columns: list[Any]) -> list[int]:
    return list(parse_decision(text).answers(table({}, columns)))


def test_a_label_is_compared_as_the_server_wrote_it() -> None:
    assert answers("outputs.predict[0] == 1", predict=[1, 0, 1.0, [1], [0, 1], True]) == [1, 0, 1, 1, 0, 1]


def test_what_cannot_be_compared_is_unknown_and_never_a_no() -> None:
    assert answers("outputs.p == 1", p=["1", None, [], [2, 1], float("nan"), 10**400]) == [UNKNOWN] * 6
    assert answers("outputs.p != 'a'", p=["a", "b", 3, None]) == [0, 1, UNKNOWN, UNKNOWN]
    assert answers("outputs.p > 0.5", p=["x", None, 0.5, 0.6]) == [UNKNOWN, UNKNOWN, 0, 1]


def test_the_longest_field_name_wins_over_an_index() -> None:
    rows = table({}, {"p[1]": [7, None], "p": [[0, 1], [0, 2]]})
    assert parse_path("outputs.p[1]").values(rows) == [7, 2]
    assert parse_path("$.p[-1]").values(rows) == [1, 2]
    assert parse_path("$['p'][0]").values(rows) == [0, 0]


def test_a_nested_object_is_a_dotted_name() -> None:
    rows = table({"applicant.age": [31]})
    assert parse_path("inputs.applicant.age").values(rows) == [31]
    assert parse_path("$.inputs['applicant'].age").values(rows) == [31]


TRUTH = {None: UNKNOWN, 0: 0, 1: 1}


@given(left=st.sampled_from([None, 0, 1]), right=st.sampled_from([None, 0, 1]))
def test_and_or_not_are_those_of_kleene(left: int | None, right: int | None) -> None:
    def known(value: int | None) -> float:
        return 0.5 if value is None else value

    def found(text: str) -> float:
        value = answers(text, a=[left], b=[right])[0]
        return 0.5 if value == UNKNOWN else value

    assert found("outputs.a and outputs.b") == min(known(left), known(right))
    assert found("outputs.a or outputs.b") == max(known(left), known(right))
    assert found("not outputs.a") == 1 - known(left)


def test_or_binds_weaker_than_and_and_not_strongest() -> None:
    columns: dict[str, list[Any]] = {"a": [1], "b": [0], "c": [0]}
    assert answers("outputs.a or outputs.b and outputs.c", **columns) == [1]
    assert answers("(outputs.a or outputs.b) and outputs.c", **columns) == [0]
    assert answers("not outputs.b and outputs.a", **columns) == [1]


def test_decision_is_the_models_own_rule() -> None:
    decision = parse_decision("outputs.p == 1")
    rejected = parse_decision("not decision", decision)
    assert rejected.answers(table({}, {"p": [1, 0, None]})).tolist() == [0, 1, UNKNOWN]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 1),
        ("outputs.p ==", 13),
        ("outputs.p = 1", 11),
        ("outputs.p == nil", 14),
        ("outputs.p in 3", 14),
        ("outputs.p in [1 2]", 17),
        ("(outputs.p == 1", 16),
        ("outputs.p == 1 outputs.q", 16),
        ("1 == outputs.p", 1),
        ("output.p == 1", 1),
        ("outputs", 1),
        ("$.p[*] == 1", 4),
        ("$..p == 1", 2),
        ("outputs.p < true", 17),
    ],
)
def test_a_mistake_is_one_line_with_the_place_and_an_example(text: str, place: int) -> None:
    with pytest.raises(ValueError, match=rf"at character {place}\b") as raised:
        parse_decision(text)
    message = str(raised.value)
    assert "\n" not in message
    assert "outputs" in message


def test_decision_without_a_rule_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="set decision"):
        parse_decision("not decision")


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*"()[],", " ", "not", "$.a", "==", "1", "'", "or"])).map("".join)
)
def test_no_text_gives_anything_but_a_rule_or_one_line(text: str) -> None:
    try:
        parse_decision(text).answers(table({}, {"a": [1]}))
    except ValueError as error:
        assert "\n" not in str(error)


@given(stream=streams, at=st.integers(0, 12), rule=st.sampled_from(RULES))
def test_rows_are_answered_one_by_one(stream: list[Sample], at: int, rule: str) -> None:
    parsed = parse_decision(rule)
    whole = parsed.answers(Rows(stream))
    parts = [parsed.answers(Rows(part)) for part in (stream[:at], stream[at:])]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert set(whole.tolist()) <= {0, 1, UNKNOWN}


@given(value=VALUES)
def test_a_value_is_never_both_less_and_not_less(value: Any) -> None:
    less, not_less = answers("outputs.p < 1", p=[value]), answers("outputs.p >= 1", p=[value])
    assert sorted(less + not_less) in ([0, 1], [UNKNOWN, UNKNOWN])


def test_a_rule_over_labels_still_works_on_their_tokens() -> None:
    countable = Countable(token_key(b"k" * 32))
    rule = parse_decision("outputs.p in ['approve', 'refer']").tokenised(countable.token)
    tokens = [countable.token(text) for text in ("approve", "deny", "refer")]
    assert rule.answers(table({}, {"p": tokens})).tolist() == [1, 0, 1]


def test_tokens_that_say_nothing_leave_the_decision_unknown() -> None:
    countable = Countable(None)
    rule = parse_decision("outputs.p == 'approve'").tokenised(countable.token)
    assert rule.answers(table({}, {"p": [countable.token("approve")]})).tolist() == [UNKNOWN]
