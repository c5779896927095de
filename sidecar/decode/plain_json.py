"""A plain JSON object of features (or a list of such), answered by an object, a list or a scalar."""

from __future__ import annotations

from typing import Any

from sidecar.decode.columns import (
    MAX_NAME,
    SCALARS,
    Columns,
    array_value,
    checked_rows,
    flat_record,
    from_records,
    from_rows,
    kind_of,
)
from sidecar.decode.payload import ABSENT, Target
from sidecar.errors import DecodeError
from sidecar.records import Observation

OUTPUT = "output"
"""The name of an answer that is no object."""

_FLAT = SCALARS.issuperset
"""Asked before `flat_record` is called at all: this is the format of the highest rates."""


class PlainJson:
    """Whatever a hand-written service takes; tried last."""

    name = "plain_json"

    def target(self, path: str) -> Target | None:
        """Always None: no path is reserved."""
        return None

    def fits(self, request: Any) -> bool:
        """Whether the request is an object or a list of objects."""
        return type(request) is dict or (type(request) is list and bool(request) and type(request[0]) is dict)

    def observe(self, target: Target, request: Any, answer: Any) -> Observation:
        """The features as they are named; nested objects by dotted names."""
        if type(request) is dict:
            instances = 1
            flat = request if _FLAT(map(type, request.values())) else flat_record(request, "request")
            inputs = {name: [value] for name, value in flat.items()}
        elif type(request) is list:
            instances, inputs = len(request), from_records(request, "request")
        else:
            raise DecodeError(f"request: an object of features was expected where {kind_of(request)} is")
        outputs = {} if answer is ABSENT else _outputs(answer, instances)
        return Observation(self.name, instances, inputs, outputs, target.model, target.version)


def _outputs(answer: Any, instances: int) -> Columns:
    if type(answer) is dict:
        if instances == 1 and _FLAT(map(type, answer.values())):
            return {name: [value] for name, value in answer.items()}
        fields = flat_record(answer, "answer")
        columns: Columns = {}
        for name, value in fields.items():
            if type(value) is list and len(value) == instances:
                columns |= _per_instance(name, value)
            elif instances == 1:
                columns[name] = [value]
            # Else it is about the batch (a version, a duration), not about one instance.
        return columns
    if type(answer) is list and (len(answer) == instances or instances != 1):
        return checked_rows(from_rows(OUTPUT, answer, "answer"), instances, "answer")
    if instances != 1:
        raise DecodeError(f"answer: {kind_of(answer)} for {instances} instances")
    return {OUTPUT: [array_value(answer, "answer")]}


def _per_instance(name: str, values: list[Any]) -> Columns:
    """A member with one value per instance; `[1]` for one instance is how array-minded servers write 1."""
    if len(values) == 1 and type(values[0]) is list:
        return {name: [values]}
    if not values or set(map(type, values)) != {dict}:
        return {name: [array_value(value, "answer") for value in values]}
    if len(name) > MAX_NAME:
        raise DecodeError(f"answer: a field's name has more than {MAX_NAME} characters")
    return {f"{name}.{key}": column for key, column in from_records(values, "answer").items()}
