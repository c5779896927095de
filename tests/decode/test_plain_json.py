"""Hand-written services: an object of features and whatever they answer."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.decode.registry import Decoding
from sidecar.errors import DecodeError
from tests.decode.messages import LIMIT, observe, request, response

ASKED = {"income": 3.5, "single": True, "score": None, "name": "x"}
INPUTS = {"income": [3.5], "single": [True], "score": [None], "name": ["x"]}


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        ({"deny": 1, "p": 0.7}, {"deny": [1], "p": [0.7]}),
        ({"deny": [1]}, {"deny": [1]}),
        ({"p": [0.3, 0.7]}, {"p": [[0.3, 0.7]]}),
        ({"result": {"deny": True, "why": {"code": "a"}}}, {"result.deny": [True], "result.why.code": ["a"]}),
        (1, {"output": [1]}),
        ("denied", {"output": ["denied"]}),
        (None, {"output": [None]}),
        ([1], {"output": [1]}),
        ([[0.3, 0.7]], {"output[0]": [0.3], "output[1]": [0.7]}),
        ([0.3, 0.7], {"output": [[0.3, 0.7]]}),
        ([{"deny": 1}], {"deny": [1]}),
        ({"results": [{"deny": 1, "why": {"code": 2}}]}, {"results.deny": [1], "results.why.code": [2]}),
        ({"p": [[0.3, 0.7]]}, {"p": [[[0.3, 0.7]]]}),
        ({}, {}),
    ],
)
def test_one_object_and_any_answer(answer: Any, outputs: dict[str, Any]) -> None:
    observation = observe("/predict", ASKED, answer)
    assert (observation.decoder, observation.instances, observation.inputs) == ("plain_json", 1, INPUTS)
    assert observation.outputs == outputs


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        ([0, 1], {"output": [0, 1]}),
        ([{"deny": 0}, {"deny": 1}], {"deny": [0, 1]}),
        ({"deny": [0, 1], "version": "7"}, {"deny": [0, 1]}),
        ({"results": [{"deny": 0}, {"deny": 1}]}, {"results.deny": [0, 1]}),
        ({"p": [[1, 2], [3, 4]]}, {"p": [[1, 2], [3, 4]]}),
    ],
)
def test_a_list_of_objects_is_a_batch(answer: Any, outputs: dict[str, Any]) -> None:
    observation = observe("/predict", [{"x": 1}, {"x": 2}], answer)
    assert (observation.inputs, observation.outputs) == ({"x": [1, 2]}, outputs)


def test_nested_objects_get_dotted_names_and_arrays_stay_whole() -> None:
    observation = observe("/predict", {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": []}, 1)
    assert observation.inputs == {"a.b": [1], "a.c.d": [[1, 2]], "e": [[]]}


def test_of_repeated_keys_the_last_counts() -> None:
    asked = request(b'{"x": 1, "x": {"y": 1}, "x": 2}')
    assert Decoding("auto", LIMIT).observe("/", asked, response(b'{"p": 1, "p": 0}')).inputs == {"x": [2]}


@pytest.mark.parametrize("answer", [1, "x", [1], [0, 1, 2]])
def test_an_answer_that_does_not_fit_a_batch_is_refused(answer: Any) -> None:
    with pytest.raises(DecodeError, match="answer"):
        observe("/predict", [{"x": 1}, {"x": 2}], answer)


@pytest.mark.parametrize("asked", [[{"x": 1}, 2], "text", 5, [], [1]])
def test_what_is_no_object_of_features_is_refused(asked: Any) -> None:
    with pytest.raises(DecodeError):
        observe("/predict", asked, 1)
