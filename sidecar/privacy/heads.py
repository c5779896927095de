"""Heads, interim heads and trailers: header, query and regular expression rules over their bytes.

Only the values that a rule names change; every other byte stays. Lines may end
in CRLF, LF or CR alone and may be folded (RFC 9112 section 5.2): servers take
such heads, so credentials in them must be found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from sidecar.privacy.patterns import Patterns
from sidecar.privacy.replacement import Replacer
from sidecar.privacy.rules import Action, Rule
from sidecar.privacy.target import TargetRules

_LINE_END = re.compile(rb"(\r\n|\r|\n)")
_REQUEST_LINE = re.compile(r"(\S+ )(.*?)( HTTP/[0-9.]*)?", re.DOTALL)
_FIELD = re.compile(rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:[ \t]*")
_NAMES = re.compile(rb"(?:\A|[\r\n])[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:")
NAMES_KEPT: Final = 1024
_URL_HEADERS: Final = frozenset(
    (
        "referer",
        "location",
        "content-location",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-forwarded-uri",
        "x-envoy-original-path",
    )
)
"""Headers that repeat a request's target, whose query is under the query rules too."""


class HeadRules:
    """The rules for the heads of one side."""

    def __init__(
        self, headers: Sequence[Rule], target: TargetRules, patterns: Patterns, replacer: Replacer
    ) -> None:
        """`headers`: the rules by name, of which the first that fits a name counts."""
        self._headers = [(_glob(rule.where.selector), rule) for rule in headers]
        self._by_name: dict[bytes, Rule | None] = {}
        self._target = target
        self._patterns = patterns
        self._replacer = replacer

    def rewrite(self, head: bytes, hits: set[str]) -> bytes:
        """The head under the rules, the same object if none applies; adds the rules that did to `hits`.

        Raises TooLong.
        """
        if not self._target and not any(map(self._rule, _NAMES.findall(head))):
            return head
        self._patterns.begin(len(head))
        pieces = _LINE_END.split(head)
        lines = _unfolded(pieces, self._rule)
        changed = False
        for first, last in lines:
            line = b"".join(pieces[first : last + 1])
            new = self._line(line, first == 0, hits)
            if new is not line:
                changed = True
                pieces[first : last + 1] = [new] + [b""] * (last - first)
        return b"".join(pieces) if changed else head

    def _rule(self, name: bytes) -> Rule | None:
        """The rule for a header of that name, in whatever case."""
        if name not in self._by_name:
            if len(self._by_name) >= NAMES_KEPT:
                self._by_name.clear()
            text = name.decode("ascii").lower()
            fitting = (rule for glob, rule in self._headers if glob.fullmatch(text))
            self._by_name[name] = next(fitting, None)
        return self._by_name[name]

    def _line(self, line: bytes, first: bool, hits: set[str]) -> bytes:
        """One line with its folds; the same object if nothing changes."""
        field = _FIELD.match(line)
        rule = self._rule(field[1]) if field else None
        if field and rule is not None:
            value = line[field.end() :].strip()
            if not value:
                return line
            hits.add(rule.text)
            return line[: field.end()] + self._replacer.text(rule.action, value).encode()
        if not self._target or not line:
            return line
        text, encoding = _text(line)
        if field is None and (first or b" HTTP/" in line):
            new = self._request_line(text, hits)
        else:
            new = self._value(text, field, hits)
        return line if new == text else new.encode(encoding)

    def _request_line(self, text: str, hits: set[str]) -> str:
        if text.startswith("HTTP/"):
            # Version and status code stay, only the reason phrase is anybody's text.
            return text[:12] + self._patterns.value(text[12:], hits)
        match = _REQUEST_LINE.fullmatch(text)
        if match is None:
            return self._patterns.value(text, hits)
        return match[1] + self._target.target(match[2], hits) + (match[3] or "")

    def _value(self, text: str, field: re.Match[bytes] | None, hits: set[str]) -> str:
        keep: set[str] = set()
        start = field.end() if field else 0
        if field and field[1].decode("ascii").lower() in _URL_HEADERS:
            text = text[:start] + self._target.parameters(text[start:], hits, keep)
        if not self._patterns:
            return text
        keep.discard("")
        # Over the whole line, so that a pattern may speak of the name; folds count as the spaces they mean.
        flat = re.sub(r"[ \t]*(?:\r\n|\r|\n)[ \t]+", " ", text)
        replaced = self._patterns.replace(flat, hits, keep)
        rule = self._patterns.concealed(replaced)
        if rule is not None:
            hits.add(rule.text)
            return flat[:start] + self._patterns.replacement(rule, flat[start:])
        return text if replaced == flat else replaced


def without_header(head: bytes, name: bytes) -> bytes:
    """`head` without the lines of that header (lower-case name), folds included."""
    pieces = _LINE_END.split(head)
    for first, last in _unfolded(pieces, lambda _: None):
        field = _FIELD.match(pieces[first])
        if field and field[1].lower() == name:
            pieces[first : last + 2] = [b""] * len(pieces[first : last + 2])
    return b"".join(pieces)


def needs_key(rules: Sequence[Rule]) -> Rule | None:
    """The first rule that hashes, if any."""
    return next((rule for rule in rules if rule.action is Action.HASH), None)


def _glob(selector: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, selector.split("*"))))


def _unfolded(pieces: Sequence[bytes], rule: Callable[[bytes], Rule | None]) -> list[tuple[int, int]]:
    """Index ranges in `pieces` (lines and line ends by turns) of the lines, each with its folds.

    A fold that reads like a header with a rule is a line of its own: some servers take it for one.
    """
    lines: list[tuple[int, int]] = []
    for index in range(0, len(pieces), 2):
        line = pieces[index]
        if lines and line[:1] in (b" ", b"\t"):
            field = _FIELD.match(line)
            if field is None or rule(field[1]) is None:
                lines[-1] = (lines[-1][0], index)
                continue
        lines.append((index, index))
    return lines


def _text(line: bytes) -> tuple[str, str]:
    """The line as text, and the encoding that gives its bytes back."""
    try:
        return line.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return line.decode("latin-1"), "latin-1"
