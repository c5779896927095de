"""YAML as Kubernetes reads it, and its node trees."""

from __future__ import annotations

import re
from typing import Any

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_READ_OTHERWISE = re.compile(r"^([-+.~0-9].*|[yYnN]|null|NULL|Null)$", re.DOTALL)
"""Plain scalars that some YAML reader of the Kubernetes world takes for a number, a truth value or null."""
MOST_NODES = 1_000_000
"""Of one document with its aliases written out: a few lines of YAML can stand for billions."""


class ManifestError(Exception):
    """Text that is no YAML or JSON of Kubernetes objects; the message says where."""


class Loader(yaml.SafeLoader):
    """Reads dates and numbers to base 60 as the text they are: JSON, and so Kubernetes, has none."""


class Dumper(yaml.SafeDumper):
    """Writes no aliases, and dates as plain text."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Of plain scalars: no dates, and no numbers to base 60 (`12:30:45`), which are texts to Kubernetes."""
    return {
        first: [
            (tag, re.compile(f"(?!.*:)(?:{pattern.pattern})", pattern.flags) if tag in _NUMBERS else pattern)
            for tag, pattern in resolvers
            if tag != _TIMESTAMP
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


for _each in (Loader, Dumper):
    _each.yaml_implicit_resolvers = _resolvers()


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _READ_OTHERWISE.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _represent_text)


def written_out(root: yaml.Node) -> yaml.Node:
    """A copy of the tree in which nothing is shared and no key is merged in. Raises ManifestError."""
    try:
        return _copied(root, [0])
    except RecursionError as error:
        raise ManifestError("it is nested too deeply, or contains itself") from error


def _copied(node: yaml.Node, count: list[int]) -> yaml.Node:
    count[0] += 1
    if count[0] > MOST_NODES:
        raise ManifestError(f"its aliases stand for more than {MOST_NODES} values")
    if isinstance(node, yaml.MappingNode):
        yaml.constructor.SafeConstructor().flatten_mapping(node)
        value: Any = [(_copied(key, count), _copied(each, count)) for key, each in node.value]
    elif isinstance(node, yaml.SequenceNode):
        value = [_copied(each, count) for each in node.value]
    else:
        value = node.value
    copied = type(node)(node.tag, value, node.start_mark, node.end_mark)
    copied.style = getattr(node, "style", None)  # type: ignore[attr-defined]
    if isinstance(node, yaml.CollectionNode) and isinstance(copied, yaml.CollectionNode):
        copied.flow_style = node.flow_style
    return copied
