"""Regular expressions as trees: the part of the usual syntax whose matching time can be bounded.

Literals, `.`, classes, `\\d \\w \\s` and their opposites, groups, `|`, `* + ? {m,n}`;
`^` and `$` only where they say what is meant anyway: a pattern is for the whole value.
Back references, look-around, word boundaries and flags are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_PATTERN: Final = 1_000
MAX_DEPTH: Final = 30
_COUNTED = re.compile(r"\{(?=[0-9,])([0-9]{0,4})(,?)([0-9]{0,4})\}")
_GROUP = re.compile(r"\(\?(?::|P<[A-Za-z_][A-Za-z0-9_]*>)")
_CONTROL: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
_HEX: Final = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    ranges: tuple[tuple[str, str], ...] = ()
    kinds: str = ""
    """Letters of `\\d \\D \\w \\W \\s \\S`, as Python's `re` reads them: by Unicode."""
    negated: bool = False

    def __contains__(self, character: str) -> bool:
        found = any(low <= character <= high for low, high in self.ranges) or any(
            _is(character, kind) for kind in self.kinds
        )
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`low` to `high` times; `high` None: without end."""

    part: Node
    low: int
    high: int | None


Node = Chars | Sequence | Choice | Repeat

ANY: Final = Chars((("\n", "\n"),), negated=True)


def parse(text: str) -> Node:
    """The tree of a pattern. Raises ValueError, phrased to follow the pattern, for what is not taken."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"has {len(text):,} characters, at most {MAX_PATTERN:,} are taken: shorten it")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Node:
        node = self._choice(0)
        if self._at < len(self._text):
            raise self._refused("a `)` that closes nothing", "remove it or write \\)")
        return node

    def _refused(self, what: str, remedy: str) -> ValueError:
        return ValueError(f"has {what} at character {self._at + 1}: {remedy}")

    def _next(self, token: str) -> bool:
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _choice(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._refused(f"groups nested deeper than {MAX_DEPTH}", "flatten it")
        parts = [self._sequence(depth)]
        while self._next("|"):
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self._next("^") or self._next("\\A"):
            if depth:
                self._anchored_amid()
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if self._next("$") or self._next("\\Z"):
                if depth or (self._at < len(self._text) and self._text[self._at] not in "|$"):
                    self._anchored_amid()
                continue
            parts.append(self._repeated(self._atom(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _anchored_amid(self) -> None:
        self._at -= 1
        raise self._refused("an anchor amid it", "a pattern is for the whole value, leave it out")

    def _repeated(self, node: Node) -> Node:
        if self._at >= len(self._text):
            return node
        found = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._text[self._at])
        if found is not None:
            self._at += 1
        elif (counted := _COUNTED.match(self._text, self._at)) is not None:
            low = int(counted[1] or 0)
            high = int(counted[3]) if counted[3] else None if counted[2] else low
            if high is not None and high < low:
                raise self._refused("a repeat that ends before it begins", f"write {{{high},{low}}}")
            self._at = counted.end()
            found = (low, high)
        else:
            return node
        # Lazy or greedy, the whole value matches or it does not.
        self._next("?")
        if self._at < len(self._text) and self._text[self._at] in "*+?":
            raise self._refused("a repeat of a repeat", "put the inner one in a group")
        return Repeat(node, *found)

    def _atom(self, depth: int) -> Node:
        if self._next("("):
            group = _GROUP.match(self._text, self._at - 1)
            if group is not None:
                self._at = group.end()
            elif self._text.startswith("?", self._at):
                raise self._refused(
                    "a look-around, flag or other `(?…)`", "only (?:…) and (?P<name>…) are taken"
                )
            node = self._choice(depth + 1)
            if not self._next(")"):
                raise self._refused("a group without its end", "add the `)` or write \\(")
            return node
        if self._next("["):
            return self._class()
        if self._next("."):
            return ANY
        if self._text[self._at] in "*+?":
            raise self._refused("a repeat of nothing", "write it with a backslash if it is meant")
        if self._text[self._at] == "^":
            raise self._refused("an anchor amid it", "a pattern is for the whole value, leave it out")
        return self._character()

    def _character(self) -> Chars:
        """One character or escape, in a class or outside."""
        if not self._next("\\"):
            self._at += 1
            return _literal(self._text[self._at - 1])
        if self._at >= len(self._text):
            raise self._refused("a backslash at its end", "write two for one")
        letter = self._text[self._at]
        self._at += 1
        if letter in "dDwWsS":
            return Chars(kinds=letter)
        if letter in _HEX:
            digits = self._text[self._at : self._at + _HEX[letter]]
            if not re.fullmatch(rf"[0-9a-fA-F]{{{_HEX[letter]}}}", digits) or int(digits, 16) > 0x10FFFF:
                raise self._refused(f"\\{letter} without its {_HEX[letter]} digits", "add them")
            self._at += len(digits)
            return _literal(chr(int(digits, 16)))
        if letter in _CONTROL:
            return _literal(_CONTROL[letter])
        if letter.isalnum():
            self._at -= 2
            raise self._refused(f"\\{letter}", "back references, boundaries and other classes are not taken")
        return _literal(letter)

    def _class(self) -> Chars:
        negated = self._next("^")
        ranges: list[tuple[str, str]] = []
        kinds = ""
        first = True
        while first or not self._next("]"):
            first = False
            if self._at >= len(self._text):
                raise self._refused("a class without its end", "add the `]` or write \\[")
            one = self._character()
            if one.kinds:
                kinds += one.kinds
                continue
            low = one.ranges[0][0]
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                if self._at >= len(self._text):
                    raise self._refused("a class without its end", "add the `]` or write \\[")
                end = self._character()
                if end.kinds or end.ranges[0][0] < low:
                    raise self._refused("a range that ends before it begins", "write a minus sign as \\-")
                ranges.append((low, end.ranges[0][0]))
            else:
                ranges.append((low, low))
        return Chars(tuple(ranges), kinds, negated)


def _literal(character: str) -> Chars:
    return Chars(((character, character),))


def _is(character: str, kind: str) -> bool:
    if kind in "dD":
        found = character.isdecimal()
    elif kind in "wW":
        found = character.isalnum() or character == "_"
    else:
        found = character.isspace()
    return found is kind.islower()
