"""Matching in linear time: Glushkov's automaton of a pattern, its deterministic states made as they are met.

A step over one character costs a look-up once its state is known; at worst, for
states never met before, one operation per position that is active. Nothing
backtracks, so no value can make it slow. Both caches are bounded and begun anew when full.
"""

from __future__ import annotations

from typing import Final

from sidecar.quality.pattern import Chars, Choice, Node, Repeat, Sequence, parse

MAX_POSITIONS: Final = 500
"""Characters of a pattern, repeats written out."""
MAX_TEXT: Final = 2_000
"""A longer text matches no pattern: what a value can cost has to end somewhere."""
MAX_TRANSITIONS: Final = 20_000
"""Cached steps; about 2 MB at most."""

_Part = tuple[bool, int, int]
"""Whether it matches nothing too, and the positions that it can begin and end with, as bits."""


class Automaton:
    """Tells whether a text is wholly matched. Raises ValueError for a pattern that is not taken."""

    def __init__(self, pattern: str) -> None:
        node = parse(pattern)
        if _positions(node) > MAX_POSITIONS:
            raise ValueError(
                f"comes to more than {MAX_POSITIONS} characters with its repeats written out: "
                "use `length` for long counts"
            )
        self._sets: list[Chars] = []
        self._follow: list[int] = []
        nullable, self._first, self._last = self._build(node)
        self._nullable = nullable
        self._clear()

    def _clear(self) -> None:
        self._transitions = 0
        self._bits: dict[str, int] = {}
        self._start: dict[str, _State] = {}
        self._states: dict[int, _State] = {}

    def matches(self, text: str) -> bool:
        """Whether the pattern matches the whole text."""
        if not text:
            return self._nullable
        if len(text) > MAX_TEXT:
            return False
        state = self._start.get(text[0]) or self._begin(text[0])
        for character in text[1:]:
            state = state.next.get(character) or self._step(state, character)
            if not state.active:
                return False
        return bool(state.active & self._last)

    def _begin(self, character: str) -> _State:
        state = self._start[character] = self._state(self._first & self._of(character))
        return state

    def _step(self, state: _State, character: str) -> _State:
        active, reach = state.active, 0
        while active:
            lowest = active & -active
            reach |= self._follow[lowest.bit_length() - 1]
            active ^= lowest
        if self._transitions >= MAX_TRANSITIONS:
            self._clear()
        found = state.next[character] = self._state(reach & self._of(character))
        self._transitions += 1
        return found

    def _state(self, active: int) -> _State:
        known = self._states.get(active)
        if known is None:
            known = self._states[active] = _State(active)
        return known

    def _of(self, character: str) -> int:
        """The positions that take this character."""
        bits = self._bits.get(character)
        if bits is None:
            bits = sum(1 << at for at, chars in enumerate(self._sets) if character in chars)
            if len(self._bits) >= MAX_TRANSITIONS:
                self._clear()
            self._bits[character] = bits
        return bits

    def _build(self, node: Node) -> _Part:
        match node:
            case Chars():
                self._sets.append(node)
                self._follow.append(0)
                bit = 1 << (len(self._sets) - 1)
                return False, bit, bit
            case Sequence(parts):
                built: _Part = (True, 0, 0)
                for part in parts:
                    built = self._joined(built, self._build(part))
                return built
            case Choice(parts):
                options = [self._build(part) for part in parts]
                first = last = 0
                for _, begins, ends in options:
                    first |= begins
                    last |= ends
                return any(nullable for nullable, _, _ in options), first, last
            case Repeat(part, low, high):
                return self._repeat(part, low, high)

    def _joined(self, left: _Part, right: _Part) -> _Part:
        self._connect(left[2], right[1])
        first = left[1] | right[1] if left[0] else left[1]
        last = left[2] | right[2] if right[0] else right[2]
        return left[0] and right[0], first, last

    def _repeat(self, part: Node, low: int, high: int | None) -> _Part:
        built: _Part = (True, 0, 0)
        for number in range(max(low, 1) if high is None else high):
            nullable, first, last = self._build(part)
            built = self._joined(built, (nullable or number >= low, first, last))
        if high is None:
            # The last copy repeats: with {2,} the second one.
            self._connect(last, first)
        return built

    def _connect(self, ends: int, begins: int) -> None:
        while ends:
            lowest = ends & -ends
            self._follow[lowest.bit_length() - 1] |= begins
            ends ^= lowest


class _State:
    """A set of active positions, and where single characters lead from it."""

    __slots__ = ("active", "next")

    def __init__(self, active: int) -> None:
        self.active = active
        self.next: dict[str, _State] = {}


def _positions(node: Node) -> int:
    match node:
        case Chars():
            return 1
        case Repeat(part, low, high):
            return _positions(part) * (max(low, 1) if high is None else high)
        case _:
            return sum(map(_positions, node.parts))
