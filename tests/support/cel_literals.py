"""Whether a CEL expression's lists and maps hold values of one type, as Kubernetes demands of literals.

The C++ library takes mixed ones; Kubernetes' `HomogeneousAggregateLiterals`
refuses them. Types are told by how an element is written, so an element must
say it: a literal, or `string(…)`, `int(…)`, `dyn(…)`, `optional.of(dyn(…))`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CLOSING = {"[": "]", "{": "}", "(": ")"}


def mixed(expression: str) -> list[str]:
    """The list and map literals whose values are of several types, or do not say of which."""
    found = []
    for opening, inner in literals(expression):
        values = split(inner, ",")
        if opening == "{":
            values = [each.partition(":")[2] for each in values]
        kinds = {kind(each.strip()) for each in values}
        if len(kinds) > 1 or (len(values) > 1 and "unknown" in kinds):
            found.append(f"{opening}{inner}{CLOSING[opening]}")
    return found


def kind(element: str) -> str:
    """The type that an element is written as."""
    element = element.removeprefix("?").strip()
    while element.startswith("(") and _end(element, 0) == len(element) - 1:
        element = element[1:-1].strip()
    condition = split(element, "?")
    if len(condition) > 1 and "optional" in element:
        # `c ? optional.of(dyn(…)) : optional.none()`, at any depth.
        options = re.findall(r"optional\.of\((\w+)\(", element)
        return options[0] if options and len(set(options)) == 1 else "unknown"
    first = split(element, "+")[0].strip()
    called = re.match(r"(string|int|dyn)\(", first)
    if called and _end(first, called.end() - 1) == len(first) - 1:
        return called[1]
    if re.fullmatch(r"'(?:[^'\\]|\\.)*'", first):
        return "string"
    if re.fullmatch(r"-?[0-9]+", first):
        return "int"
    if first.startswith("[") and _end(first, 0) == len(first) - 1:
        return "list of " + "/".join(sorted({kind(each.strip()) for each in split(first[1:-1], ",")}))
    if first.startswith("{") and _end(first, 0) == len(first) - 1:
        return "map of " + "/".join(
            sorted({kind(each.partition(":")[2].strip()) for each in split(first[1:-1], ",")})
        )
    return "JSONPatch" if re.match(r"JSONPatch\{", first) else "unknown"


def literals(expression: str) -> Iterator[tuple[str, str]]:
    """Every list and map literal: its opening bracket, and what is inside. Messages and indexes are none."""
    for at in _outside_strings(expression):
        if expression[at] not in "[{":
            continue
        before = expression[:at].rstrip()[-1:]
        if before and (before.isalnum() or before in "_)]"):
            continue
        inner = expression[at + 1 : _end(expression, at)]
        if inner.strip():
            yield expression[at], inner


def split(text: str, separator: str) -> list[str]:
    """Parts between separators that stand outside of brackets and strings."""
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] in CLOSING:
            at = _end(text, at)
        elif text[at] == "'":
            at = _end_of_string(text, at)
        elif text[at] == separator and not (separator == "?" and text[at - 1] == "."):
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _end(text: str, at: int) -> int:
    """Where the bracket that opens at `at` closes."""
    depth = 0
    while at < len(text):
        if text[at] == "'":
            at = _end_of_string(text, at)
        elif text[at] in CLOSING:
            depth += 1
        elif text[at] in CLOSING.values():
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise ValueError("a bracket is not closed")


def _end_of_string(text: str, at: int) -> int:
    at += 1
    while text[at] != "'":
        at += 2 if text[at] == "\\" else 1
    return at


def _outside_strings(text: str) -> Iterator[int]:
    at = 0
    while at < len(text):
        if text[at] == "'":
            at = _end_of_string(text, at)
        else:
            yield at
        at += 1
