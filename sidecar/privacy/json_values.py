"""JSONPath rules over a JSON body: the same body with other values at the places they match.

The body is written anew, compact, with the same members in the same order and
every number that orjson would not give back digit for digit kept as it was
written. A body whose meaning is not certain (repeated member names, lone
surrogates) is refused rather than changed silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from sidecar.privacy.jsonpath import Location, Unresolved, value_at
from sidecar.privacy.replacement import MASK, Replacer, value_bytes
from sidecar.privacy.rules import Action, Rule

MAX_DIGITS: Final = 1000
_BOM = b"\xef\xbb\xbf"
# Numbers that a round trip through 64-bit integers and doubles could change, and -0.
_UNUSUAL_NUMBER = re.compile(rb"[0-9]{16}|[0-9][eE]|-0(?![.0-9])|NaN|Infinity")


class Unreadable(Exception):
    """The body cannot be looked into; the text says why without quoting any of it."""


def redact_json(
    body: bytes, rules: Sequence[Rule], replacer: Replacer, hits: set[str]
) -> tuple[bytes, set[str]]:
    """The body under JSONPath rules (the same object if none matches), and the digests put into it.

    Raises Unreadable. Of several rules that match one place the first applies.
    """
    value = _parse(body)
    changes: dict[Location, tuple[Action, str]] = {}
    try:
        for rule in rules:
            assert rule.where.path is not None
            for location in rule.where.path.locations(value):
                hits.add(rule.text)
                if location not in changes:
                    found = value_at(value, location)
                    hashed = rule.action is Action.HASH
                    changes[location] = rule.action, replacer.hash(value_bytes(found)) if hashed else MASK
    except Unresolved as error:
        raise Unreadable("a JSONPath could not be run over it") from error
    if not changes:
        return body, set()
    if _UNUSUAL_NUMBER.search(body):
        value = _parse_verbatim(body)
    # Deepest first: whatever is inside a replaced value goes with it.
    for location in sorted(changes, key=len, reverse=True):
        action, new = changes[location]
        if not location:
            value = None if action is Action.DROP else new
            continue
        parent: Any = value_at(value, location[:-1])
        if action is not Action.DROP:
            parent[location[-1]] = new
        elif isinstance(parent, list):
            # The others keep their places: columns and tensors mean by position.
            parent[int(location[-1])] = None
        else:
            del parent[location[-1]]
    dropped_whole = () in changes and changes[()][0] is Action.DROP
    digests = {new for action, new in changes.values() if action is Action.HASH}
    return b"" if dropped_whole else orjson.dumps(value), digests


def _parse(body: bytes) -> Any:
    """The value in `body`. Raises Unreadable if it is no JSON or says something twice."""
    try:
        value = orjson.loads(body)
        written = orjson.dumps(value)
    except (orjson.JSONDecodeError, TypeError):
        return _parse_slowly(body)
    # A repeated name loses a colon on the way through a dict, unless an escape hid one (\u003a).
    # An integer beyond 64 bits became a float, which orjson writes with an exponent.
    if b"\\u003" in body or body.count(b":") != written.count(b":") or b"e+" in written:
        return _parse_slowly(body)
    return value


def _parse_slowly(body: bytes) -> Any:
    """As Python's clients write it: with NaN, big integers and a byte order mark."""
    return _load(body, parse_int=_integer)


def _parse_verbatim(body: bytes) -> Any:
    """The same value with every number as the characters that stand in the body."""
    return _load(body, parse_int=_verbatim, parse_float=_verbatim, parse_constant=_verbatim)


def _load(body: bytes, **hooks: Any) -> Any:
    try:
        value = json.loads(body.removeprefix(_BOM).decode("utf-8"), object_pairs_hook=_members, **hooks)
        # What cannot be written again (lone surrogates, extreme nesting) must not be found out later.
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except Unreadable:
        raise
    except (ValueError, RecursionError, TypeError) as error:
        raise Unreadable("it is not JSON") from error
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable("it names a member twice")
    return members


def _integer(digits: str) -> int | float:
    # Exact, so that large numbers have hashes of their own; Python refuses to read thousands of digits.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _verbatim(text: str) -> orjson.Fragment:
    return orjson.Fragment(text)
