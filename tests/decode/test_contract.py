"""What every decoder promises, run for each wire format."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.decode.registry import DECODERS, NAMES, Decoding
from sidecar.errors import DecodeError
from sidecar.records import Message, Observation
from tests.decode.messages import LIMIT, observe, request, response


@dataclass(frozen=True)
class Case:
    """Two applications in one wire format, and the decisions on them."""

    decoder: str
    path: str
    request: Any
    answer: Any
    output: str


ROWS = [{"income": 3.5, "single": "no"}, {"income": 4, "single": "yes"}]
INPUTS = {"income": [3.5, 4], "single": ["no", "yes"]}
CASES = [
    Case(
        "open_inference",
        "/v2/models/loans/infer",
        {
            "inputs": [
                {"name": "income", "shape": [2, 1], "datatype": "FP64", "data": [3.5, 4]},
                {"name": "single", "shape": [2], "datatype": "BYTES", "data": ["no", "yes"]},
            ]
        },
        {
            "model_name": "loans",
            "outputs": [{"name": "deny", "shape": [2], "datatype": "INT64", "data": [0, 1]}],
        },
        "deny",
    ),
    Case(
        "tf_serving",
        "/v1/models/loans:predict",
        {"instances": ROWS},
        {"predictions": [0, 1]},
        "predictions",
    ),
    Case(
        "tf_serving",
        "/v1/models/loans:predict",
        {"inputs": INPUTS},
        {"outputs": {"deny": [0, 1]}},
        "deny",
    ),
    Case(
        "mlflow",
        "/invocations",
        {"dataframe_split": {"columns": ["income", "single"], "data": [[3.5, "no"], [4, "yes"]]}},
        {"predictions": [0, 1]},
        "predictions",
    ),
    Case("mlflow", "/invocations", {"dataframe_records": ROWS}, {"predictions": [0, 1]}, "predictions"),
    Case("plain_json", "/predict", ROWS, [{"deny": 0}, {"deny": 1}], "deny"),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.decoder}-{case.output}")
each_decoder = pytest.mark.parametrize("name", NAMES)


def check_shape(observation: Observation) -> None:
    """The promises of every observation: one value per instance, and all of it can be written as JSON."""
    for columns in (observation.inputs, observation.outputs):
        for name, values in columns.items():
            assert isinstance(name, str)
            assert isinstance(values, list)
            assert len(values) == observation.instances
            assert all(type(value) in (int, float, str, bool, list, type(None)) for value in values)
    assert json.loads(orjson.dumps([observation.inputs, observation.outputs])) is not None


@each_case
def test_inputs_and_outputs_have_one_value_per_instance(case: Case) -> None:
    observation = observe(case.path, case.request, case.answer)
    assert observation.decoder == case.decoder
    assert observation.instances == 2
    assert observation.inputs == INPUTS
    assert observation.outputs == {case.output: [0, 1]}
    check_shape(observation)


@each_case
def test_the_path_is_not_needed(case: Case) -> None:
    assert observe("/score", case.request, case.answer).inputs == INPUTS


@each_case
def test_a_configured_decoder_reads_its_format_on_any_path(case: Case) -> None:
    observation = observe("/score?x=1", case.request, case.answer, decoder=case.decoder)
    assert (observation.decoder, observation.inputs) == (case.decoder, INPUTS)


@each_case
@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_an_error_answer_leaves_outputs_empty(case: Case, status: int) -> None:
    observation = observe(case.path, case.request, {"error": "no"}, status=status)
    assert (observation.inputs, observation.outputs) == (INPUTS, {})


@each_case
def test_no_answer_at_all_leaves_outputs_empty(case: Case) -> None:
    asked = request(json.dumps(case.request).encode())
    observation = Decoding("auto", LIMIT).observe(case.path, asked, Message(b"", b"", complete=False))
    assert (observation.inputs, observation.outputs) == (INPUTS, {})


@each_case
def test_a_truncated_answer_is_a_decode_error(case: Case) -> None:
    asked, answer = json.dumps(case.request).encode(), json.dumps(case.answer).encode()
    for end in range(1, len(answer)):
        with pytest.raises(DecodeError):
            Decoding("auto", LIMIT).observe(case.path, request(asked), response(answer[:end]))


@each_case
def test_a_truncated_request_is_a_decode_error(case: Case) -> None:
    asked, answer = json.dumps(case.request).encode(), json.dumps(case.answer).encode()
    for end in range(len(asked)):
        with pytest.raises(DecodeError, match="request"):
            Decoding("auto", LIMIT).observe(case.path, request(asked[:end]), response(answer))


@each_case
def test_an_answer_for_another_number_of_instances_is_a_decode_error(case: Case) -> None:
    text = json.dumps(case.answer)
    if case.decoder == "open_inference":
        text = text.replace("[2]", "[3]")
    text = text.replace("[0, 1]", "[0, 1, 1]").replace('{"deny": 1}]', '{"deny": 1}, {"deny": 1}]')
    with pytest.raises(DecodeError, match="3 values for 2 instances"):
        observe(case.path, case.request, json.loads(text))


@each_case
def test_content_codings_and_a_byte_order_mark_change_nothing(case: Case) -> None:
    asked = b"\xef\xbb\xbf" + json.dumps(case.request).encode()
    answer = zlib.compress(json.dumps(case.answer).encode())
    observation = Decoding("auto", LIMIT).observe(
        case.path,
        request(
            gzip.compress(asked), "Content-Type: application/json; charset=utf-8", "content-encoding: gzip"
        ),
        response(answer, "CONTENT-ENCODING: deflate"),
    )
    assert (observation.inputs, observation.outputs) == (INPUTS, {case.output: [0, 1]})


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**18, max_value=10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["data", "b64", "name"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "inputs",
                        "outputs",
                        "instances",
                        "predictions",
                        "dataframe_split",
                        "dataframe_records",
                    ),
                    *("columns", "data", "name", "shape", "datatype", "parameters", "b64", "x"),
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
tensors = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=3) | json_values, "shape": st.lists(st.integers(-1, 4), max_size=3)},
        optional={
            "data": st.lists(json_values, max_size=6),
            "datatype": st.sampled_from(["BOOL", "BYTES", 1]),
        },
    ),
    max_size=3,
)
payloads = (
    json_values
    | st.fixed_dictionaries({"inputs": tensors | json_values})
    | st.fixed_dictionaries({"outputs": tensors | json_values})
    | st.fixed_dictionaries({"instances": st.lists(json_values, max_size=4)})
    | st.fixed_dictionaries({"predictions": st.lists(json_values, max_size=4)})
    | st.fixed_dictionaries(
        {
            "dataframe_split": st.fixed_dictionaries(
                {"data": st.lists(st.lists(json_values, max_size=2), max_size=3)},
                optional={"columns": st.lists(json_values, max_size=2)},
            )
        }
    )
)
paths = (
    st.sampled_from(["/v2/models/a/infer", "/v1/models/a:predict", "/invocations", "/predict", ""])
    | st.text()
)


def observation_or_error(name: str, path: str, asked: bytes, answer: bytes) -> None:
    try:
        observation = Decoding(name, LIMIT).observe(path, request(asked), response(answer))
    except DecodeError:
        return
    check_shape(observation)


@each_decoder
@given(path=paths, asked=st.binary(), answer=st.binary())
def test_arbitrary_bytes_give_an_observation_or_a_decode_error(
    name: str, path: str, asked: bytes, answer: bytes
) -> None:
    observation_or_error(name, path, asked, answer)


@each_decoder
@settings(max_examples=300)
@given(path=paths, asked=payloads, answer=payloads, cut=st.integers(0, 20))
def test_arbitrary_json_whole_or_truncated_gives_an_observation_or_a_decode_error(
    name: str, path: str, asked: Any, answer: Any, cut: int
) -> None:
    asked_bytes, answer_bytes = json.dumps(asked).encode(), json.dumps(answer).encode()
    observation_or_error(name, path, asked_bytes, answer_bytes)
    observation_or_error(name, path, asked_bytes, answer_bytes[:-cut])
    observation_or_error(name, path, asked_bytes[:-cut], answer_bytes)


@each_decoder
@given(
    path=paths,
    coding=st.sampled_from(["gzip", "deflate", "zstd", "br", "identity, gzip", ","]),
    body=st.binary(),
)
def test_arbitrary_coded_bytes_give_an_observation_or_a_decode_error(
    name: str, path: str, coding: str, body: bytes
) -> None:
    asked = request(body, f"Content-Encoding: {coding}")
    with pytest.raises(DecodeError):
        Decoding(name, LIMIT).observe(path, asked, response(b"{}"))


@each_decoder
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"instances":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"inputs":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"dataframe_split":{"columns":["a"],"data":[[' + b"[" * 900 + b"]" * 900 + b"]]}}",
        b'{"x":' + b"[" * 900 + b"NaN" + b"]" * 900 + b"}",
        b'{"x":' + b"[" * 100_000 + b"NaN" + b"]" * 100_000 + b"}",
        b'{"x":' * 900 + b"1" + b"}" * 900,
        b'{"x": NaN, "y": "\\ud800"}',
        b'{"x": "\\ud800"}',
        b'{"x": NaN, "y": ' + b"9" * 5000 + b"x}",
        b"\xff\xfe{\x00}\x00",
        b"a=1&b=2",
        b"1",
        b"null",
        b'"text"',
        b"",
        b"   ",
    ],
)
def test_a_hostile_body_is_a_decode_error(name: str, body: bytes) -> None:
    for path in ("/v2/models/a/infer", "/v1/models/a:predict", "/invocations", "/predict"):
        with pytest.raises(DecodeError):
            Decoding(name, LIMIT).observe(path, request(body), response(b"{}", status=500))


def test_names_are_unique_and_auto_is_none_of_them() -> None:
    assert len({decoder.name for decoder in DECODERS} | {"auto"}) == len(DECODERS) + 1
