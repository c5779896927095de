"""MLflow's scoring protocol: dataframes, tensors and predictions."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import DecodeError
from tests.decode.messages import observe

PATH = "/invocations"


def split(data: list[Any], **more: Any) -> dict[str, Any]:
    return {"dataframe_split": {"data": data, **more}}


@pytest.mark.parametrize(
    ("asked", "inputs"),
    [
        (split([[1, "a"], [2, None]], columns=["x", "y"], index=[0, 1]), {"x": [1, 2], "y": ["a", None]}),
        (split([[1, 2]], columns=[0, ["a", 1]]), {"0": [1], "a.1": [2]}),
        (split([[1, 2]]), {"0": [1], "1": [2]}),
        (split([], columns=["x"]), {"x": []}),
        (split([[[1, 2]], [[3]]], columns=["x"]), {"x": [[1, 2], [3]]}),
        (split([[{"b64": "eHk="}, 1]], columns=["x", "y"]), {"x": ["eHk="], "y": [1]}),
        ({"dataframe_records": [{"x": 1}, {"x": 2, "y": True}]}, {"x": [1, 2], "y": [None, True]}),
        ({"inputs": {"x": [1, 2]}}, {"x": [1, 2]}),
        ({"inputs": [[1, 2], [3, 4]]}, {"inputs[0]": [1, 3], "inputs[1]": [2, 4]}),
        ({"instances": [{"x": 1}], "params": {"t": 1}}, {"x": [1]}),
    ],
)
def test_every_input_format_becomes_columns(asked: Any, inputs: dict[str, Any]) -> None:
    observation = observe(PATH, asked, {}, status=400)
    assert (observation.decoder, observation.inputs) == ("mlflow", inputs)


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        ({"predictions": [0, 1]}, {"predictions": [0, 1]}),
        ([0, 1], {"predictions": [0, 1]}),
        ({"predictions": [{"p": 0}, {"p": 1}]}, {"p": [0, 1]}),
        ([{"0": 0}, {"0": 1}], {"0": [0, 1]}),
        (
            {"predictions": [[0.1, 0.9], [0.8, 0.2]]},
            {"predictions[0]": [0.1, 0.8], "predictions[1]": [0.9, 0.2]},
        ),
        ({"predictions": {"p": [0, 1]}}, {"p": [0, 1]}),
    ],
)
def test_answers_become_columns(answer: Any, outputs: dict[str, Any]) -> None:
    assert observe(PATH, split([[1], [2]], columns=["x"]), answer).outputs == outputs


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"columns": ["x"], "data": [[1]]}, "none of dataframe_split"),
        (split([[1, 2]], columns=["x"]), "row 0 is not a list of 1 values"),
        (split([5], columns=["x"]), "row 0 is not a list"),
        (split([[1, 2]], columns=["x", "x"]), "two columns of one name"),
        (split([[{"a": 1}]], columns=["x"]), "an object where a scalar or an array was expected"),
        (split([[1]], columns="x"), "no list 'columns'"),
        (split([[1]], columns=[{}]), "a column's name is an object"),
        ({"dataframe_split": []}, "an object was expected"),
        ({"dataframe_split": {"columns": ["x"]}}, "no list 'data'"),
        ({"dataframe_records": {"x": 1}}, "a list was expected"),
        ({"dataframe_records": [1]}, "an object was expected"),
    ],
)
def test_a_malformed_request_is_refused_with_the_reason(asked: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        observe(PATH, asked, {"predictions": [1]})
