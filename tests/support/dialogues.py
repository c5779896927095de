"""What clients and model servers say to each other, with what a recorder should make of it."""

from __future__ import annotations

from sidecar.records import Outcome
from tests.support.observed import Dialogue, chunked

C, A, U, O = Outcome.COMPLETE, Outcome.CLIENT_ABORT, Outcome.UPGRADED, Outcome.OPAQUE  # noqa: E741
E_ = Outcome.UPSTREAM_ERROR

POST = b'POST /predict HTTP/1.1\r\nHost: model\r\nContent-Length: 7\r\n\r\n{"a":1}'
GET = b"GET /v2/health/ready HTTP/1.1\r\nHost: model\r\n\r\n"
HEAD = b"HEAD /v2 HTTP/1.1\r\nHost: model\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n"
NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\nContent-Length: 512\r\nETag: "x"\r\n\r\n'
HEADED = b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
CHUNKED_HEAD = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED_POST = b"POST /stream HTTP/1.1\r\nHost: model\r\n" + CHUNKED_HEAD
CHUNKED_OK = b"HTTP/1.1 200 OK\r\n" + CHUNKED_HEAD
WILD_CHUNKS = chunked(
    b"Wikipedia in chunks.\r\n\r\n0\r\n\r\n", [1, 4, 9], b';name="a;b\\"";q', b"X-Sum: 1\r\nX-More: 2\r\n"
)
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: model\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
CLIENT_HELLO = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(64))
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

Expected = list[tuple[Outcome, bytes, bytes]]
"""Outcome, request bytes and response bytes of each exchange, in order of their end."""

FRAMED: dict[str, tuple[Dialogue, Expected]] = {
    "content length": ([("asks", POST), ("answers", OK)], [(C, POST, OK)]),
    "no body": ([("asks", GET), ("answers", EMPTY)], [(C, GET, EMPTY)]),
    "keep-alive": (
        [("asks", POST), ("answers", OK), ("asks", GET), ("answers", EMPTY), ("asks", POST), ("answers", OK)],
        [(C, POST, OK), (C, GET, EMPTY), (C, POST, OK)],
    ),
    "connection close by the upstream": (
        [
            ("asks", POST),
            ("answers", OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
            ("answers_eof", b""),
        ],
        [(C, POST, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))],
    ),
    "client half-closes after its request": (
        [("asks", POST), ("asks_eof", b""), ("answers", OK), ("answers_eof", b"")],
        [(C, POST, OK)],
    ),
    "chunked both ways": (
        [("asks", CHUNKED_POST + WILD_CHUNKS), ("answers", CHUNKED_OK + WILD_CHUNKS)],
        [(C, CHUNKED_POST + WILD_CHUNKS, CHUNKED_OK + WILD_CHUNKS)],
    ),
    "until EOF": (
        [("asks", GET), ("answers", SSE + b"data: 1\n\n"), ("answers", b"data: 2\n\n"), ("answers_eof", b"")],
        [(C, GET, SSE + b"data: 1\n\ndata: 2\n\n")],
    ),
    "HEAD, 204 and 304 have no body": (
        [("asks", HEAD), ("answers", HEADED), ("asks", GET), ("answers", NO_CONTENT), ("asks", GET)]
        + [
            ("answers", NOT_MODIFIED),
            ("asks", HEAD),
            ("answers", CHUNKED_OK),
            ("asks", POST),
            ("answers", OK),
        ],
        [
            (C, HEAD, HEADED),
            (C, GET, NO_CONTENT),
            (C, GET, NOT_MODIFIED),
            (C, HEAD, CHUNKED_OK),
            (C, POST, OK),
        ],
    ),
    "100-continue": (
        [("asks", CHUNKED_POST), ("answers", CONTINUE), ("asks", WILD_CHUNKS), ("answers", OK)],
        [(C, CHUNKED_POST + WILD_CHUNKS, CONTINUE + OK)],
    ),
    "several 1xx": (
        [
            ("asks", POST),
            ("answers", CONTINUE + HINTS),
            ("answers", HINTS + OK),
            ("asks", GET),
            ("answers", EMPTY),
        ],
        [(C, POST, CONTINUE + HINTS + HINTS + OK), (C, GET, EMPTY)],
    ),
    "pipelined": (
        [("asks", POST + GET + HEAD + CHUNKED_POST + WILD_CHUNKS + GET)]
        + [("answers", OK + EMPTY + HEADED + CHUNKED_OK + WILD_CHUNKS + NOT_MODIFIED)],
        [(C, POST, OK), (C, GET, EMPTY), (C, HEAD, HEADED)]
        + [(C, CHUNKED_POST + WILD_CHUNKS, CHUNKED_OK + WILD_CHUNKS), (C, GET, NOT_MODIFIED)],
    ),
    "answered before the request ended": (
        [("asks", POST[:-3]), ("answers", OK), ("asks", POST[-3:] + GET), ("answers", EMPTY)],
        [(C, POST, OK), (C, GET, EMPTY)],
    ),
    "empty lines before a request": (
        [("asks", b"\r\n" + GET), ("answers", OK), ("asks", b"\r\n\r\n" + POST), ("answers", OK)],
        [(C, GET, OK), (C, POST, OK)],
    ),
    "upgrade": (
        [
            ("asks", UPGRADE),
            ("answers", SWITCHING),
            ("asks", b"\x81\x05hello"),
            ("answers", b"\x81\x02hi"),
            ("asks", b"\x88"),
        ],
        [(U, UPGRADE, SWITCHING)],
    ),
    "upgrade sent on at once": (
        [("asks", UPGRADE + b"\x81\x05hello"), ("answers", SWITCHING + b"\x81\x02hi")],
        [(U, UPGRADE, SWITCHING)],
    ),
    "refused upgrade": (
        [("asks", UPGRADE + GET), ("answers", OK + EMPTY), ("asks", POST), ("answers", OK)],
        [(C, UPGRADE, OK), (C, GET, EMPTY), (C, POST, OK)],
    ),
    "refused upgrade with a long body": (
        [("asks", UPGRADE), ("asks", GET), ("answers", CHUNKED_OK + WILD_CHUNKS), ("answers", EMPTY)],
        [(C, UPGRADE, CHUNKED_OK + WILD_CHUNKS), (C, GET, EMPTY)],
    ),
    "CONNECT": (
        [("asks", CONNECT), ("answers", ESTABLISHED), ("asks", b"\x00\x01"), ("answers", b"\x02")],
        [(U, CONNECT, ESTABLISHED)],
    ),
    "refused CONNECT": (
        [("asks", CONNECT + GET), ("answers", OK.replace(b"200", b"405")), ("answers", OK)],
        [(C, CONNECT, OK.replace(b"200", b"405")), (C, GET, OK)],
    ),
    "64 KiB heads": (
        [
            ("asks", GET[:-2] + b"X-Long: " + b"q" * 65_536 + b"\r\n\r\n"),
            ("answers", OK[:-7] + b"X-Long: " + b"a" * 65_536 + b"\r\n\r\nhello"),
        ],
        [
            (
                C,
                GET[:-2] + b"X-Long: " + b"q" * 65_536 + b"\r\n\r\n",
                OK[:-7] + b"X-Long: " + b"a" * 65_536 + b"\r\n\r\nhello",
            )
        ],
    ),
    "HTTP/1.0": (
        [
            ("asks", GET.replace(b"1.1", b"1.0")),
            ("answers", SSE.replace(b"1.1", b"1.0") + b"x"),
            ("answers_eof", b""),
        ],
        [(C, GET.replace(b"1.1", b"1.0"), SSE.replace(b"1.1", b"1.0") + b"x")],
    ),
}

CUT_OFF: dict[str, tuple[Dialogue, Expected]] = {
    "client leaves inside its head": ([("asks", GET[:20])], [(A, GET[:20], b"")]),
    "client leaves inside its body": ([("asks", POST[:-2])], [(A, POST[:-2], b"")]),
    "client leaves before the answer": ([("asks", POST)], [(A, POST, b"")]),
    "client leaves inside the answer": ([("asks", POST), ("answers", OK[:-2])], [(A, POST, OK[:-2])]),
    "client half-closes inside its request": (
        [("asks", POST[:-2]), ("asks_eof", b""), ("answers_eof", b"")],
        [(A, POST[:-2], b"")],
    ),
    "upstream closes before the answer": ([("asks", POST), ("answers_eof", b"")], [(E_, POST, b"")]),
    "upstream closes inside its head": (
        [("asks", POST), ("answers", OK[:9]), ("answers_eof", b"")],
        [(E_, POST, OK[:9])],
    ),
    "upstream closes inside its body": (
        [("asks", POST), ("answers", OK[:-1]), ("answers_eof", b"")],
        [(E_, POST, OK[:-1])],
    ),
    "upstream closes inside its chunks": (
        [("asks", POST), ("answers", CHUNKED_OK + WILD_CHUNKS[:-2]), ("answers_eof", b"")],
        [(E_, POST, CHUNKED_OK + WILD_CHUNKS[:-2])],
    ),
    "upstream closes while the request's body arrives": (
        [("asks", POST[:-3]), ("answers_eof", b""), ("asks", POST[-3:] + GET)],
        [(E_, POST[:-3], b""), (A, GET, b"")],
    ),
    "upstream closes while the request's head arrives": (
        [("asks", POST[:20]), ("answers_eof", b""), ("asks", POST[20:])],
        [(E_, POST[:20], b"")],
    ),
    "answered early, then the client leaves": ([("asks", POST[:-3]), ("answers", OK)], [(C, POST[:-3], OK)]),
}


def bad(request: bytes, response: bytes = OK) -> tuple[Dialogue, Expected]:
    return [("asks", request), ("answers", response)], [(O, request, response)]


def bad_answer(response: bytes) -> tuple[Dialogue, Expected]:
    return [("asks", POST), ("answers", response)], [(O, POST, response)]


OPAQUE: dict[str, tuple[Dialogue, Expected]] = {
    "HTTP/2 preface": bad(PREFACE, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    "TLS ClientHello": bad(CLIENT_HELLO, b"\x15\x03\x01\x00\x02\x02\x28"),
    "garbage": bad(b"\x00\x01\x02garbage\xff", b"\xffwhat?"),
    "text that is not HTTP": bad(b"EHLO example.org\r\n\r\n", b"250 fine\r\n"),
    "Content-Length and Transfer-Encoding": bad(
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n" + CHUNKED_HEAD + b"0\r\n\r\n"
    ),
    "bare LF": bad(b"POST / HTTP/1.1\nContent-Length: 5\n\nhello"),
    "one bare LF": bad(b"POST / HTTP/1.1\r\nA: b\nContent-Length: 5\r\n\r\nhello"),
    "bare CR": bad(b"POST / HTTP/1.1\r\nA: b\rContent-Length: 9\r\nContent-Length: 5\r\n\r\nhello"),
    "NUL": bad(b"POST / HTTP/1.1\r\nA: b\0\r\nContent-Length: 5\r\n\r\nhello"),
    "negative length": bad(b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\nhello"),
    "differing lengths": bad(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "folded header": bad(b"POST / HTTP/1.1\r\nA: b\r\n c: d\r\nContent-Length: 5\r\n\r\nhello"),
    "space before the colon": bad(b"POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello"),
    "chunked in HTTP/1.0": bad(b"POST / HTTP/1.0\r\n" + CHUNKED_HEAD + b"0\r\n\r\n"),
    "request that is not delimited": bad(b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nhello"),
    "chunk size that is not hexadecimal": bad(CHUNKED_POST + b"5x\r\nhello\r\n0\r\n\r\n"),
    "negative chunk size": bad(CHUNKED_POST + b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk without its line end": bad(CHUNKED_POST + b"5\r\nhello!!0\r\n\r\n"),
    "unsolicited 408": ([("answers", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")],)
    + ([(O, b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")],),
    "answer that is not HTTP": bad_answer(b"hello"),
    "answer with both lengths": bad_answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CHUNKED_HEAD + b"0\r\n\r\n"
    ),
    "answer with a bare LF": bad_answer(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    "answer with a NUL": bad_answer(b"HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello"),
    "answer with a negative length": bad_answer(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
    "answer with bad chunks": bad_answer(CHUNKED_OK + b"zz\r\nhello\r\n0\r\n\r\n"),
    "more answers than requests": (
        [("asks", POST), ("answers", OK + OK)],
        [(C, POST, OK), (O, b"", OK)],
    ),
    "good request, then garbage": (
        [("asks", POST + b"\0\0\0"), ("answers", OK + b"\1\1")],
        [(C, POST, OK), (O, b"\0\0\0", b"\1\1")],
    ),
    "answered inside its head": ([("asks", GET[:9]), ("answers", OK), ("asks", GET[9:])], [(O, GET, OK)]),
}

ALL = FRAMED | CUT_OFF | OPAQUE
