"""Relations between fields, as a person writes them.

relation   = comparison | "if" path "==" value "then" path "not null"
comparison = path ("+" path)* ("<=" | "<" | "==" | ">=" | ">") (path | number)
path       = side "." name | side "['" name "']"       side: inputs, outputs, exchange
name       = letters, digits and . _ - [ ]; anything else in the second form
value      = number | "text" | true | false
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal

import msgspec

Operator = Literal["<=", "<", "==", ">=", ">"]
EXAMPLES: Final = (
    "for example inputs.low <= inputs.high, inputs.a + inputs.b == inputs.total, "
    'or if inputs.kind == "joint" then inputs.partner not null'
)
MAX_TERMS: Final = 50

_SPACE = re.compile(r"\s*")
_PATH = re.compile(
    r"""(?P<side>inputs|outputs|exchange)(?:\.(?P<name>[\w.\[\]-]+)|\['(?P<single>[^']+)'\]|\["(?P<double>[^"]+)"\])"""
)
_PLAIN = re.compile(r"[\w.\[\]-]+")
_OPERATOR = re.compile(r"<=|<|==|>=|>")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|true\b|false\b')


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """The sum of the left fields (mostly one) against a field or a number."""

    left: tuple[str, ...]
    operator: Operator
    right: str | int | float

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.left, self.right) if isinstance(self.right, str) else self.left

    def __str__(self) -> str:
        right = _shown(self.right) if isinstance(self.right, str) else json.dumps(self.right)
        return f"{' + '.join(map(_shown, self.left))} {self.operator} {right}"


class Implication(msgspec.Struct, frozen=True, tag="implication"):
    """Where the condition's field has that value, the other has one at all."""

    condition: str
    value: str | bool | int | float
    then: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.condition, self.then)

    def __str__(self) -> str:
        value = json.dumps(self.value, ensure_ascii=False)
        return f"if {_shown(self.condition)} == {value} then {_shown(self.then)} not null"


Relation = Comparison | Implication


def parse_relation(text: str) -> Relation:
    """The relation that is the whole of `text`. Raises ValueError with the place and examples."""
    reader = _Reader(text)
    found: Relation
    if reader.word("if"):
        condition = reader.path()
        reader.expect("==")
        value = reader.value()
        reader.expect("then")
        found = Implication(condition, value, reader.path())
        reader.expect("not")
        reader.expect("null")
    else:
        left = [reader.path()]
        while reader.word("+"):
            left.append(reader.path())
            if len(left) > MAX_TERMS:
                raise ValueError(f"adds more than {MAX_TERMS} fields: {EXAMPLES}")
        operator: Any = reader.token(_OPERATOR, "one of <= < == >= >")[0]
        found = Comparison(tuple(left), operator, reader.path_or_number())
    reader.end()
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._skip()

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at

    def token(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"needs {wanted} at character {self._at + 1}: {EXAMPLES}")
        self._at = found.end()
        self._skip()
        return found

    def word(self, word: str) -> bool:
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        self._skip()
        return True

    def expect(self, word: str) -> None:
        if not self.word(word):
            raise ValueError(f"needs `{word}` at character {self._at + 1}: {EXAMPLES}")

    def path(self) -> str:
        found = self.token(_PATH, "a field such as inputs.income")
        return f"{found['side']}.{found['name'] or found['single'] or found['double']}"

    def path_or_number(self) -> str | int | float:
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            return self.path()
        self._at = number.end()
        self._skip()
        return _number(number[0])

    def value(self) -> str | bool | int | float:
        number = _NUMBER.match(self._text, self._at)
        if number is not None:
            self._at = number.end()
            self._skip()
            return _number(number[0])
        text = self.token(_VALUE, 'a number, "text", true or false')[0]
        try:
            value: str | bool = json.loads(text)
        except ValueError as error:
            raise ValueError(f"has the text {text}, which is not as JSON writes it: {EXAMPLES}") from error
        return value

    def end(self) -> None:
        if self._at < len(self._text):
            raise ValueError(f"goes on after its end at character {self._at + 1}: {EXAMPLES}")


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)


def _shown(path: str) -> str:
    side, _, name = path.partition(".")
    if _PLAIN.fullmatch(name):
        return path
    return f'{side}["{name}"]' if "'" in name else f"{side}['{name}']"
