"""Where a message ends, and what is refused because parsers could read it differently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.proxy.framing import (
    CHUNKED,
    INTERIM,
    TUNNEL,
    UNTIL_EOF,
    Unframeable,
    frame_request,
    frame_response,
    not_http,
)


def request(*headers: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *headers, b"", b""])


def response(status: int, *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([version + b" %d x" % status, *headers, b"", b""])


@pytest.mark.parametrize(
    ("headers", "framing"),
    [
        ([], 0),
        ([b"Content-Length: 0"], 0),
        ([b"CONTENT-LENGTH:12 \t"], 12),
        ([b"Content-Length: 5, 5"], 5),
        ([b"Content-Length: 5", b"content-length: 5"], 5),
        ([b"Content-Length: " + b"0" * 5000 + b"7"], 7),
        ([b"Content-Length: 999999999999999999"], 999999999999999999),
        ([b"Content-Length-Hint: 5", b"X-Content-Length: 6", b"Upgrade-Insecure-Requests: 1"], 0),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
        ([b"transfer-encoding: gzip, Chunked"], CHUNKED),
        ([b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"], CHUNKED),
    ],
)
def test_a_request_body_is_framed(headers: list[bytes], framing: int) -> None:
    assert frame_request(request(*headers)) == (b"POST", framing, False)


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Length: -1"],
        [b"Content-Length: +1"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 1 2"],
        [b"Content-Length: 5, 6"],
        [b"Content-Length: "],
        [b"Content-Length: 5,"],
        [b"Content-Length: 1000000000000000000"],
        [b"Content-Length: \xb2"],
        [b"Content-Length : 5"],
        [b"Content-Length\t: 5"],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding : chunked"],
        [b"Transfer-Encoding: chunked, gzip"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: \x0bchunked"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: xchunked"],
        [b" X: folded"],
        [b"A: b", b"\tfolded"],
        [b"A: b\0"],
        [b"A: b\rC: d"],
        [b"A: b\nC: d"],
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_not_framed(headers: list[bytes]) -> None:
    with pytest.raises(Unframeable):
        frame_request(request(*headers))


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET / HTTP/2.0",
        b"GET / HTTP/1.2",
        b"G{T / HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b" GET / HTTP/1.1",
        b"",
    ],
)
def test_a_line_that_is_no_request_line_is_not_framed(line: bytes) -> None:
    with pytest.raises(Unframeable):
        frame_request(request(line=line))


def test_only_upgrade_and_connect_may_become_tunnels() -> None:
    assert frame_request(request(b"Upgrade: websocket"))[2]
    assert frame_request(request(line=b"CONNECT a:1 HTTP/1.1"))[2]
    assert not frame_request(request(b"X-Upgrade: websocket"))[2]


@pytest.mark.parametrize(
    ("head", "method", "expected"),
    [
        (response(200), b"GET", UNTIL_EOF),
        (response(200, b"Content-Length: 3"), b"GET", 3),
        (response(200, b"Content-Length: 3"), b"HEAD", 0),
        (response(200, b"Transfer-Encoding: chunked"), b"HEAD", 0),
        (response(204, b"Content-Length: 3"), b"GET", 0),
        (response(304, b"Content-Length: 3"), b"GET", 0),
        (response(200, b"Transfer-Encoding: chunked"), b"GET", CHUNKED),
        (response(200, b"Transfer-Encoding: gzip"), b"GET", UNTIL_EOF),
        (response(100), b"GET", INTERIM),
        (response(103, b"Content-Length: 3"), b"HEAD", INTERIM),
        (response(101), b"GET", TUNNEL),
        (response(200, b"Content-Length: 3"), b"CONNECT", TUNNEL),
        (response(299), b"CONNECT", TUNNEL),
        (response(405, b"Content-Length: 3"), b"CONNECT", 3),
        (response(200, version=b"HTTP/1.0"), b"GET", UNTIL_EOF),
        (b"HTTP/1.1 200\r\n\r\n", b"GET", UNTIL_EOF),
    ],
)
def test_a_response_is_framed_by_its_request_too(head: bytes, method: bytes, expected: int) -> None:
    assert frame_response(head, method)[1] == expected


@pytest.mark.parametrize(
    "head",
    [
        response(200, b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        response(200, b"Content-Length: 3", b"Content-Length: 4"),
        response(200, b"Transfer-Encoding: chunked", version=b"HTTP/1.0"),
        response(200, version=b"HTTP/2.0"),
        response(200, b"A: b\0"),
        response(200, b"A: b\nB: c"),
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 2000 x\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_a_response_that_could_be_read_in_two_ways_is_not_framed(head: bytes) -> None:
    with pytest.raises(Unframeable):
        frame_response(head, b"GET")


@given(st.binary(max_size=200))
def test_any_bytes_are_framed_or_refused_and_nothing_else(noise: bytes) -> None:
    for head in (noise, b"GET / HTTP/1.1\r\n" + noise + b"\r\n\r\n"):
        for frame in (frame_request, lambda each: frame_response(each, b"GET")):
            try:
                frame(head)
            except Unframeable as reason:
                assert str(reason)


def test_first_bytes_tell_what_is_no_http() -> None:
    assert not_http(b"\x16\x03\x01") == "TLS handshake"
    assert not_http(b"\x00") == "not HTTP"
    assert not_http(b"{") == "not HTTP"
    assert not_http(b"GET") == ""
