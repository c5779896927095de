"""Regular expression rules over a JSON text, replaced in place so that it stays JSON."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Sequence

from sidecar.privacy.allowance import Span
from sidecar.privacy.patterns import Patterns, encoded, splice
from sidecar.privacy.rules import Action, Rule

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"{}\[\],:]+', re.DOTALL)


def scrub_json(text: str, patterns: Patterns, hits: set[str], keep: Collection[str]) -> str | None:
    """`text` under the patterns, the same object if none matches; None if it would not be JSON any more.

    A match inside a string is replaced there; a number that holds one is
    replaced whole, by a string or (`drop`) null. Strings are also looked at
    with their escapes undone.
    """
    before = text
    for rule, pattern in patterns.rules:
        spans = patterns.matches(pattern, text, keep)
        if spans:
            hits.add(rule.text)
            text = _replaced(text, spans, rule, patterns)
    if encoded(text):
        scrubbed = _strings(text, patterns, hits, keep)
        if scrubbed is None:
            return None
        text = scrubbed
    if text == before:
        return before
    return text if is_json(text) else None


def is_json(text: str) -> bool:
    """Whether `text` is one JSON value, as lenient as Python's parser."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _replaced(text: str, spans: Sequence[Span], rule: Rule, patterns: Patterns) -> str:
    tokens = [token.span() for token in _TOKEN.finditer(text)]
    starts = [start for start, _ in tokens]
    changes: list[tuple[Span, str]] = []
    for start, end in spans:
        new = patterns.replacement(rule, text[start:end])
        at = bisect_right(starts, start) - 1
        if at >= 0 and text[tokens[at][0]] != '"' and end <= tokens[at][1]:
            if changes and changes[-1][0] == tokens[at]:
                continue
            changes.append((tokens[at], "null" if rule.action is Action.DROP else f'"{new}"'))
        elif not changes or changes[-1][0][1] <= start:
            changes.append(((start, end), new))
    return splice(text, changes)


def _strings(text: str, patterns: Patterns, hits: set[str], keep: Collection[str]) -> str | None:
    """Strings that hold an encoding, as what they mean; None if one of them means nothing."""
    changes: list[tuple[Span, str]] = []
    for token in _TOKEN.finditer(text):
        written = token[0]
        if written[0] != '"' or not encoded(written):
            continue
        try:
            meant = json.loads(written, strict=False)
        except ValueError:
            return None
        new = patterns.value(meant, hits, keep=keep)
        if new != meant:
            changes.append((token.span(), json.dumps(new)))
    return splice(text, changes)
