from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from sidecar.cloud_event import Event
from sidecar.shipping.cloudevents import REQUEST, RESPONSE, of_row
from tests.support.batches import row

ATTRIBUTE = re.compile(r"^[a-z0-9]{1,20}$")
"""CloudEvents 1.0.2, section "Naming Conventions"."""


def structured(event: Event) -> dict[str, Any]:
    headers, body = event.message("structured")
    assert headers == {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
    found: dict[str, Any] = json.loads(body)
    return found


def both(**changed: Any) -> tuple[Event, Event]:
    request, response = of_row(row(7, **changed), "fraud-team")
    return request, response


def test_an_exchange_is_an_event_of_its_request_and_one_of_its_response() -> None:
    request, response = (structured(event) for event in both())
    assert request == {
        "specversion": "1.0",
        "id": "b00t.default.7",
        "source": "/sidecar/b00t.default",
        "type": "org.kubeflow.serving.inference.request",
        "time": "2026-11-25T09:46:40.000007Z",
        "inferenceservicename": "fraud",
        "namespace": "fraud-team",
        "component": "predictor",
        "endpoint": "default",
        "metadata": "{}",
        "modeldigest": "sha256:" + "0f" * 32,
        "httpmethod": "POST",
        "httppath": "/v2/models/fraud/infer",
        "httpstatus": 200,
        "outcome": "complete",
        "datacontenttype": "application/json",
        "data": {"inputs": [[7, 1.5]]},
    }
    assert response["type"] == "org.kubeflow.serving.inference.response"
    assert response["id"] == request["id"]
    assert response["time"] == "2026-11-25T09:46:40.002007Z"
    assert response["data"] == {"outputs": [1]}


def test_attributes_have_names_that_the_specification_allows() -> None:
    for event in both(request_body_length=99, wrapped_key=b"k"):
        assert all(ATTRIBUTE.match(name) for name in structured(event) if name != "data_base64")


def test_json_is_sent_as_it_was_written() -> None:
    written = b'{"n": 1.50, "big": 123456789012345678901234567890, "a": 1, "a": 2}'
    request, _ = both(request_body=written, request_body_length=len(written))
    assert b'"data":' + written + b"}" in request.message("structured")[1]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"cut'),
        ("application/json", b"\xff"),
        ("application/json", b'\xef\xbb\xbf{"a": 1}'),
        ("application/octet-stream", b'{"a": 1}'),
        ("text/plain", b"text"),
        ("image/png", bytes(range(256))),
        (None, b'{"a": 1}'),
    ],
)
def test_what_is_not_json_or_not_said_to_be_is_sent_as_base64(content_type: str | None, body: bytes) -> None:
    head = (
        b"POST / HTTP/1.1\r\n"
        + (f"Content-Type: {content_type}\r\n" if content_type else "").encode()
        + b"\r\n"
    )
    event = structured(both(request_head=head, request_body=body, request_body_length=len(body))[0])
    assert base64.b64decode(event["data_base64"]) == body
    assert "data" not in event
    assert event.get("datacontenttype") == content_type


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"]
)
def test_every_json_media_type_is_json(content_type: str) -> None:
    head = f"POST / HTTP/1.1\r\ncontent-type: {content_type}\r\n\r\n".encode()
    assert structured(both(request_head=head)[0])["data"] == {"inputs": [[7, 1.5]]}


def test_a_body_that_is_not_there_is_no_data() -> None:
    event = structured(both(request_body=None)[0])
    assert not {"data", "data_base64", "datacontenttype"} & set(event)


def test_a_compressed_a_cut_and_an_encrypted_body_are_marked() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n"
    assert structured(both(request_head=head, request_body=b"\x1f\x8b")[0])["contentencoding"] == "gzip"
    cut = structured(both(request_body=b'{"inp', request_body_length=9_000_000)[0])
    assert cut["truncated"] is True
    sealed = structured(both(wrapped_key=b"key", request_body=b"1")[0])
    assert sealed["encrypted"] is True
    assert sealed["datacontenttype"] == "application/octet-stream"
    assert sealed["data_base64"] == base64.b64encode(b"1").decode()


def test_only_an_answer_of_200_is_a_response_event_and_the_request_says_what_became_of_it() -> None:
    (request,) = of_row(row(1, status=503, outcome="complete"))
    assert request.attributes["type"] == REQUEST
    assert request.attributes["httpstatus"] == 503
    (request,) = of_row(row(1, status=None, outcome="client_abort"))
    assert request.attributes["outcome"] == "client_abort"
    assert "httpstatus" not in request.attributes
    assert [event.attributes["type"] for event in of_row(row(1))] == [REQUEST, RESPONSE]


@pytest.mark.parametrize("kind", ["gap", "delivery", "event", "genesis", "heartbeat", "batch", "close"])
def test_rows_that_are_no_exchanges_are_no_events(kind: str) -> None:
    assert list(of_row(row(1, kind=kind))) == []


def test_attributes_without_a_value_are_left_out() -> None:
    (request, _) = of_row(row(1, image_digest=None, model=""))
    assert not {"modeldigest", "inferenceservicename", "namespace"} & set(request.attributes)


def test_binary_mode_carries_attributes_as_headers_and_the_body_as_it_is() -> None:
    request, _ = both(path='/v1/models/größe "x" 100%', request_body=b"\x1f\x8b\x00")
    headers, body = request.message("binary")
    assert body == b"\x1f\x8b\x00"
    assert headers["Content-Type"] == "application/json"
    assert headers["ce-id"] == "b00t.default.7"
    assert headers["ce-type"] == REQUEST
    assert headers["ce-httpstatus"] == "200"
    # HTTP binding 1.0.2, section 3.1.3.2: space, quote, percent and all beyond ASCII are percent-encoded.
    assert headers["ce-httppath"] == "/v1/models/gr%C3%B6%C3%9Fe%20%22x%22%20100%25"
    assert all(value.isascii() and value.isprintable() for value in headers.values())


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_cloudevents_sdk_reads_the_same(mode: str) -> None:
    sdk = pytest.importorskip(
        "cloudevents.core.bindings.http",
        reason="the CloudEvents SDK is not installed: pip install cloudevents",
    )
    for event in both(path="/größe 100%"):
        headers, body = event.message(mode)
        read = sdk.from_http_event(sdk.HTTPMessage(headers, body))
        attributes = dict(read.get_attributes())
        assert attributes.pop("time").isoformat() == str(event.attributes["time"]).replace("Z", "+00:00")
        assert attributes.pop("datacontenttype") == "application/json"
        # A header's value has no type: the SDK gives text there.
        assert {name: str(value) for name, value in attributes.items()} == {
            name: str(value) for name, value in event.attributes.items() if name != "time"
        }
        assert event.data is not None
        data = read.get_data()
        assert (json.loads(data) if isinstance(data, bytes) else data) == json.loads(event.data)
