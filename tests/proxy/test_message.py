"""Stored bytes come apart into what the peers meant."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.proxy.message import split_request, split_response
from tests.support.dialogues import (
    CHUNKED_OK,
    CHUNKED_POST,
    CONNECT,
    CONTINUE,
    ESTABLISHED,
    GET,
    HEADED,
    HINTS,
    OK,
    POST,
)
from tests.support.observed import Route1, Seen, Step, chunked, cut, digest, observe


def record(answer: bytes, places: list[int], ask: bytes = GET, body_limit: int = 8 << 20) -> Seen:
    route = Route1(body_limit=body_limit)
    steps: list[Step] = [("asks", piece) for piece in cut(ask, places)]
    steps += [("answers", piece) for piece in cut(answer, places)]
    (only,) = observe([*steps, ("answers_eof", b"")], route=route)
    return only


@given(
    st.binary(max_size=3000),
    st.lists(st.integers(1, 500), max_size=8),
    st.sampled_from(["length", "chunked", "until EOF"]),
    st.lists(st.integers(0, 4000), max_size=6),
    st.sampled_from([64, 8 << 20]),
    st.sampled_from([b"", CONTINUE, CONTINUE + HINTS]),
)
@settings(max_examples=150)
def test_a_message_comes_back_as_it_was_meant(
    payload: bytes, sizes: list[int], framing: str, places: list[int], limit: int, interim: bytes
) -> None:
    trailers = b"T: 1\r\n"
    head, wire = {
        "length": (b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: %d\r\n\r\n" % len(payload), payload),
        "chunked": (CHUNKED_OK, chunked(payload, sizes, b";x", trailers)),
        "until EOF": (b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n", payload),
    }[framing]
    ask_head = CHUNKED_POST if framing == "chunked" else POST[:-7].replace(b"7", b"%d" % len(payload))
    only = record(
        interim + head + wire, places, ask_head + (wire if framing == "chunked" else payload), limit
    )
    asked = split_request(only.request, only.request_cut)
    answered = split_response(only.response, b"POST", only.response_cut)
    assert (asked.head, answered.head, answered.interim) == (ask_head, head, interim)
    for message, kept in ((asked, only.request_cut), (answered, only.response_cut)):
        assert message.complete
        assert message.length == len(payload)
        if kept is None:
            assert (message.body, message.sha256) == (payload, None)
        else:
            assert kept == digest(payload)
            assert message.sha256 == kept.sha256
            assert payload.startswith(message.body)
    if framing == "chunked" and only.response_cut is None:
        assert answered.trailers == trailers


def test_the_first_bytes_of_a_long_body_survive() -> None:
    payload = random.Random(1).randbytes(200_000)
    only = record(
        CHUNKED_OK + chunked(payload, [1000] * 200), list(range(0, 200_000, 5000)), body_limit=100_000
    )
    message = split_response(only.response, b"GET", only.response_cut)
    assert len(message.body) > 64_000
    assert payload.startswith(message.body)
    assert (message.length, message.sha256) == (200_000, digest(payload).sha256)


@pytest.mark.parametrize(
    ("raw", "method", "body"),
    [(HEADED, b"HEAD", b""), (ESTABLISHED, b"CONNECT", b""), (OK, b"GET", b"hello")],
)
def test_the_requests_method_decides_whether_there_is_a_body(raw: bytes, method: bytes, body: bytes) -> None:
    message = split_response(raw, method, None)
    assert (message.body, message.complete) == (body, True)


@pytest.mark.parametrize(
    "raw", [b"", b"GET / HT", b"\x16\x03\x01", b"GET / HTTP/1.1\nA: b\n\n", b"rubbish\r\n\r\nmore"]
)
def test_what_is_no_message_comes_back_as_one_body(raw: bytes) -> None:
    for message in (split_request(raw, None), split_response(raw, b"GET", None)):
        assert (message.head, message.body, message.complete) == (b"", raw, False)


def test_a_message_that_was_cut_off_is_not_complete() -> None:
    assert not split_request(POST[:-1], None).complete
    assert not split_response(OK[:-1], b"GET", None).complete
    assert not split_response(CHUNKED_OK + b"5\r\nhel", b"GET", None).complete
    assert split_response(CHUNKED_OK + b"5\r\nhel", b"GET", None).body == b"hel"
    assert not split_response(b"HTTP/1.1 200 OK\r\n\r\nhalf", b"GET", None, ended=False).complete
    assert not split_response(CONTINUE, b"GET", None).complete
    assert split_request(CONNECT, None).complete
