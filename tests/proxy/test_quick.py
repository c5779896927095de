"""The shortcut sees what the full observer sees: every stream, every cut, every time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.dialogues import ALL, GET, OK, POST, SWITCHING
from tests.support.observed import Dialogue, Step, chunked, observe, recut

START_LINES = [
    b"POST /p HTTP/1.1",
    b"GET / HTTP/1.1",
    b"PUT /x?y=1 HTTP/1.1",
    b"HEAD / HTTP/1.1",
    b"DELETE /a HTTP/1.1",
]
ODD_LINES = [
    b"GET  / HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET / HTTP/2.0",
    b"GET /",
    b"GET / HTTP/0.9",
    b"GET / RTSP/1.0",
    b"GET /a b HTTP/1.1",
    b"GET /\x80 HTTP/1.1",
    b"get / HTTP/1.1",
    b"POST http://a/ HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
]
STATUS_LINES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 204 No Content"]
ODD_STATUS_LINES = [
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 ",
    b"HTTP/1.0 200 OK",
    b"HTTP/2.0 200 OK",
    b"HTTP/1.1 200 O\0K",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 Switching Protocols",
]
HEADERS = [b"Host: a", b"X: y", b"Connection: close", b"Connection: keep-alive", b"X-Empty:", b"Accept: \xe9"]
ODD_HEADERS = [
    b"Content-Length: 3",
    b"Content-Length: 003",
    b"Content-Length: 00000000000000000000000003",
    b"Content-Length: 3, 3",
    b"Content-Length: -3",
    b"Content-Length:",
    b"Content-Length : 3",
    b"content-length:3\t",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: CHUNKED",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: gzip;q=1, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding:\r\n chunked",
    b"Upgrade: websocket",
    b"Connection: upgrade\r\nUpgrade: websocket",
    b"X: y\r\n z",
    b"X: y\nZ: 1",
    b"X: \0",
    b"X: \x01",
    b"no colon",
    b": no name",
    b"X\xff: y",
]
TAILS = [b"", b"", b"", b"\r\n", b"\n", b"\r\n\r\n", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n"]

bodies = st.binary(max_size=12) | st.sampled_from(
    [b"abc", b"\n", b"}\n", b"\r\n0\r\n\r\n", b"x\r\n", b"HTTP/1.1\r\n\r\n"]
)


@st.composite
def messages(draw: st.DrawFn, lines: list[bytes], odd: list[bytes]) -> bytes:
    """Mostly a sound message, sometimes one that parsers disagree about."""
    wild = draw(st.integers(0, 3)) == 0
    line = draw(st.sampled_from(lines + odd if wild else lines))
    headers = draw(st.lists(st.sampled_from(HEADERS + ODD_HEADERS if wild else HEADERS), max_size=3))
    payload = draw(bodies)
    framing = draw(st.sampled_from(["none", "length", "length", "chunked"]))
    if framing == "length":
        headers.append(draw(st.sampled_from([b"Content-Length", b"content-length"])) + b": %d" % len(payload))
    elif framing == "chunked":
        headers.append(b"Transfer-Encoding: chunked")
        extension = draw(st.sampled_from([b"", b";a=b", b' ;q="x"']))
        payload = chunked(
            payload, [draw(st.integers(1, 9))], extension, draw(st.sampled_from([b"", b"T: 1\r\n"]))
        )
    else:
        payload = b"" if not wild else payload
    end = b"\r\n" if not wild else draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
    return end.join([line, *headers, b"", b""]) + payload + (draw(st.sampled_from(TAILS)) if wild else b"")


def again(draw: st.DrawFn, message: bytes) -> bytes:
    """The same head once more; the rest the same, altered, longer or shorter."""
    head, end, body = message.partition(b"\r\n\r\n")
    other = draw(st.sampled_from([body, body[::-1], body[:-1] + b"\n", body + b"x", body[:-1], body + b"\n"]))
    return head + end + other


@st.composite
def conversations(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    asked: list[bytes] = []
    answered: list[bytes] = []
    for _ in range(draw(st.integers(1, 5))):
        repeats = bool(asked and answered) and draw(st.booleans())
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            asked.append(again(draw, asked[-1]) if repeats else draw(messages(START_LINES, ODD_LINES)))
            steps.append(("asks", asked[-1]))
        for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2]))):
            answered.append(
                again(draw, answered[-1]) if repeats else draw(messages(STATUS_LINES, ODD_STATUS_LINES))
            )
            steps.append(("answers", answered[-1]))
    if draw(st.booleans()):
        steps.append(("answers_eof", b""))
    return steps


@given(conversations(), st.randoms(use_true_random=False), st.sampled_from([0, 0, 1, 3]))
@settings(max_examples=150, deadline=None)
def test_any_conversation_cut_anywhere_is_seen_alike(
    steps: list[Step], chance: random.Random, pieces: int
) -> None:
    cut_up = recut(steps, chance, pieces)
    assert observe(cut_up, quick=True) == observe(cut_up)


@given(st.sampled_from(sorted(ALL)), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_known_dialogues_cut_anywhere_are_seen_alike(name: str, chance: random.Random) -> None:
    cut_up = recut(ALL[name][0], chance, 4)
    assert observe(cut_up, quick=True) == observe(cut_up)


@pytest.mark.parametrize("name", [name for name in ALL if "64 KiB" not in name])
def test_known_dialogues_are_seen_alike_whole_and_at_every_cut(name: str) -> None:
    dialogue, _ = ALL[name]
    assert observe(dialogue, quick=True) == observe(dialogue)
    for index, (side, data) in enumerate(dialogue):
        for at in range(1, len(data)):
            steps = [*dialogue[:index], (side, data[:at]), (side, data[at:]), *dialogue[index + 1 :]]
            assert observe(steps, quick=True) == observe(steps), (index, at)


@pytest.mark.parametrize(
    "dialogue",
    [
        [("asks", POST + b"\r\n"), ("answers", OK), ("asks", GET), ("answers", OK)],
        [("asks", POST), ("answers", OK + b"\r\n"), ("asks", GET), ("answers", OK)],
        [
            ("asks", b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"),
            ("asks", b"\0\0"),
            ("answers", SWITCHING + b"\1"),
        ],
        [("asks", b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"), ("asks", GET), ("answers", OK + OK)],
        [("asks", POST), ("asks", GET), ("answers", OK), ("answers", OK), ("asks", POST), ("answers", OK)],
    ],
)
def test_where_llhttp_and_our_framing_differ_ours_decides(dialogue: Dialogue) -> None:
    assert observe(dialogue, quick=True) == observe(dialogue)


def test_a_connection_that_never_sends_whole_messages_stops_trying_and_is_seen_all_the_same() -> None:
    steps: list[Step] = []
    for _ in range(6):
        steps += [("asks", POST[:20]), ("asks", POST[20:]), ("answers", OK[:20]), ("answers", OK[20:])]
    assert observe(steps, quick=True) == observe(steps)
    assert len(observe(steps, quick=True)) == 6
