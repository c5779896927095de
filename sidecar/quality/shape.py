"""Texts of one shape, such as AB-123456, as a pattern."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from itertools import groupby
from typing import Final

LONGEST: Final = 40
_CLASSES: Final = (
    (frozenset(string.digits), "[0-9]"),
    (frozenset(string.ascii_uppercase), "[A-Z]"),
    (frozenset(string.ascii_lowercase), "[a-z]"),
    (frozenset(string.ascii_letters), "[A-Za-z]"),
    (frozenset(string.ascii_uppercase + string.digits), "[A-Z0-9]"),
    (frozenset(string.ascii_lowercase + string.digits), "[a-z0-9]"),
    (frozenset(string.ascii_letters + string.digits), "[A-Za-z0-9]"),
)
_LETTERS: Final = _CLASSES[-1][0]
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")


class Shape:
    """The characters that were seen at each place, as long as all texts have the same length."""

    def __init__(self) -> None:
        self._places: list[set[str]] | None = None
        self._broken = False

    def add(self, texts: Iterable[str]) -> None:
        """Take in some more texts."""
        for text in texts:
            if self._broken:
                return
            if self._places is None:
                self._places = [set() for _ in text]
            if len(text) != len(self._places) or not 2 <= len(text) <= LONGEST:
                self._broken, self._places = True, None
                return
            for seen, character in zip(self._places, text, strict=True):
                seen.add(character)
                if len(seen) > 1 and not seen <= _LETTERS:
                    self._broken, self._places = True, None
                    return

    def pattern(self) -> str | None:
        """A pattern that all texts match; None when there is none that says something."""
        if not self._places:
            return None
        classes = [_class(seen) for seen in self._places]
        if not any(each.startswith("[") for each in classes):
            return None
        parts = []
        for each, run in groupby(classes):
            count = sum(1 for _ in run)
            parts.append(f"{each}{{{count}}}" if count > 1 and each.startswith("[") else each * count)
        return "".join(parts)


def _class(seen: set[str]) -> str:
    if len(seen) == 1:
        (only,) = seen
        # A single digit may be one by chance; what stands between the parts is not.
        if only not in _LETTERS:
            return _SPECIAL.sub(r"\\\g<0>", only)
    return next(name for characters, name in _CLASSES if seen <= characters)
