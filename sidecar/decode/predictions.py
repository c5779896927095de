"""The answers that KServe/TF-Serving V1 and MLflow share: `predictions` by row, `outputs` by column."""

from __future__ import annotations

from typing import Any

from sidecar.decode.columns import Columns, checked_rows, from_columnar, from_rows, kind_of
from sidecar.errors import DecodeError


def answer_columns(answer: Any, instances: int) -> Columns:
    """Columns of an answer, one value per instance; a bare list counts as `predictions`."""
    if type(answer) is list:
        return checked_rows(from_rows("predictions", answer, "answer"), instances, "answer")
    if type(answer) is not dict:
        raise DecodeError(f"answer: an object was expected where {kind_of(answer)} is")
    for key in ("predictions", "outputs"):
        if key in answer:
            value = answer[key]
            what = f"answer.{key}"
            if key == "predictions" and type(value) is list:
                columns = from_rows(key, value, what)
            else:
                _, columns = from_columnar(key, value, what)
            return checked_rows(columns, instances, what)
    raise DecodeError("answer: neither 'predictions' nor 'outputs'")
