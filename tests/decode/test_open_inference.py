"""Open Inference Protocol V2: tensors and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import DecodeError
from tests.decode.messages import observe

PATH = "/v2/models/loans/infer"


def tensor(
    name: str, shape: list[int], data: list[Any], datatype: str = "FP64", **more: Any
) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


def answer(*tensors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"outputs": list(tensors), **more}


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        ("/v2/models/loans/infer", "loans", None),
        ("/v2/models/loans/versions/3/infer", "loans", "3"),
        ("/seldon/ns/x/v2/models/a%20b/versions/v%2F1/infer?trace=1", "a b", "v/1"),
        ("http://host:8000/v2/models/loans/infer", "loans", None),
    ],
)
def test_the_path_names_model_and_version(path: str, model: str, version: str | None) -> None:
    observation = observe(path, {"inputs": [tensor("x", [1], [1])]}, answer(model_name="other"))
    assert (observation.model_name, observation.model_version) == (model, version)


def test_the_answer_names_what_the_path_does_not() -> None:
    result = answer(model_name="loans", model_version="7", id="abc")
    observation = observe("/infer", {"inputs": [tensor("x", [1], [1])]}, result)
    assert (observation.model_name, observation.model_version, observation.request_id) == (
        "loans",
        "7",
        "abc",
    )


def test_the_client_s_request_id_wins_over_the_server_s() -> None:
    asked = {"id": "mine", "inputs": [tensor("x", [1], [1])]}
    assert observe(PATH, asked, answer(id="theirs")).request_id == "mine"


@pytest.mark.parametrize("shape", [[3], [3, 1], [3, 1, 1]])
def test_a_tensor_of_one_value_per_row_is_one_feature(shape: list[int]) -> None:
    asked = {"inputs": [tensor("a", shape, [1, 2, 3]), tensor("b", shape, ["x", "y", "z"], "BYTES")]}
    observation = observe(PATH, asked, answer(tensor("p", [3], [0.5, 0.6, 0.7])))
    assert observation.instances == 3
    assert observation.inputs == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
    assert observation.outputs == {"p": [0.5, 0.6, 0.7]}


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]])
def test_a_matrix_becomes_a_column_per_position(data: list[Any]) -> None:
    observation = observe(
        PATH, {"inputs": [tensor("x", [2, 3], data)]}, answer(tensor("p", [2, 2], [1, 2, 3, 4]))
    )
    assert observation.inputs == {"x[0]": [1, 4], "x[1]": [2, 5], "x[2]": [3, 6]}
    assert observation.outputs == {"p[0]": [1, 3], "p[1]": [2, 4]}


def test_500_columns_are_split_and_501_stay_an_array() -> None:
    asked = {"inputs": [tensor("x", [1, 500], list(range(500))), tensor("y", [1, 501], list(range(501)))]}
    observation = observe(PATH, asked, answer())
    assert len(observation.inputs) == 501
    assert observation.inputs["x[499]"] == [499]
    assert observation.inputs["y"] == [list(range(501))]


def test_more_dimensions_stay_one_flat_array_per_instance() -> None:
    observation = observe(PATH, {"inputs": [tensor("x", [2, 2, 2], list(range(8)))]}, answer())
    assert observation.inputs == {"x": [[0, 1, 2, 3], [4, 5, 6, 7]]}


def test_inputs_that_share_no_batch_are_arrays_of_one_instance() -> None:
    asked = {"inputs": [tensor("x", [2], [1, 2]), tensor("y", [3], [1, 2, 3])]}
    observation = observe(PATH, asked, answer(tensor("boxes", [4], [1, 2, 3, 4])))
    assert observation.instances == 1
    assert observation.inputs == {"x": [[1, 2]], "y": [[1, 2, 3]]}
    assert observation.outputs == {"boxes": [[1, 2, 3, 4]]}


def test_parameters_do_not_disturb() -> None:
    asked = {
        "id": "1",
        "parameters": {"content_type": "pd", "headers": {"x": ["y"]}},
        "inputs": [tensor("x", [1], ["a"], "BYTES", parameters={"content_type": "str"})],
        "outputs": [{"name": "predict", "parameters": {"content_type": "np"}}],
    }
    result = answer(tensor("predict", [1, 1], [1], "INT64", parameters={"content_type": "np"}), parameters={})
    observation = observe(PATH, asked, result)
    assert (observation.inputs, observation.outputs) == ({"x": ["a"]}, {"predict": [1]})


def test_booleans_written_as_numbers_are_booleans() -> None:
    observation = observe(PATH, {"inputs": [tensor("x", [3], [0, 1, True], "BOOL")]}, answer())
    assert observation.inputs["x"] == [False, True, True]
    assert all(type(value) is bool for value in observation.inputs["x"])


def test_an_empty_batch_has_no_instances() -> None:
    observation = observe(PATH, {"inputs": [tensor("x", [0, 2], [])]}, answer(tensor("p", [0], [])))
    assert (observation.instances, observation.inputs, observation.outputs) == (
        0,
        {"x[0]": [], "x[1]": []},
        {"p": []},
    )


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (5, "an object was expected where a number is"),
        ({"shape": [1], "data": [1]}, "no name"),
        ({"name": "x", "data": [1]}, "shape is not a list of sizes"),
        ({"name": "x", "shape": [-1], "data": [1]}, "shape is not a list of sizes"),
        ({"name": "x", "shape": [True], "data": [1]}, "shape is not a list of sizes"),
        ({"name": "x", "shape": [1]}, "no list 'data'"),
        (
            {"name": "x", "shape": [1], "parameters": {"binary_data_size": 8}},
            "binary tensor data is not supported",
        ),
        ({"name": "x", "shape": [2], "data": [1]}, "1 values do not fill the shape"),
        ({"name": "x", "shape": [10**30, 10**30], "data": [1]}, "1 values do not fill|not a list of sizes"),
        ({"name": "x", "shape": [1], "data": [{}]}, "something else than scalars"),
        ({"name": "x", "shape": [2], "data": [1, [2]]}, "something else than scalars"),
    ],
)
def test_a_malformed_tensor_is_named_with_the_reason(item: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=rf"request\.inputs\[1\]: .*({reason})"):
        observe(PATH, {"inputs": [tensor("a", [1], [1]), item]}, answer())
