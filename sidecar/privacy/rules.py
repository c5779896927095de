"""Redaction rules: `WHERE=ACTION` as one line of text, or the same two as a YAML mapping.

    [request.|response.]body:JSONPATH     values inside a JSON body
    [request.|response.]header:NAME       a header, interim heads and trailers too; `*` stands for any letters
    query:KEY                             a parameter of the request's target
    [request.|response.]regex:PATTERN     text in bodies, header values and the target
    client                                the peer's address, as the column `client` has it

`ACTION` is `drop`, `mask` or `hash`. Without a prefix a rule holds for both
sides. The last `=` of the text ends WHERE, so a pattern may hold others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sidecar.privacy.allowance import Pattern
from sidecar.privacy.jsonpath import Path

MAX_RULES: Final = 256
MAX_RULE_CHARACTERS: Final = 1024

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SHAPE = (
    "write WHERE=ACTION, for example request.body:$.applicant.name=mask, header:x-customer=hash, "
    "query:email=drop"
)


class Action(Enum):
    """What becomes of a value that a rule finds."""

    DROP = "drop"
    MASK = "mask"
    HASH = "hash"


class Target(Enum):
    """What a rule looks into."""

    BODY = "body"
    HEADER = "header"
    QUERY = "query"
    REGEX = "regex"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Where:
    """A place in an exchange. `path` is set for bodies, `pattern` for regular expressions."""

    target: Target
    selector: str
    """JSONPath, header name (lower case), query key or regular expression."""
    request: bool = True
    response: bool = True
    path: Path | None = None
    pattern: Pattern | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `text` is its one-line form and its name in the column `redacted`."""

    text: str
    where: Where
    action: Action


def parse_rule(text: str) -> Rule:
    """The rule in one line of text. Raises ValueError, phrased to follow the offending text."""
    if len(text) > MAX_RULE_CHARACTERS:
        raise ValueError(f"has more than {MAX_RULE_CHARACTERS} characters: split it into several rules")
    place, equals, action = text.rpartition("=")
    if not equals or not place:
        raise ValueError(f"is no redaction rule: {_SHAPE}")
    try:
        what = Action(action.strip())
    except ValueError:
        raise ValueError("does not end in =drop, =mask or =hash") from None
    where = parse_where(place.strip())
    return Rule(f"{_name(where)}={what.value}", where, what)


def split_lines(text: str) -> list[str]:
    """Several rules (or keys) in one text, as in an environment variable: one a line.

    No character could part them instead: a regular expression may hold any.
    """
    return [line.strip() for line in text.splitlines() if line.strip()]


def parse_mapping(mapping: Mapping[str, str]) -> Rule:
    """The rule in a YAML mapping: `where: request.body:$.applicant.name`, `action: mask`.

    Raises ValueError, phrased to follow the offending text.
    """
    if mapping.keys() != {"where", "action"}:
        raise ValueError("must have the keys where and action, and no others")
    return parse_rule(f"{mapping['where']}={mapping['action']}")


def parse_where(text: str, allowed: Collection[Target] = tuple(Target)) -> Where:
    """A place such as `request.body:$.applicant.id` or `header:x-customer`; ValueError as `parse_rule`."""
    if text == Target.CLIENT.value and Target.CLIENT in allowed:
        return Where(Target.CLIENT, "", True, False)
    place, colon, selector = text.partition(":")
    side, dot, kind = place.rpartition(".")
    kinds = [target.value for target in allowed if target is not Target.CLIENT]
    if not colon or kind not in kinds or (dot and side not in ("request", "response")):
        raise ValueError(
            f"does not begin with one of {', '.join(kinds)} and a colon "
            "(after request. or response. to mean one side only)"
            + (", and is not client" if Target.CLIENT in allowed else "")
        )
    target = Target(kind)
    request, response = side != "response", side != "request"
    if not selector or len(selector) > MAX_RULE_CHARACTERS:
        raise ValueError(f"needs 1 to {MAX_RULE_CHARACTERS} characters after {place}:")
    if target is Target.HEADER:
        if not _TOKEN.fullmatch(selector):
            raise ValueError("has no valid header name after the colon")
        return Where(target, selector.lower(), request, response)
    if target is Target.QUERY:
        if side:
            raise ValueError("has a side, but only requests have a query: write query:KEY")
        return Where(target, selector, True, False)
    if target is Target.BODY:
        return Where(target, selector, request, response, path=Path(selector))
    return Where(target, selector, request, response, pattern=_pattern(selector))


def _pattern(text: str) -> Pattern:
    # Loaded for the first rule that needs it. Python's own engine cannot be stopped.
    import regex  # type: ignore[import-untyped]

    try:
        pattern: Pattern = regex.compile(text)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise ValueError(f"has no valid regular expression: {error}: write one as in Python's re") from error
    if pattern.flags & regex.LOCALE or pattern.search("", timeout=1.0) is not None:
        raise ValueError("matches the empty text, which is everywhere: write a narrower regular expression")
    return pattern


def _name(where: Where) -> str:
    if where.target is Target.CLIENT:
        return "client"
    side = "" if where.request == where.response or where.target is Target.QUERY else None
    prefix = side if side is not None else ("request." if where.request else "response.")
    return f"{prefix}{where.target.value}:{where.selector}"


DEFAULT_HEADERS: Final = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "cookie2",
    "set-cookie",
    "set-cookie2",
    "*api-key",
    "*apikey",
    "*api-token",
    "*auth-token",
    "*auth-key",
    "*access-token",
    "*id-token",
    "*session-token",
    "*security-token",
    "*metadata-token",
    "*csrf-token",
    "*xsrf-token",
    "*vault-token",
    "*private-token",
    "*gitlab-token",
    "*subscription-key",
    "*functions-key",
    "*-secret",
    "*-password",
    "*jwt-assertion",
    "x-amzn-oidc-*",
    "x-registry-auth",
)
"""Headers that carry credentials; dropped unless the default rules are switched off."""

DEFAULT_RULES: Final = tuple(
    Rule(f"header:{name}=drop", Where(Target.HEADER, name), Action.DROP) for name in DEFAULT_HEADERS
)
