"""Rules that read a decision out of a row: `outputs.predict[0] == 1`, `outputs.score >= 0.7`, `not decision`.

    rule       = or
    or         = and ("or" and)*
    and        = not ("and" not)*
    not        = "not" not | "(" rule ")" | comparison
    comparison = "decision" | path [("==" | "!=" | "<" | "<=" | ">" | ">=") literal | "in" list]
    list       = "[" literal ("," literal)* "]"     or in parentheses
    literal    = number | text in quotes | "true" | "false"

A bare path is a boolean, or a number that is 0 or 1. A row without the value,
or with one that cannot be compared (a text with a number, NaN), is unknown:
counted apart, never taken for a no. `and`, `or` and `not` follow Kleene's
logic: unknown unless the known part settles it. `decision` is the model's own
rule, from the setting or the watch file.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidecar.statistics.baseline import as_float
from sidecar.statistics.field_path import FieldPath, numbers_of, scan_path
from sidecar.statistics.rows import Rows

Answers = npt.NDArray[np.int8]
"""Per row 1, 0 or UNKNOWN."""
UNKNOWN: Final = -1
MAX_TEXT: Final = 4096
MAX_NESTING: Final = 32
OPAQUE: Final = frozenset({"redacted:text", "redacted:number", "redacted:boolean", "redacted:value"})
"""What stands for a concealed value that is not even told from others."""

EXAMPLE = "for example outputs.predict[0] == 1, outputs.score >= 0.7 or outputs.label in ['approve', 'refer']"
Token = Callable[[Any], Any]
"""What is counted in place of a value that the store must not hold: `countable.Countable.token`."""
Literal = str | int | float | bool
_ORDER: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>==|!=|<=|>=|<|>)|(?P<mark>[()\[\],])"""
    r"""|(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))"""
    r"""|'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<word>[^\W\d]\w*(?![\w.\[])))"""
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A rule, ready to be asked of rows. Equal texts give equal rules."""

    text: str
    rule: Rule

    def answers(self, rows: Rows) -> Answers:
        """The answer for each row, shape (rows.count,)."""
        return rows.derived(self, lambda: self.rule.answers(rows))

    def tokenised(self, token: Token) -> Decision:
        """The same rule for values of which only tokens are counted.

        Every text is also looked for under its token, so that a rule over labels
        goes on working when the labels themselves must not be known.
        """
        return Decision(self.text, self.rule.tokenised(token))


@dataclass(frozen=True, slots=True)
class Compared:
    """`path operator literal`; several literals for `in`."""

    path: FieldPath
    sign: str
    literals: tuple[Literal, ...]

    def answers(self, rows: Rows) -> Answers:
        values = self.path.values(rows)
        if self.sign in _ORDER:
            return self._ordered(values)
        wanted = {_key(literal) for literal in self.literals}
        kinds = {type(key) for key in wanted}
        yes = 0 if self.sign == "!=" else 1
        types = set(map(type, values))
        if types <= {int, float} and kinds == {float}:
            numbers = numbers_of(values)
            found = np.where(np.isin(numbers, list(wanted)), yes, 1 - yes).astype(np.int8)
            found[np.isnan(numbers)] = UNKNOWN
            return found
        keys = values if types <= {str} else [_key(value) for value in values]
        known = [
            UNKNOWN if type(key) not in kinds or key in OPAQUE else yes if key in wanted else 1 - yes
            for key in keys
        ]
        return np.array(known, dtype=np.int8)

    def _ordered(self, values: list[Any]) -> Answers:
        bound = self.literals[0]
        if isinstance(bound, str):
            compare = _ORDER[self.sign]
            return np.array(
                [
                    int(compare(value, bound)) if type(value) is str and value not in OPAQUE else UNKNOWN
                    for value in values
                ],
                dtype=np.int8,
            )
        numbers = np.array([_as_number(value) for value in values], dtype=np.float64)
        found: Answers = np.asarray(_ORDER[self.sign](numbers, float(bound)), dtype=np.int8)
        found[~np.isfinite(numbers)] = UNKNOWN
        return found

    def tokenised(self, token: Token) -> Rule:
        texts = [literal for literal in self.literals if isinstance(literal, str)]
        if self.sign in _ORDER or not texts:
            return self
        tokens = tuple(token(text) for text in texts)
        return Compared(self.path, self.sign, (*self.literals, *(t for t in tokens if t not in OPAQUE)))


@dataclass(frozen=True, slots=True)
class Truth:
    """A bare path: a boolean, or a number that is 0 or 1."""

    path: FieldPath

    def answers(self, rows: Rows) -> Answers:
        known = [
            int(value) if type(value) in (bool, int, float) and value in (0, 1) else UNKNOWN
            for value in self.path.values(rows)
        ]
        return np.array(known, dtype=np.int8)

    def tokenised(self, token: Token) -> Rule:
        return self


@dataclass(frozen=True, slots=True)
class Not:
    rule: Rule

    def answers(self, rows: Rows) -> Answers:
        inner = self.rule.answers(rows)
        return np.where(inner == UNKNOWN, inner, 1 - inner).astype(np.int8)

    def tokenised(self, token: Token) -> Rule:
        return Not(self.rule.tokenised(token))


@dataclass(frozen=True, slots=True)
class Either:
    """`left or right`, or `left and right`: one of them settles it by being `settling`."""

    left: Rule
    right: Rule
    settling: int

    def answers(self, rows: Rows) -> Answers:
        left, right = self.left.answers(rows), self.right.answers(rows)
        unknown = (left == UNKNOWN) | (right == UNKNOWN)
        found = np.where(unknown, UNKNOWN, 1 - self.settling)
        return np.where((left == self.settling) | (right == self.settling), self.settling, found).astype(
            np.int8
        )

    def tokenised(self, token: Token) -> Rule:
        return Either(self.left.tokenised(token), self.right.tokenised(token), self.settling)


Rule = Compared | Truth | Not | Either


def parse_decision(text: str, decision: Decision | None = None) -> Decision:
    """The rule that `text` writes; `decision` is what the word `decision` in it stands for.

    Raises ValueError: one line with the place and an example.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"a decision rule of {len(text)} characters; at most {MAX_TEXT} are taken")
    return Decision(text.strip(), _Parser(text, decision).whole())


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str, decision: Decision | None) -> None:
        self._text = text
        self._decision = decision
        self._at = 0
        self._depth = 0

    def whole(self) -> Rule:
        rule = self._any()
        if self._text[self._at :].strip():
            raise self._wrong("the end, 'and' or 'or'")
        return rule

    def _any(self) -> Rule:
        rule = self._all()
        while self._take("word", "or"):
            rule = Either(rule, self._all(), 1)
        return rule

    def _all(self) -> Rule:
        rule = self._negated()
        while self._take("word", "and"):
            rule = Either(rule, self._negated(), 0)
        return rule

    def _negated(self) -> Rule:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._wrong(f"more than {MAX_NESTING} levels of 'not' and parentheses")
        try:
            if self._take("word", "not"):
                return Not(self._negated())
            if self._take("mark", "("):
                rule = self._any()
                if not self._take("mark", ")"):
                    raise self._wrong("')' is missing")
                return rule
            return self._compared()
        finally:
            self._depth -= 1

    def _compared(self) -> Rule:
        if self._take("word", "decision"):
            if self._decision is None:
                raise ValueError(
                    f"rule {self._text!r}: 'decision' stands for the model's decision, and none is set: "
                    f"set decision, {EXAMPLE}"
                )
            return self._decision.rule
        start = self._at + len(self._text[self._at :]) - len(self._text[self._at :].lstrip())
        try:
            path, self._at = scan_path(self._text, start)
        except ValueError as error:
            if self._text[start : start + 1] in ("$", "i", "o", "e") and "no path" not in str(error):
                raise
            raise self._wrong("a path (inputs.…, outputs.…, $.…), 'decision', 'not' or '('") from None
        if self._take("word", "in"):
            return Compared(path, "in", self._list())
        sign = self._take("operator")
        if sign is None:
            return Truth(path)
        literal = self._literal()
        if sign in _ORDER and isinstance(literal, bool):
            raise self._wrong(f"a number or a text after {sign!r}")
        return Compared(path, sign, (literal,))

    def _list(self) -> tuple[Literal, ...]:
        closing = "]" if self._take("mark", "[") else ")" if self._take("mark", "(") else None
        if closing is None:
            raise self._wrong("a list after 'in'")
        literals = [self._literal()]
        while self._take("mark", ","):
            literals.append(self._literal())
        if not self._take("mark", closing):
            raise self._wrong(f"',' or {closing!r}")
        return tuple(literals)

    def _literal(self) -> Literal:
        number = self._take("number")
        if number is not None:
            return float(number) if set(number) & set(".eE") else int(number)
        for quoted in ("single", "double"):
            text = self._take(quoted)
            if text is not None:
                return text
        for word in ("true", "false"):
            if self._take("word", word):
                return word == "true"
        raise self._wrong("a number, a text in quotes, true or false")

    def _take(self, kind: str, wanted: str | None = None) -> str | None:
        """The next token's text if it is of that kind (and that very text); then it is passed."""
        token = _TOKEN.match(self._text, self._at)
        if token is None or token[kind] is None or (wanted is not None and token[kind] != wanted):
            return None
        self._at = token.end()
        return token[kind]

    def _wrong(self, expected: str) -> ValueError:
        rest = self._text[self._at :]
        place = self._at + len(rest) - len(rest.lstrip()) + 1
        found = repr(rest.strip()[:20]) if rest.strip() else "the end"
        return ValueError(
            f"rule {self._text[:100]!r}: {expected} expected at character {place}, found {found}: {EXAMPLE}"
        )


def _key(value: Any) -> Any:
    """What values are compared by: numbers and booleans as finite doubles, texts as they are, else None."""
    if type(value) is str:
        return value
    number = _as_number(value)
    return number if isfinite(number) else None


def _as_number(value: Any) -> float:
    return as_float(value) if type(value) in (int, float, bool) else float("nan")
