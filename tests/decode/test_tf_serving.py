"""KServe V1 and TensorFlow Serving: rows, columns and predictions."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import DecodeError
from tests.decode.messages import observe

PATH = "/v1/models/loans:predict"


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        ("/v1/models/loans:predict", "loans", None),
        ("/prefix/v1/models/loans/versions/3:predict", "loans", "3"),
        ("/v1/models/loans/labels/stable:predict?x=1", "loans", "stable"),
    ],
)
def test_the_path_names_model_and_version(path: str, model: str, version: str | None) -> None:
    observation = observe(path, {"instances": [1]}, {"predictions": [1]})
    assert (observation.model_name, observation.model_version) == (model, version)


@pytest.mark.parametrize(
    ("instances", "inputs"),
    [
        ([1, 2.5, None], {"instances": [1, 2.5, None]}),
        ([[1, "a"], [2, "b"]], {"instances[0]": [1, 2], "instances[1]": ["a", "b"]}),
        ([[1], [1, 2]], {"instances": [[1], [1, 2]]}),
        ([[[1, 2]], [[3, 4]]], {"instances": [[[1, 2]], [[3, 4]]]}),
        ([{"a": 1}, {"b": 2}], {"a": [1, None], "b": [None, 2]}),
        ([{"a": {"b": {"c": 1}}, "d": [1, 2]}], {"a.b.c": [1], "d": [[1, 2]]}),
        ([{"b64": "eHk="}], {"instances": ["eHk="]}),
        ([{"image": {"b64": "eHk="}}], {"image": ["eHk="]}),
        ([], {}),
    ],
)
def test_rows_become_columns(instances: list[Any], inputs: dict[str, Any]) -> None:
    observation = observe(PATH, {"signature_name": "x", "instances": instances}, {}, status=500)
    assert (observation.instances, observation.inputs) == (len(instances), inputs)


@pytest.mark.parametrize(
    ("value", "instances", "inputs"),
    [
        ({"a": [1, 2], "b": [[1, 2], [3, 4]]}, 2, {"a": [1, 2], "b[0]": [1, 3], "b[1]": [2, 4]}),
        ([[1, 2], [3, 4]], 2, {"inputs[0]": [1, 3], "inputs[1]": [2, 4]}),
        ([1, 2], 2, {"inputs": [1, 2]}),
        ({"a": 1}, 1, {"a": [1]}),
        ({}, 0, {}),
    ],
)
def test_columns_stay_columns(value: Any, instances: int, inputs: dict[str, Any]) -> None:
    observation = observe(PATH, {"inputs": value}, {}, status=500)
    assert (observation.instances, observation.inputs) == (instances, inputs)


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        ({"predictions": [0, 1]}, {"predictions": [0, 1]}),
        (
            {"predictions": [[0.1, 0.9], [0.8, 0.2]]},
            {"predictions[0]": [0.1, 0.8], "predictions[1]": [0.9, 0.2]},
        ),
        ({"predictions": [{"label": "a"}, {"label": "b"}]}, {"label": ["a", "b"]}),
        ({"outputs": [0, 1]}, {"outputs": [0, 1]}),
        ({"outputs": {"p": [0, 1], "q": [[1], [2]]}}, {"p": [0, 1], "q[0]": [1, 2]}),
    ],
)
def test_answers_become_columns(answer: Any, outputs: dict[str, Any]) -> None:
    assert observe(PATH, {"instances": [1, 2]}, answer).outputs == outputs


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ([1], "an object was expected where an array is"),
        ({}, "neither 'instances' nor 'inputs'"),
        ({"instances": {"a": 1}}, "a list was expected where an object is"),
        ({"instances": [{"a": 1}, 2]}, "objects and other rows are mixed"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "columns of different lengths"),
    ],
)
def test_a_malformed_request_is_refused_with_the_reason(asked: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        observe(PATH, asked, {"predictions": [1]})


@pytest.mark.parametrize(
    "answer", [{}, 1, {"prediction": [1]}, {"predictions": [1, 2]}, {"predictions": [{}, 1]}]
)
def test_an_answer_that_says_nothing_of_the_instances_is_refused(answer: Any) -> None:
    with pytest.raises(DecodeError, match="answer"):
        observe(PATH, {"instances": [1]}, answer)


def test_a_sparse_table_too_large_to_hold_is_refused() -> None:
    with pytest.raises(DecodeError, match="rows of 3000 different fields"):
        observe(PATH, {"instances": [{str(index): 1} for index in range(3000)]}, {}, status=500)


def test_names_that_multiply_are_refused() -> None:
    with pytest.raises(DecodeError, match="1024 characters"):
        observe(PATH, {"inputs": {"n" * 2000: [[1, 2]]}}, {}, status=500)
    with pytest.raises(DecodeError, match="1024 characters"):
        observe(PATH, {"instances": [{"n" * 2000: {"a": 1, "b": 2}}]}, {}, status=500)
