"""Which decoder is asked."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.decode.registry import NAMES, Decoding
from sidecar.errors import ConfigError, DecodeError
from sidecar.records import Message
from sidecar.settings_table import BY_KEY
from tests.decode.messages import LIMIT, observe, request, response

TENSOR = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}


@pytest.mark.parametrize(
    ("path", "asked", "decoder"),
    [
        ("/v2/models/m/infer", {"inputs": [TENSOR]}, "open_inference"),
        ("/other", {"inputs": [TENSOR]}, "open_inference"),
        ("/v1/models/m:predict", {"inputs": [1]}, "tf_serving"),
        ("/other", {"inputs": [1]}, "tf_serving"),
        ("/other", {"instances": [1]}, "tf_serving"),
        ("/invocations", {"instances": [1]}, "mlflow"),
        ("/ml/invocations/?x=1", {"inputs": [1]}, "mlflow"),
        ("/other", {"dataframe_split": {"columns": ["x"], "data": [[1]]}}, "mlflow"),
        ("/other", {"instances": 5}, "plain_json"),
        ("/other", {"inputs": 5}, "plain_json"),
        ("/predict", {"x": 1}, "plain_json"),
    ],
)
def test_the_path_decides_first_and_the_request_s_looks_second(path: str, asked: Any, decoder: str) -> None:
    assert observe(path, asked, {}, status=500).decoder == decoder


def test_a_configured_decoder_is_not_second_guessed() -> None:
    with pytest.raises(DecodeError, match="neither 'instances' nor 'inputs'"):
        observe("/predict", {"x": 1}, 1, decoder="tf_serving")


def test_an_unknown_decoder_is_a_setting_s_error() -> None:
    with pytest.raises(ConfigError, match="'protobuf' is unknown; use one of auto, open_inference"):
        Decoding("protobuf", LIMIT)


def test_a_request_without_a_body_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="no body"):
        Decoding("auto", LIMIT).observe("/v2/health/ready", request(b""), response(b"{}"))


@pytest.mark.parametrize("status", [204, 302, 101])
def test_only_a_2xx_with_a_body_is_an_answer(status: int) -> None:
    answer = response(b"" if status == 204 else b"<moved>", status=status)
    assert Decoding("auto", LIMIT).observe("/", request(b'{"x":1}'), answer).outputs == {}


def test_a_cut_body_is_a_decode_error_whichever_it_is() -> None:
    cut = Message(b"HTTP/1.1 200 OK\r\n\r\n", b"{", length=10, sha256=bytes(32))
    with pytest.raises(DecodeError, match="1 of 10 bytes kept"):
        Decoding("auto", LIMIT).observe("/", request(b'{"x":1}'), cut)


def test_endless_different_paths_are_not_remembered() -> None:
    decoding = Decoding("auto", LIMIT)
    for number in range(3000):
        decoding.observe(f"/p?{number}", request(b'{"x":1}'), response(b"1"))
    assert decoding._route.cache_info().currsize <= 1024


def test_the_setting_knows_every_decoder() -> None:
    assert BY_KEY["decoder"].metavar.split("|") == list(NAMES)
