"""How long regular expressions may compute over one text.

Some patterns backtrack for hours over a text that somebody made for them, and
who sends a request chooses the text. Time is computing time of this thread: a
process that yields to others must not be hurried. Where an allowance was used
up, the next ones are shorter, so that a stream of such texts is not one of
seconds each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeVar

MOST_S: Final = 0.1
"""For a text of any size; over ordinary ones a pattern computes for microseconds."""
LEAST_S: Final = 0.005
CHARACTER_S: Final = 300e-9
"""More for each character and pattern, several times what costly patterns need over ordinary texts."""
LONGEST_S: Final = 5.0
_RECOVERY: Final = 1.1
_NOTHING_S: Final = 0.001

Span = tuple[int, int]
T = TypeVar("T")


class TooLong(Exception):
    """A text was given up on; nothing of it is quoted."""

    def __str__(self) -> str:
        return "a regular expression computed for too long"


class Match(Protocol):
    def span(self) -> Span: ...


class Pattern(Protocol):
    """What is used of a pattern of the library `regex`, which can be stopped."""

    @property
    def flags(self) -> int: ...

    def search(self, string: str, *, timeout: float | None = None) -> Match | None: ...

    def finditer(self, string: str, *, timeout: float | None = None) -> Iterator[Match]: ...


class Allowance:
    """Runs patterns over texts, one text after the other, until the text's time is used up."""

    def __init__(
        self, overran: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.thread_time
    ) -> None:
        """`overran` is called whenever a text is given up on."""
        self._overran = overran
        self._clock = clock
        self._most_s = MOST_S
        self._left_s = MOST_S

    def begin(self, characters: int, patterns: int) -> None:
        """From now on the time is that of another text."""
        self._most_s = min(self._most_s * _RECOVERY, MOST_S)
        self._left_s = min(self._most_s + characters * patterns * CHARACTER_S, LONGEST_S)

    def found(self, pattern: Pattern, text: str) -> bool:
        """Whether the pattern matches anywhere. Raises TooLong."""
        return self._run(lambda left_s: pattern.search(text, timeout=left_s) is not None)

    def spans(self, pattern: Pattern, text: str) -> list[Span]:
        """Where the pattern matches, empty matches left out. Raises TooLong."""

        def run(left_s: float) -> list[Span]:
            spans = [match.span() for match in pattern.finditer(text, timeout=left_s)]
            return [(start, end) for start, end in spans if end > start]

        return self._run(run)

    def _run(self, run: Callable[[float], T]) -> T:
        while self._left_s > _NOTHING_S:
            began = self._clock()
            try:
                return run(self._left_s)
            except TimeoutError:
                # The library counts what other threads compute as well: there may be time left.
                pass
            finally:
                self._left_s -= self._clock() - began
        self._most_s = max(self._most_s / 2, LEAST_S)
        self._overran()
        raise TooLong
