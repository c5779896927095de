"""Rules on columns: the same verdicts as a loop over single values, whatever is in them."""

from __future__ import annotations

import math
import operator
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.quality.checker import NEARLY, Checker
from sidecar.quality.formats import EXAMPLES, FORMATS
from sidecar.quality.relation import Comparison, Implication, Relation, parse_relation
from sidecar.quality.rules import DEFAULT_LIMIT, FieldRules, RelationRule, Schema, names_of
from tests.quality.tables import Table, batch, broken, checked, one, schemas, tables

NUMBER = (int, float)
COMPARE = {"<=": operator.le, "<": operator.lt, "==": operator.eq, ">=": operator.ge, ">": operator.gt}


def as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def same(one: Any, other: Any) -> bool:
    return (type(one) is bool) == (type(other) is bool) and one == other


def judged(rules: FieldRules, name: str, value: Any) -> bool | None:
    """One rule on one value: whether it holds; None when it says nothing of it."""
    if name == "nulls":
        return value is not None
    if value is None:
        return None
    if name == "type":
        finite = type(value) in NUMBER and math.isfinite(as_float(value))
        return {
            "integer": type(value) is int or (finite and value == int(value)),
            "number": finite,
            "text": type(value) is str,
            "boolean": type(value) is bool,
            "array": type(value) is list,
        }[rules.type or ""]
    if name == "range":
        low, high = rules.range or (None, None)
        if type(value) not in NUMBER:
            return None
        number = as_float(value)
        return (low is None or number >= low) and (high is None or number <= high) and number == number
    if name == "length":
        low, high = rules.length or (None, None)
        if type(value) not in (str, list):
            return None
        return (low is None or len(value) >= low) and (high is None or len(value) <= high)
    if name == "allowed":
        return any(same(value, each) for each in rules.allowed or ())
    if type(value) is not str:
        return None
    if name == "format":
        return FORMATS[rules.format or ""].fullmatch(value) is not None
    return len(value) <= 2000 and re.fullmatch(rules.pattern or "", value) is not None


def identity(value: Any) -> Any:
    if type(value) in NUMBER:
        return ("n", "nan" if value != value else value)
    return (type(value).__name__, repr(value))


def looped(schema: Schema, table: Table) -> dict[str, tuple[int, list[int]]]:
    """Rows checked and rows broken, rule by rule, row by row."""
    found: dict[str, tuple[int, list[int]]] = {}
    size = len(next(iter(table.values())))
    for path, rules in schema.fields.items():
        values = table.get(path, [None] * size)
        for name in names_of(rules):
            if name == "unique":
                known = [(row, identity(value)) for row, value in enumerate(values) if value is not None]
                window = rules.unique or 1
                before = [[each for _, each in known[max(0, at - window) : at]] for at in range(len(known))]
                again = [row for (row, each), past in zip(known, before, strict=True) if each in past]
                found[f"{path}/unique"] = len(known), again
                continue
            answers = [judged(rules, name, value) for value in values]
            rows = [row for row, answer in enumerate(answers) if answer is False]
            found[f"{path}/{name}"] = sum(answer is not None for answer in answers), rows
    for each in schema.relations:
        results = [related(each.relation, {path: table[path][row] for path in table}) for row in range(size)]
        rows = [row for row, holds in enumerate(results) if holds is False]
        found[str(each.relation)] = sum(holds is not None for holds in results), rows
    return found


def related(relation: Relation, row: dict[str, Any]) -> bool | None:
    if isinstance(relation, Implication):
        return row[relation.then] is not None if same(row[relation.condition], relation.value) else None
    left = [row[path] for path in relation.left]
    right = row[relation.right] if isinstance(relation.right, str) else relation.right
    compare = COMPARE[relation.operator]
    if isinstance(relation.right, str) and [type(each) for each in (*left, right)] == [str, str]:
        return bool(compare(left[0], right))
    numbers = [as_float(each) if type(each) in NUMBER else math.nan for each in (*left, right)]
    if not all(map(math.isfinite, numbers)):
        return None
    *terms, right = numbers
    total = sum(terms)
    near = len(terms) > 1 and "=" in relation.operator
    return bool(compare(total, right)) or (
        near and abs(total - right) <= NEARLY * sum(map(abs, numbers)) < math.inf
    )


@settings(max_examples=300)
@given(schemas(), tables())
def test_verdicts_are_those_of_a_plain_loop(schema: Schema, table: Table) -> None:
    found = {
        name: (verdict.checked, verdict.violated.tolist()) for name, verdict in checked(schema, table).items()
    }
    assert found == looped(schema, table)


@given(schemas(), tables(), st.data())
def test_batches_cut_anywhere_give_the_same_rows(schema: Schema, table: Table, data: st.DataObject) -> None:
    size = len(table["inputs.a"])
    cut = data.draw(st.integers(0, size))
    checker = Checker(schema)
    first = checker.check(batch({path: values[:cut] for path, values in table.items()}))
    second = checker.check(batch({path: values[cut:] for path, values in table.items()}, first=cut))
    for before, after, whole in zip(first, second, checked(schema, table).values(), strict=True):
        assert before.checked + after.checked == whole.checked
        assert before.violated.tolist() + (after.violated + cut).tolist() == whole.violated.tolist()


def test_a_number_is_no_boolean_and_a_whole_fraction_is_an_integer() -> None:
    assert broken([1, 1.0, 1.5, True, "1", None], type="integer") == [2, 3, 4]
    assert broken([1, 1.5, float("nan"), float("inf"), False], type="number") == [2, 3, 4]
    assert broken([1, True, 1.0, False, 0], allowed=(1, False)) == [1, 4]


def test_what_is_not_a_number_is_outside_every_range() -> None:
    assert broken([0, float("nan"), float("inf"), 10**400, "5", None], range=(0, None)) == [1]
    assert broken([0, float("nan"), float("inf"), 10**400, -(10**400)], range=(None, 9)) == [1, 2, 3]


def test_a_value_is_looked_for_as_far_back_as_asked() -> None:
    assert broken(["a", "b", "a", "c", "d", "a"], unique=2) == [2]
    assert broken(["a", "b", "a", "c", "d", "a"], unique=3) == [2, 5]
    assert broken([None, None, 1, 1.0, "1"], unique=9) == [3]
    assert broken([2**53, 2**53 + 1], unique=9) == []


def test_a_row_that_is_read_again_does_not_repeat_itself() -> None:
    checker = Checker(one(unique=100))
    rows = batch({"inputs.a": ["a", "b", "c"]})
    assert not checker.check(rows)[0].violated.size
    assert not checker.check(batch({"inputs.a": ["a", "b", "c"]}))[0].violated.size
    assert checker.check(batch({"inputs.a": ["a"]}, first=7))[0].violated.tolist() == [0]


def test_the_window_keeps_no_more_than_asked() -> None:
    schema = one(unique=1_000)
    checker = Checker(schema)
    for start in range(0, 10_000, 500):
        values: list[Any] = list(range(start, start + 500))
        assert not checker.check(batch({"inputs.a": values}, first=start))[0].violated.size
    (cell,) = [
        each.cell_contents
        for each in checker.rules[0].test.__closure__ or ()
        if hasattr(each.cell_contents, "size")
    ]
    assert cell._values.nbytes + cell._rows.nbytes == 16_000


def test_without_an_answer_an_output_breaks_no_rule() -> None:
    schema = Schema(
        {"outputs.y": FieldRules(nulls=0.0), "inputs.a": FieldRules(nulls=0.0)},
        (RelationRule(parse_relation('if inputs.k == "x" then outputs.y not null')),),
    )
    table: Table = {"inputs.a": [1, None, 1], "inputs.k": ["x", "x", "x"], "outputs.y": [None, None, None]}
    found = checked(schema, table, answered=[True, False, False])
    assert {name: (each.checked, each.violated.tolist()) for name, each in found.items()} == {
        "outputs.y/nulls": (1, [0]),
        "inputs.a/nulls": (3, [1]),
        'if inputs.k == "x" then outputs.y not null': (1, [0]),
    }


def test_concealed_values_are_there_and_nothing_else_is_known_of_them() -> None:
    rules = FieldRules(type="number", allowed=(1,), length=(1, 3), pattern="x", unique=5, nulls=0.0)
    found = checked(
        Schema({"inputs.a": rules}), {"inputs.a": ["hidden:1", "hidden:1", None]}, concealed="hidden:"
    )
    assert {name: (each.checked, each.violated.tolist()) for name, each in found.items()} == {
        "inputs.a/type": (0, []),
        "inputs.a/length": (0, []),
        "inputs.a/allowed": (0, []),
        "inputs.a/pattern": (0, []),
        "inputs.a/nulls": (3, [2]),
        "inputs.a/unique": (0, []),
    }


def test_sums_are_equal_up_to_what_fractions_cost() -> None:
    relation = parse_relation("inputs.a + inputs.b == inputs.c")
    table: Table = {"inputs.a": [0.1, 1, 1e300], "inputs.b": [0.2, 1, 1e300], "inputs.c": [0.3, 2.001, 2e300]}
    found = checked(Schema({}, (RelationRule(relation),)), table)
    assert found[str(relation)].violated.tolist() == [1]
    assert Fraction(0.1) + Fraction(0.2) != Fraction(0.3)


def test_a_sum_beyond_all_doubles_is_compared_without_a_warning() -> None:
    relation = parse_relation("inputs.a + inputs.b <= inputs.c")
    table: Table = {"inputs.a": [1.7e308], "inputs.b": [1.7e308], "inputs.c": [1.0]}
    assert checked(Schema({}, (RelationRule(relation),)), table)[str(relation)].violated.tolist() == [0]


def test_texts_are_compared_by_their_characters() -> None:
    relation = parse_relation("inputs.from <= inputs.to")
    table: Table = {
        "inputs.from": ["2026-01-02", "2026-01-02", "b", 1],
        "inputs.to": ["2026-01-10", "2025-12-31", None, "2"],
    }
    verdict = checked(Schema({}, (RelationRule(relation),)), table)[str(relation)]
    assert (verdict.checked, verdict.violated.tolist()) == (2, [1])


def test_a_rule_that_tolerates_nothing_alarms_beyond_one_in_a_thousand() -> None:
    rules = Checker(Schema({"inputs.a": FieldRules(type="text", nulls=0.02, tolerate=0.0)})).rules
    assert [(rule.name, rule.allowed, rule.limit) for rule in rules] == [
        ("inputs.a/type", 0.0, DEFAULT_LIMIT),
        ("inputs.a/nulls", 0.02, 0.02),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_an_example_and_no_value_makes_it_slow(name: str) -> None:
    assert FORMATS[name].fullmatch(EXAMPLES[name])
    for hostile in (
        "a" * 50_000,
        "a." * 25_000 + "@",
        "a@" + "a." * 25_000,
        "1." * 25_000,
        "http://" + "a" * 50_000 + " ",
    ):
        assert not FORMATS[name].fullmatch(hostile + "\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs a field such as inputs.income at character 1"),
        ("inputs.a", "needs one of <= < == >= > at character 9"),
        ("inputs.a <= ", "needs a field such as inputs.income at character 13"),
        ("inputs.a <= inputs.b or x", "goes on after its end at character 22"),
        ("inputs.a = inputs.b", "needs one of <= < == >= > at character 10"),
        ("if inputs.a == x then inputs.b not null", 'needs a number, "text", true or false at character 16'),
        ("if inputs.a == 1 then inputs.b", "needs `not` at character 31"),
        ("a <= b", "needs a field such as inputs.income at character 1"),
        ('if inputs.a == "\\x" then inputs.b not null', 'has the text "\\x", which is not as JSON writes it'),
    ],
)
def test_a_relation_that_cannot_be_read_says_where(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_relation(text)
    assert str(caught.value).startswith(said + ": ")
    assert "inputs.low <= inputs.high" in str(caught.value)


def test_names_with_other_characters_are_quoted() -> None:
    relation = parse_relation("inputs['a b'] < outputs[\"it's\"]")
    assert relation == Comparison(("inputs.a b",), "<", "outputs.it's")
    assert parse_relation(str(relation)) == relation
