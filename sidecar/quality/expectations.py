"""Suites of Great Expectations (0.x and 1.x JSON) → rules, as far as there is a counterpart.

An expectation is about one batch of a table, a rule about every row that
passes: those on single values, on nulls and on two columns translate, those on
a batch as a whole do not. What does not is listed with the reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sidecar.quality.automaton import Automaton
from sidecar.quality.evidence import WINDOW
from sidecar.quality.relation import Comparison, Implication, Operator, Relation
from sidecar.quality.rules import FieldRules, RelationRule, Schema

MAX_BYTES: Final = 8 << 20

_TYPES: Final = {
    "integer": (
        "int int8 int16 int32 int64 uint8 uint16 uint32 uint64 integer bigint smallint long longtype"
    ),
    "number": (
        "float float16 float32 float64 double decimal numeric real number floattype doubletype decimaltype"
    ),
    "text": "str string text varchar char object stringtype",
    "boolean": "bool bool_ boolean booleantype",
    "array": "list array arraytype",
}
_OF_A_BATCH: Final = "is about a whole batch, rules are about rows; see `bands` and `means` of the watch file"
_REASONS: Final = {
    "expect_column_to_exist": "a field that an exchange lacks counts as null: give it `nulls`",
    "expect_column_values_to_be_null": "there is no rule that a value must not be there",
    "expect_column_values_to_not_be_in_set": "there is no rule for forbidden values",
    "expect_column_values_to_not_match_regex": "a pattern says what texts are, not what they are not",
    "expect_column_values_to_not_match_regex_list": "a pattern says what texts are, not what they are not",
    "expect_compound_columns_to_be_unique": "uniqueness is of one field",
    "expect_select_column_values_to_be_unique_within_record": "there is no rule that fields of a row differ",
    "expect_multicolumn_values_to_be_unique": "there is no rule that fields of a row differ",
    "expect_column_values_to_be_increasing": "rows of many clients have no order",
    "expect_column_values_to_be_decreasing": "rows of many clients have no order",
}
_CONDITION = re.compile(
    r"""\s*(?:col\("(?P<quoted>[^"]+)"\)|`(?P<ticked>[^`]+)`|(?P<plain>\w+))\s*==\s*"""
    r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<number>-?[0-9]+(?:\.[0-9]+)?)|(?P<flag>[Tt]rue|[Ff]alse))\s*"""
)


class _NoCounterpart(Exception):
    """The reason why an expectation is not translated."""


@dataclass(slots=True)
class Imported:
    """What became of a suite."""

    schema: Schema
    translated: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Expectations without a counterpart, and why."""
    notes: list[str] = field(default_factory=list)
    """Where a rule says something a little else."""


def read_suite(data: bytes, outputs: Collection[str] = ()) -> Imported:
    """The rules in a suite's JSON. Columns in `outputs` are the model's answers, all others its inputs.

    Raises ValueError, phrased to follow the file's name, for what is no suite.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"has {len(data):,} bytes, at most {MAX_BYTES:,} are read: split the suite")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON ({error}): give the file of an expectation suite") from error
    found = document.get("expectations") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise ValueError("is no expectation suite: it has no list `expectations`")
    reader = _Suite(frozenset(outputs))
    for number, each in enumerate(found, 1):
        reader.take(number, each)
    return reader.imported()


class _Suite:
    def __init__(self, outputs: frozenset[str]) -> None:
        self._outputs = outputs
        self._fields: dict[str, dict[str, Any]] = {}
        self._tolerated: dict[str, list[float]] = {}
        self._relations: list[RelationRule] = []
        self._done = Imported(Schema({}))

    def take(self, number: int, expectation: Any) -> None:
        """Translate one expectation, or note why not."""
        kind = kwargs = None
        if isinstance(expectation, dict):
            kind = expectation.get("type", expectation.get("expectation_type"))
            kwargs = expectation.get("kwargs")
        if not isinstance(kind, str) or not isinstance(kwargs, dict):
            self._done.left_out.append((f"expectation {number}", "has no type and kwargs"))
            return
        columns = (
            kwargs.get("column") or kwargs.get("column_list") or [kwargs.get(f"column_{x}") for x in "AB"]
        )
        shown = ", ".join(map(str, columns if isinstance(columns, list) else [columns])).replace(
            "None, None", ""
        )
        name = f"{kind}({shown})"
        try:
            translate = _TRANSLATIONS.get(kind)
            if translate is None:
                raise _NoCounterpart(
                    _REASONS.get(kind, _OF_A_BATCH if "values" not in kind else "has no counterpart")
                )
            if kwargs.get("row_condition") is not None and kind != "expect_column_values_to_not_be_null":
                raise _NoCounterpart("a rule with a row condition is only there for `not null`")
            translate(self, kwargs)
        except _NoCounterpart as reason:
            self._done.left_out.append((name, str(reason)))
        except (KeyError, TypeError, ValueError, AttributeError):
            self._done.left_out.append((name, "its kwargs are not those of Great Expectations"))
        else:
            self._done.translated += 1

    def imported(self) -> Imported:
        fields = {}
        for path, values in self._fields.items():
            shares = self._tolerated.get(path, [])
            if len(set(shares)) > 1:
                self._done.notes.append(
                    f"{path}: its expectations have several `mostly`; the strictest holds for all its rules"
                )
            fields[path] = FieldRules(**values, tolerate=min(shares, default=0.0))
        self._done.schema = Schema(fields, tuple(self._relations))
        return self._done

    def path(self, column: Any) -> str:
        if not isinstance(column, str) or not column:
            raise ValueError
        if column.startswith(("inputs.", "outputs.", "exchange.")):
            return column
        return f"{'outputs' if column in self._outputs else 'inputs'}.{column}"

    def rule(self, kwargs: dict[str, Any], name: str, value: Any) -> None:
        """One more rule of a field; a second one of a kind is no counterpart."""
        path = self.path(kwargs["column"])
        mostly = _mostly(kwargs)
        values = self._fields.setdefault(path, {})
        if name in values and values[name] != value:
            raise _NoCounterpart(f"{path} has another `{name}` already, a field has one")
        values[name] = value
        if name != "nulls":
            self._tolerated.setdefault(path, []).append(mostly)

    def relate(self, kwargs: dict[str, Any], relation: Relation) -> None:
        if kwargs.get("ignore_row_if") == "never":
            self._done.notes.append(f"{relation}: rows in which a field is null are passed over")
        if relation not in [each.relation for each in self._relations]:
            self._relations.append(RelationRule(relation, _mostly(kwargs)))

    def note(self, text: str) -> None:
        self._done.notes.append(text)


def _mostly(kwargs: dict[str, Any]) -> float:
    """The tolerated share behind `mostly`."""
    mostly = kwargs.get("mostly")
    if mostly is None:
        return 0.0
    return round(1.0 - min(1.0, max(0.0, float(mostly))), 12)


def _between(suite: _Suite, kwargs: dict[str, Any]) -> None:
    low, high = _bound(kwargs.get("min_value")), _bound(kwargs.get("max_value"))
    if low is None and high is None:
        raise _NoCounterpart("bounds nothing")
    if low is not None and high is not None and low > high:
        raise _NoCounterpart("its bounds leave no value")
    # A bound that is itself excluded is a comparison.
    path = suite.path(kwargs["column"])
    if low is not None and kwargs.get("strict_min"):
        suite.relate(kwargs, Comparison((path,), ">", low))
        low = None
    if high is not None and kwargs.get("strict_max"):
        suite.relate(kwargs, Comparison((path,), "<", high))
        high = None
    if low is not None or high is not None:
        suite.rule(kwargs, "range", (low, high))


def _bound(value: Any) -> int | float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        raise _NoCounterpart("its bounds are no numbers")
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def _lengths(suite: _Suite, kwargs: dict[str, Any]) -> None:
    low, high = _bound(kwargs.get("min_value")), _bound(kwargs.get("max_value"))
    if low is None and high is None:
        raise _NoCounterpart("bounds nothing")
    least = None if low is None else math.floor(low) + 1 if kwargs.get("strict_min") else math.ceil(low)
    most = None if high is None else math.ceil(high) - 1 if kwargs.get("strict_max") else math.floor(high)
    suite.rule(kwargs, "length", (None if least is None else max(0, least), most))


def _length(suite: _Suite, kwargs: dict[str, Any]) -> None:
    suite.rule(kwargs, "length", (int(kwargs["value"]), int(kwargs["value"])))


def _in_set(suite: _Suite, kwargs: dict[str, Any]) -> None:
    values = [value for value in kwargs["value_set"] if value is not None]
    if not values or not all(type(value) in (str, bool, int, float) for value in values):
        raise _NoCounterpart("its set holds no plain values")
    suite.rule(kwargs, "allowed", tuple(dict.fromkeys(values)))


def _not_null(suite: _Suite, kwargs: dict[str, Any]) -> None:
    condition = kwargs.get("row_condition")
    if condition is None:
        suite.rule(kwargs, "nulls", _mostly(kwargs))
        return
    column, value = _condition(condition)
    suite.relate(kwargs, Implication(suite.path(column), value, suite.path(kwargs["column"])))


def _condition(condition: Any) -> tuple[str, Any]:
    """The column and value of a row condition that is an equality."""
    if isinstance(condition, dict) and condition.get("type") == "pass_through":
        condition = condition.get("pass_through_filter")
    if isinstance(condition, dict):
        value = condition.get("parameter")
        if condition.get("operator") == "==" and type(value) in (str, bool, int, float):
            return condition["column"]["name"], value
    found = _CONDITION.fullmatch(condition) if isinstance(condition, str) else None
    if found is None:
        raise _NoCounterpart("its row condition is no equality of a column and a value")
    column = found["quoted"] or found["ticked"] or found["plain"]
    if found["number"] is not None:
        return column, float(found["number"]) if "." in found["number"] else int(found["number"])
    if found["flag"] is not None:
        return column, found["flag"].lower() == "true"
    return column, found["double"] if found["double"] is not None else found["single"]


def _unique(suite: _Suite, kwargs: dict[str, Any]) -> None:
    suite.rule(kwargs, "unique", WINDOW)
    suite.note(
        f"{suite.path(kwargs['column'])}: unique among {WINDOW:,} values in a row, not in a whole batch"
    )


def _regex(suite: _Suite, kwargs: dict[str, Any]) -> None:
    suite.rule(kwargs, "pattern", _whole(kwargs["regex"]))


def _regexes(suite: _Suite, kwargs: dict[str, Any]) -> None:
    if kwargs.get("match_on") == "all" and len(kwargs["regex_list"]) > 1:
        raise _NoCounterpart("a field has one pattern, and this one asks for all of several")
    suite.rule(kwargs, "pattern", "|".join(_whole(each) for each in kwargs["regex_list"]))


def _whole(regex: str) -> str:
    """A pattern for the whole text that matches where `regex` is found in it."""
    begins, ends = regex.startswith("^"), regex.endswith("$") and not regex.endswith("\\$")
    inner = regex[begins : len(regex) - ends]
    pattern = f"(?:{inner})" if "|" in inner else inner
    pattern = ("" if begins else "[\\s\\S]*") + pattern + ("" if ends else "[\\s\\S]*")
    if "|" in regex and (begins or ends):
        # ^a|b$ anchors one branch each.
        pattern = (
            regex if all(each.startswith("^") and each.endswith("$") for each in regex.split("|")) else ""
        )
    if not pattern:
        raise _NoCounterpart("its anchors belong to single branches: write it in a group")
    try:
        Automaton(pattern)
    except ValueError as error:
        raise _NoCounterpart(f"its regular expression {error}") from error
    return pattern


def _strftime(suite: _Suite, kwargs: dict[str, Any]) -> None:
    formats = {"%Y-%m-%d": "date", "%Y-%m-%dT%H:%M:%S": "datetime", "%Y-%m-%d %H:%M:%S": "datetime"}
    name = formats.get(kwargs["strftime_format"])
    if name is None:
        raise _NoCounterpart("of such formats only ISO 8601 dates and times are there: write a `pattern`")
    suite.rule(kwargs, "format", name)


def _of_type(suite: _Suite, kwargs: dict[str, Any]) -> None:
    suite.rule(kwargs, "type", _named([kwargs["type_"]]))


def _of_types(suite: _Suite, kwargs: dict[str, Any]) -> None:
    suite.rule(kwargs, "type", _named(kwargs["type_list"]))


def _named(names: list[str]) -> str:
    found = {
        next((ours for ours, theirs in _TYPES.items() if name.lower() in theirs.split()), name)
        for name in names
    }
    if found == {"integer", "number"}:
        return "number"
    if len(found) != 1 or not found <= _TYPES.keys():
        raise _NoCounterpart(f"a value has one of the types {', '.join(_TYPES)}")
    return found.pop()


def _greater(suite: _Suite, kwargs: dict[str, Any]) -> None:
    operator: Operator = ">=" if kwargs.get("or_equal") else ">"
    suite.relate(
        kwargs, Comparison((suite.path(kwargs["column_A"]),), operator, suite.path(kwargs["column_B"]))
    )


def _equal(suite: _Suite, kwargs: dict[str, Any]) -> None:
    suite.relate(kwargs, Comparison((suite.path(kwargs["column_A"]),), "==", suite.path(kwargs["column_B"])))


def _sum(suite: _Suite, kwargs: dict[str, Any]) -> None:
    paths = tuple(suite.path(column) for column in kwargs["column_list"])
    total = _bound(kwargs["sum_total"])
    if not paths or total is None:
        raise ValueError
    suite.relate(kwargs, Comparison(paths, "==", total))


_TRANSLATIONS: Final[dict[str, Callable[[_Suite, dict[str, Any]], None]]] = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_be_unique": _unique,
    "expect_column_values_to_be_of_type": _of_type,
    "expect_column_values_to_be_in_type_list": _of_types,
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _length,
    "expect_column_values_to_match_regex": _regex,
    "expect_column_values_to_match_regex_list": _regexes,
    "expect_column_values_to_match_strftime_format": _strftime,
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": _equal,
    "expect_multicolumn_sum_to_equal": _sum,
}
TRANSLATED: Final = tuple(_TRANSLATIONS)
"""Expectations that have a counterpart."""
