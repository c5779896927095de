"""Open Inference Protocol V2 over REST: tensors with names, shapes and datatypes.

https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
"""

from __future__ import annotations

import re
from itertools import chain
from math import prod
from typing import Any

from sidecar.decode.columns import (
    MAX_COLUMNS_OF_ARRAY,
    SCALARS,
    Columns,
    array_names,
    checked_rows,
    kind_of,
)
from sidecar.decode.payload import ABSENT, Target
from sidecar.errors import DecodeError
from sidecar.records import Observation

_PATH = re.compile(r"(?:.*/)?v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer/?", re.DOTALL)
_MAX_NESTING = 16
_SIZES = frozenset({int})
Tensor = tuple[str, int, int, int, list[Any]]
"""Name, dimensions, size of the first one, product of the others, values row by row."""


class OpenInference:
    """`POST /v2/models/NAME[/versions/V]/infer`."""

    name = "open_inference"

    def target(self, path: str) -> Target | None:
        """Model and version out of the path, under any prefix."""
        return Target.matched(_PATH, path)

    def fits(self, request: Any) -> bool:
        """Whether there is a list of named tensors."""
        if type(request) is not dict:
            return False
        inputs = request.get("inputs")
        if type(inputs) is not list or not inputs or type(inputs[0]) is not dict:
            return False
        return "name" in inputs[0] and "shape" in inputs[0]

    def observe(self, target: Target, request: Any, answer: Any) -> Observation:
        """Columns of the input and the output tensors; see docs/decoders.md for shapes."""
        tensors = _tensors(request, "inputs", "request")
        instances = _instances(tensors)
        inputs = _columns(tensors, instances, "request.inputs")
        outputs: Columns = {}
        name, version, identifier = target.model, target.version, _text(request, "id")
        if answer is not ABSENT:
            results = _tensors(answer, "outputs", "answer")
            outputs = checked_rows(
                _columns(results, instances, "answer.outputs"), instances, "answer.outputs"
            )
            name = name or _text(answer, "model_name")
            version = version or _text(answer, "model_version")
            identifier = identifier or _text(answer, "id")
        return Observation(self.name, instances, inputs, outputs, name, version, identifier)


def _text(payload: dict[str, Any], key: str) -> str | None:
    value = payload.get(key)
    return value if type(value) is str and value else None


def _tensors(payload: Any, key: str, where: str) -> list[Tensor]:
    if type(payload) is not dict:
        raise DecodeError(f"{where}: an object was expected where {kind_of(payload)} is")
    listed = payload.get(key)
    if type(listed) is not list:
        raise DecodeError(f"{where}: no list {key!r}")
    tensors = []
    for index, item in enumerate(listed):
        try:
            tensors.append(_tensor(item))
        except _MalformedError as error:
            raise DecodeError(f"{where}.{key}[{index}]: {error}") from None
    return tensors


class _MalformedError(Exception):
    """What is wrong with one tensor; where it stands is added by the caller."""


def _tensor(item: Any) -> Tensor:
    if type(item) is not dict:
        raise _MalformedError(f"an object was expected where {kind_of(item)} is")
    name, shape, data = item.get("name"), item.get("shape"), item.get("data")
    if type(name) is not str:
        raise _MalformedError("no name")
    if type(shape) is not list or not _SIZES.issuperset(map(type, shape)) or (shape and min(shape) < 0):
        raise _MalformedError("shape is not a list of sizes")
    if type(data) is not list:
        parameters = item.get("parameters")
        if type(parameters) is dict and "binary_data_size" in parameters:
            raise _MalformedError("binary tensor data is not supported, only JSON")
        raise _MalformedError("no list 'data'")
    if not SCALARS.issuperset(map(type, data)):
        data = _flat(data)
    batch = shape[0] if shape else 1
    width = prod(shape[1:]) if len(shape) > 1 else 1
    if batch * width != len(data):
        raise _MalformedError(f"{len(data)} values do not fill the shape {str(shape)[:80]}")
    if item.get("datatype") == "BOOL":
        data = [bool(value) if type(value) is int and value in (0, 1) else value for value in data]
    return name, len(shape), batch, width, data


def _flat(data: list[Any]) -> list[Any]:
    """The specification lets `data` be nested as the shape says, or flat."""
    for _ in range(_MAX_NESTING):
        types = set(map(type, data))
        if types <= SCALARS:
            return data
        if types != {list}:
            raise _MalformedError("data holds something else than scalars in nested lists")
        data = list(chain.from_iterable(data))
    raise _MalformedError(f"data is nested deeper than {_MAX_NESTING} levels")


def _instances(tensors: list[Tensor]) -> int:
    """The first dimension that all inputs share; 1 if they share none, as no batch can be told then."""
    sizes = {batch for _, _, batch, _, _ in tensors}
    return sizes.pop() if len(sizes) == 1 else 1


def _columns(tensors: list[Tensor], instances: int, what: str) -> Columns:
    columns: Columns = {}
    for name, dimensions, batch, width, data in tensors:
        if batch != instances and instances == 1:
            columns[name] = [data]
        elif width == 1:
            columns[name] = data
        elif dimensions == 2 and 0 < width <= MAX_COLUMNS_OF_ARRAY:
            names = array_names(name, width, what)
            columns.update((label, data[index::width]) for index, label in enumerate(names))
        else:
            columns[name] = [data[at * width : (at + 1) * width] for at in range(batch)]
    return columns
