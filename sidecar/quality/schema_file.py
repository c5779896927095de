"""Schema files, read: YAML → rules. Strict: whatever is not understood is said in one line.

Scalars are what they look like: `no` and `2026-11-25` are texts, only `true`
and `false` are booleans, only decimal numbers are numbers.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import yaml

from sidecar.quality.automaton import Automaton
from sidecar.quality.formats import FORMATS
from sidecar.quality.relation import parse_relation
from sidecar.quality.rules import RULES, TYPES, VERSION, FieldRules, RelationRule, Schema, valid_path
from sidecar.quality.window import MAX_WINDOW

MAX_BYTES: Final = 8 << 20
MAX_RULES: Final = 2_000
MAX_ALLOWED: Final = 10_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, Any]] = {"": None, "~": None, "null": None, "true": True, "false": False}


class SchemaError(ValueError):
    """Where and what is wrong with a schema, and what is accepted; one line."""


def parse_schema(data: bytes, name: str) -> Schema:
    """The rules in a file's bytes; `name` is the file's, for messages. Raises SchemaError."""
    if len(data) > MAX_BYTES:
        raise SchemaError(
            f"{name}: has {len(data):,} bytes, a schema has at most {MAX_BYTES:,}: split the model"
        )
    root = _Place(name, _composed(data, name), "", 1)
    entries = root.entries(("version", "fields", "relations"))
    version = entries["version"].scalar() if "version" in entries else None
    if version != VERSION or isinstance(version, bool):
        at = entries.get("version", root)
        raise at.wrong(
            f"says version {_shown(version)}, this build reads {VERSION}: use a Sidecar that knows it"
        )
    fields: dict[str, FieldRules] = {}
    for path, place in (entries["fields"].entries() if "fields" in entries else {}).items():
        if not valid_path(path):
            raise place.wrong("is no field: write inputs.NAME, outputs.NAME or exchange.NAME")
        fields[path] = _field(place)
    related = entries["relations"].items() if "relations" in entries else []
    relations: list[RelationRule] = []
    for each in related:
        relation = _relation(each)
        if any(str(relation.relation) == str(known.relation) for known in relations):
            raise each.wrong(f"{str(relation.relation)!r} stands there twice: keep one")
        relations.append(relation)
    schema = Schema(fields, tuple(relations))
    if schema.rules > MAX_RULES:
        raise root.wrong(
            f"has {schema.rules:,} rules, at most {MAX_RULES:,} are checked: leave out the least useful"
        )
    return schema


def _composed(data: bytes, name: str) -> yaml.Node:
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SchemaError(
            f"{name}:{line}: not valid YAML: {error.problem or error.context}: correct that line"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0] if not isinstance(error, RecursionError) else "nested too deep"
        raise SchemaError(f"{name}:1: not valid YAML: {reason}: save it as UTF-8 text") from error
    if root is None:
        raise SchemaError(f"{name}: is empty: make one with `sidecar schema infer`")
    return root


class _Place:
    """A node of the document, with the words to say where it is."""

    def __init__(self, file: str, node: yaml.Node, path: str, line: int) -> None:
        self._file, self._node, self._path, self._line = file, node, path, line

    def wrong(self, what: str) -> SchemaError:
        where = f"{self._file}:{self._line}"
        return SchemaError(f"{where}: {self._path}: {what}" if self._path else f"{where}: {what}")

    def entries(self, known: Iterable[str] | None = None) -> dict[str, _Place]:
        if isinstance(self._node, yaml.ScalarNode) and self.scalar() is None:
            return {}
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong("must hold `key: value` lines")
        found: dict[str, _Place] = {}
        for key_node, value in self._node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            path = f"{self._path}: {key}" if self._path else key
            place = _Place(self._file, value, path, key_node.start_mark.line + 1)
            if known is not None and key not in known:
                close = difflib.get_close_matches(key, list(known), n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise place.wrong(f"no such key{hint}: there are {', '.join(known)}")
            if key in found:
                raise place.wrong("stands there twice: keep one")
            found[key] = place
        return found

    def items(self) -> list[_Place]:
        if isinstance(self._node, yaml.ScalarNode) and self.scalar() is None:
            return []
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong("must be a list")
        return [_Place(self._file, each, self._path, each.start_mark.line + 1) for each in self._node.value]

    def scalar(self) -> Any:
        """Text, number, boolean or None, as it looks."""
        node = self._node
        if not isinstance(node, yaml.ScalarNode):
            raise self.wrong("must be a single value")
        text = str(node.value)
        if node.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def read(self, accepts: Callable[[Any], bool], what: str) -> Any:
        """The scalar, once it is accepted; else an error that says `must be …`."""
        value = self.scalar()
        if not accepts(value):
            raise self.wrong(f"is {_shown(value)}, must be {what}")
        return value

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)


def _field(place: _Place) -> FieldRules:
    values: dict[str, Any] = {}
    for name, each in place.entries((*RULES, "tolerate")).items():
        values[name] = _PARSERS[name](each)
    return FieldRules(**values)


def _relation(place: _Place) -> RelationRule:
    tolerate = 0.0
    if place.is_mapping:
        entries = place.entries(("rule", "tolerate"))
        if "rule" not in entries:
            raise place.wrong("lacks its `rule`: write rule: inputs.low <= inputs.high")
        tolerate = _share(entries["tolerate"]) if "tolerate" in entries else 0.0
        place = entries["rule"]
    text = place.read(lambda value: type(value) is str, "a relation such as inputs.low <= inputs.high")
    try:
        return RelationRule(parse_relation(text), tolerate)
    except ValueError as error:
        raise place.wrong(f"{text!r} {error}") from error


def _share(place: _Place) -> float:
    return float(place.read(lambda value: _is_number(value) and 0 <= value <= 1, "a share from 0 to 1"))


def _pair(place: _Place, accepts: Callable[[Any], bool], what: str) -> tuple[Any, Any]:
    wanted = f"[least, most], each {what} or null for none"
    items = place.items()
    if len(items) != 2:
        raise place.wrong(f"has {len(items)} values, must be {wanted}")
    low, high = (
        each.read(lambda value: value is None or accepts(value), f"{what} or null") for each in items
    )
    if low is None and high is None:
        raise place.wrong(f"bounds nothing, must be {wanted}")
    if low is not None and high is not None and low > high:
        raise place.wrong(f"begins at {low} above its end {high}: turn them round")
    return low, high


def _range(place: _Place) -> tuple[Any, Any]:
    return _pair(place, _is_number, "a number")


def _length(place: _Place) -> tuple[Any, Any]:
    return _pair(place, lambda value: type(value) is int and value >= 0, "a count")


def _allowed(place: _Place) -> tuple[Any, ...]:
    items = place.items()
    if not 0 < len(items) <= MAX_ALLOWED:
        raise place.wrong(f"has {len(items):,} values, must be a list of 1 to {MAX_ALLOWED:,}")
    accepts = "a text, number, true or false; for nulls there is `nulls`"
    return tuple(each.read(lambda value: value is not None, accepts) for each in items)


def _one_of(place: _Place, names: Iterable[str]) -> str:
    value: str = place.read(lambda value: value in names, f"one of {', '.join(names)}")
    return value


def _pattern(place: _Place) -> str:
    text: str = place.read(lambda value: type(value) is str, "a regular expression in quotes")
    try:
        Automaton(text)
    except ValueError as error:
        raise place.wrong(f"{text[:80]!r} {error}") from error
    return text


def _unique(place: _Place) -> int:
    count: int = place.read(
        lambda value: type(value) is int and 0 < value <= MAX_WINDOW,
        f"how many values to look back, 1 to {MAX_WINDOW:,}",
    )
    return count


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


_PARSERS: dict[str, Callable[[_Place], Any]] = {
    "type": lambda place: _one_of(place, TYPES),
    "range": _range,
    "length": _length,
    "allowed": _allowed,
    "format": lambda place: _one_of(place, tuple(FORMATS)),
    "pattern": _pattern,
    "nulls": _share,
    "unique": _unique,
    "tolerate": _share,
}
