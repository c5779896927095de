"""Regular expression rules over text, also where the text is written in another way than the pattern.

A match is replaced where it stands. Beyond that a value is looked at with its
percent-encoding, JSON escapes and numeric character references undone; if a
pattern matches only then, the whole value is replaced.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final
from urllib.parse import unquote

from sidecar.privacy.allowance import Allowance, Pattern, Span
from sidecar.privacy.replacement import Replacer
from sidecar.privacy.rules import Rule

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = re.compile(r"[%\\]|&#")
_CONTROL: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_PERCENT_DEPTH: Final = 3
"""How often percent-encoding is undone: URLs travel inside URLs."""


class Patterns:
    """The regular expressions that hold for one side, in the order of their rules.

    Whatever runs them raises TooLong when they would compute over the text for too long.
    """

    def __init__(self, rules: Sequence[Rule], replacer: Replacer, allowance: Allowance) -> None:
        self.rules = [(rule, rule.where.pattern) for rule in rules if rule.where.pattern is not None]
        self._replacer = replacer
        self._allowance = allowance

    def __bool__(self) -> bool:
        return bool(self.rules)

    def begin(self, characters: int) -> None:
        """What comes now is a text of its own, of that length: it has its own time for all patterns."""
        if self.rules:
            self._allowance.begin(characters, len(self.rules))

    def quiet(self, text: str) -> bool:
        """Whether nothing in `text` can concern any rule: the common case, told quickly."""
        if self._any(text) or _ESCAPED.search(text):
            return False
        return "+" not in text or not self._any(text.replace("+", " "))

    def found(self, text: str) -> list[tuple[Rule, Pattern]]:
        """The rules whose patterns match in `text`."""
        return [each for each in self.rules if self._allowance.found(each[1], text)]

    def matches(self, pattern: Pattern, text: str, keep: Collection[str] = ()) -> list[Span]:
        """Spans of the matches that are not empty and not inside a kept text."""
        spans = self._allowance.spans(pattern, text)
        if not spans or not keep:
            return spans
        kept = [found.span() for digest in keep for found in re.finditer(re.escape(digest), text)]
        return [(a, b) for a, b in spans if not any(start <= a and b <= end for start, end in kept)]

    def replace(self, text: str, hits: set[str], keep: Collection[str] = ()) -> str:
        """`text` with every match replaced, except inside the texts in `keep` (digests just put there)."""
        for rule, pattern in self.rules:
            spans = self.matches(pattern, text, keep)
            if spans:
                hits.add(rule.text)
                text = splice(text, [(span, self.replacement(rule, text[slice(*span)])) for span in spans])
        return text

    def concealed(self, text: str) -> Rule | None:
        """The first rule that matches `text` once its encodings are undone."""
        if not encoded(text):
            return None
        for variant in _variants(text):
            for rule, pattern in self.rules:
                if self._allowance.spans(pattern, variant):
                    return rule
        return None

    def value(self, text: str, hits: set[str], keep: Collection[str] = ()) -> str:
        """A single value: matches replaced, or the whole of it if a match hides in an encoding."""
        if text in keep:
            return text
        replaced = self.replace(text, hits, keep)
        rule = self.concealed(replaced)
        if rule is None:
            return replaced
        hits.add(rule.text)
        return self.replacement(rule, text)

    def replacement(self, rule: Rule, matched: str) -> str:
        return self._replacer.text(rule.action, matched.encode("utf-8", "surrogatepass"))

    def _any(self, text: str) -> bool:
        return any(self._allowance.found(pattern, text) for _, pattern in self.rules)


def splice(text: str, changes: Sequence[tuple[Span, str]]) -> str:
    """`text` with each span replaced; the spans are in order and do not overlap."""
    pieces: list[str] = []
    at = 0
    for (start, end), new in changes:
        pieces += (text[at:start], new)
        at = end
    return "".join(pieces) + text[at:]


def encoded(text: str) -> bool:
    """Whether some of `text` may be written in an encoding that patterns do not see through."""
    return "+" in text or _ESCAPED.search(text) is not None


def unescape(text: str) -> str:
    """`text` with JSON's backslash escapes undone, wherever they stand."""
    return _ESCAPE.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else _CONTROL.get(match[2], match[2]), text
    )


def _variants(text: str) -> Iterator[str]:
    """What `text` may mean: each encoding undone, a `+` also as the space that it is in a form."""
    spaced = text.replace("+", " ")
    if spaced != text:
        yield spaced
    for read in (text, spaced)[: 1 + (spaced != text)]:
        for _ in range(_PERCENT_DEPTH):
            if "%" not in read:
                break
            yield unquote(read, "latin-1")
            read = unquote(read)
            yield read
        if "\\" in read:
            read = unescape(read)
            yield read
        if "&#" in read:
            yield html.unescape(read)
