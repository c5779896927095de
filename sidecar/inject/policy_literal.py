"""JSON values as CEL literals, with expressions in place of what only the pod tells.

Kubernetes wants the elements of a list or a map to be of one type, so the
values of a map stand in `dyn()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, cast

Holes = Mapping[str, str]
"""CEL expressions of texts by name. In a value, `hole(name)` stands for one, as a whole or within a text."""
_HOLE = re.compile(r"@@([a-z_]+)@@")


class Expression(str):
    """A value that is CEL already."""


class NumberHole(str):
    """Stands for a whole number. Within a text, or as one, it is a text hole."""


def hole(name: str) -> str:
    """The text that stands for an expression."""
    return f"@@{name}@@"


def number_hole(name: str) -> int:
    """What stands for a number where only texts and objects are made of it."""
    return cast(int, NumberHole(hole(name)))


def quoted(text: str) -> str:
    """A CEL string."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def literal(value: Any, holes: Holes) -> str:
    """The CEL expression of a JSON value whose holes are these."""
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, NumberHole):
        return f"int({holes[value.strip('@')]})"
    if isinstance(value, str):
        return _text(value, holes)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)}: {_dyn(each, holes)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        alike = len({type(each) for each in value}) <= 1 and not any(each in ({}, []) for each in value)
        return "[" + ", ".join((literal if alike else _dyn)(each, holes) for each in value) + "]"
    raise TypeError(f"no JSON that a patch holds: {value!r}")


def _dyn(value: Any, holes: Holes) -> str:
    return f"dyn({literal(value, holes)})"


def _text(value: str, holes: Holes) -> str:
    parts: list[str] = []
    end = 0
    for match in _HOLE.finditer(value):
        parts += [quoted(value[end : match.start()])] if match.start() > end else []
        parts.append(holes[match[1]])
        end = match.end()
    if end < len(value) or not parts:
        parts.append(quoted(value[end:]))
    return parts[0] if len(parts) == 1 else " + ".join(parts)


Known = tuple[bool, ...]
"""How conditions stand, in their order."""


def decided(conditions: Sequence[str], made: Mapping[Known, Any], text: Callable[[Any], str]) -> str:
    """The CEL expression that gives `text` of what is made where, asking only conditions that matter."""
    matter = [
        index
        for index in range(len(conditions))
        if any(made[known] != made[(*known[:index], False, *known[index + 1 :])] for known in made)
    ]

    def below(known: dict[int, bool]) -> str:
        if len(known) == len(matter):
            return text(made[tuple(known.get(index, False) for index in range(len(conditions)))])
        index = matter[len(known)]
        yes, no = below(known | {index: True}), below(known | {index: False})
        return yes if yes == no else f"({conditions[index]} ? {yes} : {no})"

    return below({})


def every_case(conditions: Sequence[str], make: Callable[[Known], Any]) -> dict[Known, Any]:
    """What is made for every way in which the conditions can stand."""
    return {known: make(known) for known in product((True, False), repeat=len(conditions))}


def object_of(conditions: Sequence[str], made: Mapping[Known, Mapping[str, Any]], holes: Holes) -> str:
    """The CEL map of an object of which some keys, or their values, hang on conditions."""
    entries = []
    for key, option, value in _varying(conditions, made, holes):
        entries.append(f"{option}{quoted(key)}: {value}")
    return "{" + ", ".join(entries) + "}"


def list_of(conditions: Sequence[str], made: Mapping[Known, Mapping[str, Any]], holes: Holes) -> str:
    """The CEL list of the values of such an object."""
    return "[" + ", ".join(f"{option}{value}" for _, option, value in _varying(conditions, made, holes)) + "]"


def _varying(
    conditions: Sequence[str], made: Mapping[Known, Mapping[str, Any]], holes: Holes
) -> Iterator[tuple[str, str, str]]:
    """Key, `?` where it is not always there, and the expression of its value."""
    most = max(made.values(), key=len)
    for key in dict.fromkeys((*most, *(key for each in made.values() for key in each))):
        values = {known: each.get(key) for known, each in made.items()}
        if None not in values.values():
            value = decided(conditions, values, lambda value: literal(value, holes))
            # As a whole, so that it is seen to be of the type of the other values.
            yield key, "", f"dyn({value})"
        else:
            yield key, "?", decided(conditions, values, lambda value: _option(value, holes))


def _option(value: Any, holes: Holes) -> str:
    return "optional.none()" if value is None else f"optional.of({_dyn(value, holes)})"
