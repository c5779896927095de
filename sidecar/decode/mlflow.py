"""MLflow's scoring protocol: `POST /invocations` with a dataframe or a tensor.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally (accepted input formats).
"""

from __future__ import annotations

from typing import Any

from sidecar.decode.columns import (
    SCALARS,
    Columns,
    array_value,
    check_cells,
    from_columnar,
    from_records,
    from_rows,
    kind_of,
)
from sidecar.decode.payload import ABSENT, Target
from sidecar.decode.predictions import answer_columns
from sidecar.errors import DecodeError
from sidecar.records import Observation

_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Mlflow:
    """`dataframe_split`, `dataframe_records`, `instances` and `inputs`."""

    name = "mlflow"

    def target(self, path: str) -> Target | None:
        """Any path that ends in `/invocations`; it names no model."""
        return Target() if path.rstrip("/").endswith("/invocations") else None

    def fits(self, request: Any) -> bool:
        """Whether a dataframe is there; tensors alone look like TensorFlow Serving's."""
        return type(request) is dict and ("dataframe_split" in request or "dataframe_records" in request)

    def observe(self, target: Target, request: Any, answer: Any) -> Observation:
        """Columns of the dataframe and the predictions; see docs/decoders.md for their names."""
        if type(request) is not dict:
            raise DecodeError(f"request: an object was expected where {kind_of(request)} is")
        key = next((key for key in _KEYS if key in request), None)
        if key is None:
            raise DecodeError(f"request: none of {', '.join(_KEYS)}")
        value = request[key]
        what = f"request.{key}"
        if key == "dataframe_split":
            instances, inputs = _split(value, what)
        elif key == "inputs":
            instances, inputs = from_columnar(key, value, what)
        elif type(value) is not list:
            raise DecodeError(f"{what}: a list was expected where {kind_of(value)} is")
        else:
            instances = len(value)
            inputs = from_rows(key, value, what) if key == "instances" else from_records(value, what)
        outputs = {} if answer is ABSENT else answer_columns(answer, instances)
        return Observation(self.name, instances, inputs, outputs, target.model, target.version)


def _split(frame: Any, what: str) -> tuple[int, Columns]:
    if type(frame) is not dict:
        raise DecodeError(f"{what}: an object was expected where {kind_of(frame)} is")
    rows, columns = frame.get("data"), frame.get("columns")
    if type(rows) is not list:
        raise DecodeError(f"{what}: no list 'data'")
    if columns is None:
        first = rows[0] if rows else []
        columns = list(range(len(first))) if type(first) is list else []
    if type(columns) is not list:
        raise DecodeError(f"{what}: no list 'columns'")
    names = [_label(column, what) for column in columns]
    width = len(names)
    if len(set(names)) != width:
        raise DecodeError(f"{what}: two columns of one name")
    check_cells(len(rows), width, what)
    for index, row in enumerate(rows):
        if type(row) is not list or len(row) != width:
            raise DecodeError(f"{what}: row {index} is not a list of {width} values")
        if not SCALARS.issuperset(map(type, row)):
            rows[index] = [array_value(value, what) for value in row]
    if not rows:
        return 0, {name: [] for name in names}
    return len(rows), dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _label(column: Any, what: str) -> str:
    """Pandas labels columns with strings, numbers, or (several levels) lists of these."""
    if type(column) is str:
        return column
    if type(column) is list and all(type(part) in SCALARS for part in column):
        return ".".join(map(str, column))
    if type(column) in SCALARS:
        return str(column)
    raise DecodeError(f"{what}: a column's name is {kind_of(column)}")
