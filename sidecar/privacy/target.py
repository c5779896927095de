"""The request's target (and other URLs in a head): query rules and regular expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus, unquote_to_bytes

from sidecar.privacy.patterns import Patterns, encoded
from sidecar.privacy.replacement import Replacer
from sidecar.privacy.rules import Rule

_PAIRS = re.compile(r"([&;])")
_SEGMENTS = re.compile(r"([/&;?=])")


class TargetRules:
    """Rewrites URLs: nothing but the values that a rule names changes."""

    def __init__(self, query: Mapping[str, Rule], patterns: Patterns, replacer: Replacer) -> None:
        """`query` maps keys, casefolded, to their rules."""
        self._query = query
        self._patterns = patterns
        self._replacer = replacer

    def __bool__(self) -> bool:
        return bool(self._query) or bool(self._patterns)

    def parameters(self, target: str, hits: set[str], keep: set[str]) -> str:
        """`target` under the query rules; digests that were put into it are added to `keep`."""
        path, mark, query = target.partition("?")
        if not mark or not self._query:
            return target
        pieces = _PAIRS.split(query)
        for index in range(0, len(pieces), 2):
            key, equals, value = pieces[index].partition("=")
            rule = self._query.get(unquote_plus(key).strip().casefold())
            if rule is None or not value:
                continue
            hits.add(rule.text)
            plain = unquote_to_bytes(value.replace("+", " "))
            new = self._replacer.text(rule.action, plain)
            keep.add(new)
            pieces[index] = key + equals + new
        return path + mark + "".join(pieces)

    def target(self, target: str, hits: set[str]) -> str:
        """A request's target under all rules."""
        keep: set[str] = set()
        target = self.parameters(target, hits, keep)
        if not self._patterns:
            return target
        keep.discard("")
        target = self._patterns.replace(target, hits, keep)
        if not encoded(target):
            return target
        pieces = _SEGMENTS.split(target)
        pieces[::2] = [self._patterns.value(piece, hits, keep) for piece in pieces[::2]]
        target = "".join(pieces)
        rule = self._patterns.concealed(target)
        if rule is not None:
            # The match spans several segments or parameters: none of them can be left.
            hits.add(rule.text)
            return "/" + self._patterns.replacement(rule, target)
        return target

    def form(self, body: str, hits: set[str]) -> str:
        """A form's body: regular expressions over its keys and values; query rules are about targets."""
        body = self._patterns.replace(body, hits)
        if not encoded(body):
            return body
        pieces = re.split(r"([&=])", body)
        pieces[::2] = [self._patterns.value(piece, hits) for piece in pieces[::2]]
        return "".join(pieces)
