"""RFC 6902 as far as injection makes it: `add`, `replace` and `remove`, on JSON values and on YAML nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import StringIO
from typing import Any

import yaml

from sidecar.inject.pod import Object
from sidecar.inject.yaml_nodes import Dumper


def apply(value: Any, patch: Iterable[Object]) -> Any:
    """A JSON value with the patch applied; the value itself stays as it is."""
    copied = json.loads(json.dumps(value))
    for operation in patch:
        _apply(_Values(copied), operation)
    return copied


def apply_to_nodes(root: yaml.Node, patch: Iterable[Object]) -> None:
    """Changes the tree, in which no node may stand twice."""
    for operation in patch:
        _apply(_Nodes(root), operation)


def _node(value: Any) -> yaml.Node:
    return Dumper(StringIO(), sort_keys=False).represent_data(value)


class _Values:
    """A place in a JSON value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def below(self, token: str) -> _Values:
        return _Values(self.value[int(token)] if isinstance(self.value, list) else self.value[token])

    def put(self, token: str, value: Any, replace: bool) -> None:
        if not isinstance(self.value, list):
            self.value[token] = value
        elif replace:
            self.value[int(token)] = value
        else:
            self.value.insert(len(self.value) if token == "-" else int(token), value)

    def drop(self, token: str) -> None:
        del self.value[int(token) if isinstance(self.value, list) else token]


class _Nodes:
    """A place in a tree of YAML nodes."""

    def __init__(self, node: yaml.Node) -> None:
        self.node = node

    def below(self, token: str) -> _Nodes:
        if isinstance(self.node, yaml.SequenceNode):
            return _Nodes(self.node.value[int(token)])
        return _Nodes(self.node.value[self._at(token)][1])

    def _at(self, token: str) -> int:
        # Of a key that is given twice, YAML readers take the last.
        return max(at for at, (key, _) in enumerate(self.node.value) if key.value == token)

    def put(self, token: str, value: Any, replace: bool) -> None:
        node = _node(value)
        if isinstance(self.node, yaml.SequenceNode):
            at = len(self.node.value) if token == "-" else int(token)
            self.node.value[at : at + int(replace)] = [node]
            _unfold(self.node)
            return
        assert isinstance(self.node, yaml.MappingNode)
        key = yaml.ScalarNode("tag:yaml.org,2002:str", token)
        known = any(each.value == token for each, _ in self.node.value)
        at = self._at(token) if known else len(self.node.value)
        self.node.value[at : at + 1] = [(self.node.value[at][0] if known else key, node)]
        _unfold(self.node)

    def drop(self, token: str) -> None:
        del self.node.value[int(token) if isinstance(self.node, yaml.SequenceNode) else self._at(token)]


def _unfold(node: yaml.CollectionNode) -> None:
    """`{}` and `[]` that were filled are written over lines; what had content in one line stays so."""
    if len(node.value) == 1:
        node.flow_style = False


def _apply(place: _Values | _Nodes, operation: Object) -> None:
    *above, last = [token.replace("~1", "/").replace("~0", "~") for token in operation["path"].split("/")[1:]]
    for token in above:
        place = place.below(token)
    if operation["op"] == "remove":
        place.drop(last)
    else:
        place.put(last, operation["value"], operation["op"] == "replace")
