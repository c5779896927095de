"""Values of a row, made from what was recorded and decoded."""

from __future__ import annotations

from json import dumps as dumps_any
from typing import Any

import orjson

from sidecar.records import Observation
from sidecar.schema import ROW_COLUMNS

Row = tuple[Any, ...]
"""Values of one row in the order of `ROW_COLUMNS`."""


def sparse(**values: Any) -> Row:
    """A row with these values and nothing else."""
    return tuple(values.get(name) for name in ROW_COLUMNS)


def decision_of(observation: Observation) -> str | None:
    """The first output's first value as text, if it is a scalar: what `find --decision` looks for."""
    for values in observation.outputs.values():
        value = values[0] if values else None
        if isinstance(value, str):
            return value
        return None if value is None or isinstance(value, (list, dict)) else json_text(value)
    return None


def decoded_json(inputs: str | None, outputs: str | None, decision: str | None) -> bytes | None:
    """What is encrypted in place of the decoded columns: one JSON object, None if nothing was decoded."""
    if inputs is None or outputs is None:
        return None
    return f'{{"inputs":{inputs},"outputs":{outputs},"decision":{json_text(decision)}}}'.encode()


def json_text(value: Any) -> str:
    """Value as JSON; what orjson refuses (huge integers, lone surrogates), the json module takes."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        return dumps_any(value, default=str)


def request_line(line: bytes) -> tuple[str | None, str | None]:
    """Method and target of a request line; None for each that is not there."""
    parts = line.split(b" ")
    if len(parts) != 3:
        return None, None
    return parts[0].decode("latin-1"), parts[1].decode("latin-1")


def status_of(head: bytes) -> int | None:
    digits = head[9:12]
    return int(digits) if digits.isdigit() and len(digits) == 3 else None
