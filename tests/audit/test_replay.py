"""Recorded requests sent again to real HTTP servers, and the answers compared."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from sidecar.audit.replay import Target
from sidecar.audit.replay_compare import compare
from sidecar.errors import UsageError
from sidecar.ledger.note import SigningKey
from sidecar.privacy.master import read_master_key
from tests.support.commands import Ran, sidecar
from tests.support.sealed_store import Encryption, LogMaker

ANSWER = {"deny": True, "score": 0.731059, "id": "r-1", "rows": [1, 2, 3]}


class Server:
    """Answers the connections made to it with given bytes, one after the other; keeps what it was sent."""

    def __init__(self, *answers: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, args=(answers,), daemon=True)
        self._thread.start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.received.append(self._request(connection))
                connection.sendall(answer)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lines[0].split(b":")[1]) if lines else 0
        while len(body) < length:
            body += connection.recv(65_536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(*answers: bytes) -> Server:
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


def http(body: bytes, status: str = "200 OK", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), extra, body)


@pytest.fixture
def log(tmp_path: Path) -> LogMaker:
    return LogMaker(tmp_path / "store", SigningKey("k", bytes(32)))


def recorded(log: LogMaker, **changed: Any) -> str:
    """Seal one exchange; `request` and `response` set body and length at once."""
    for side in ("request", "response"):
        if side in changed:
            body = changed.pop(side)
            changed |= {f"{side}_body": body, f"{side}_body_length": len(body)}
    changed.setdefault("response_body", json.dumps(ANSWER).encode())
    record_id = str(log.exchange(**changed)["record_id"])
    log.cut()
    return record_id


def replay(log: LogMaker, record_id: str, url: str, *arguments: object) -> Ran:
    return sidecar("replay", record_id, "--store", log.store, "--against", url, *arguments)


def test_the_same_bytes_are_the_same(log: LogMaker, serve: Serve) -> None:
    server = serve(http(json.dumps(ANSWER).encode()))
    ran = replay(log, recorded(log), server.url)
    assert (ran.code, ran.err) == (0, "")
    assert "the same bytes" in ran.out
    assert "the answers are the same" in ran.out


def test_the_head_goes_out_as_recorded_but_for_host_framing_and_connection(
    log: LogMaker, serve: Serve
) -> None:
    head = (
        b"POST /v2/models/m/infer?x=1 HTTP/1.1\r\nHost: model.prod:8080\r\nX-Twice: a\r\nx-twice: b\r\n"
        b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: keep-alive\r\nTE: trailers\r\n"
        b"Content-Encoding: gzip\r\nX-Odd:   spaced \r\n\r\n"
    )
    body = gzip.compress(b'{"n": 1}')
    server = serve(http(b"{}"))
    replay(log, recorded(log, request_head=head, request=body), f"{server.url}/canary")
    (sent,) = server.received
    assert (
        sent
        == (
            b"POST /canary/v2/models/m/infer?x=1 HTTP/1.1\r\nHost: %s\r\nX-Twice: a\r\nx-twice: b\r\n"
            b"Content-Encoding: gzip\r\nX-Odd:   spaced \r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            % (server.url.removeprefix("http://").encode(), len(body))
        )
        + body
    )


def test_a_get_has_no_length(log: LogMaker, serve: Serve) -> None:
    server = serve(http(b"{}"))
    replay(
        log,
        recorded(log, request_head=b"GET /x HTTP/1.1\r\nHost: m\r\n\r\n", request=b"", method="GET"),
        server.url,
    )
    assert b"content-length" not in server.received[0].lower()


def test_an_absolute_target_is_sent_in_origin_form(log: LogMaker, serve: Serve) -> None:
    server = serve(http(b"{}"))
    head = b"POST http://model.prod/predict?a=b HTTP/1.1\r\nHost: model.prod\r\n\r\n"
    replay(log, recorded(log, request_head=head), server.url)
    assert server.received[0].startswith(b"POST /predict?a=b HTTP/1.1\r\n")


def test_other_bytes_with_the_same_json_are_the_same(log: LogMaker, serve: Serve) -> None:
    server = serve(http(json.dumps(dict(reversed(ANSWER.items())), indent=1).encode()))
    ran = replay(log, recorded(log), server.url)
    assert ran.code == 0
    assert "the same JSON in other bytes" in ran.out


def test_differing_paths_are_named_with_both_values(log: LogMaker, serve: Serve) -> None:
    now = {"deny": False, "score": 0.731060, "id": "r-1", "rows": [1, 2], "new": None}
    server = serve(http(json.dumps(now).encode()))
    ran = replay(log, recorded(log), server.url, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert found["same"] is False
    assert found["differences"] == [
        {"path": "$.deny", "recorded": True, "replayed": False},
        {"path": "$.score", "recorded": 0.731059, "replayed": 0.73106},
        {"path": "$.rows[2]", "recorded": 3, "replayed": None, "absent": "replayed"},
        {"path": "$.new", "recorded": None, "replayed": None, "absent": "recorded"},
    ]


def test_numbers_within_the_tolerance_and_ignored_paths_do_not_count(log: LogMaker, serve: Serve) -> None:
    now = {**ANSWER, "score": 0.7310592, "id": "r-2"}
    answer = http(json.dumps(now).encode())
    server = serve(answer, answer, answer)
    record_id = recorded(log)
    assert replay(log, record_id, server.url).code == 1
    assert replay(log, record_id, server.url, "--tolerance", "1e-6").code == 1
    assert replay(log, record_id, server.url, "--tolerance", "1e-6", "--ignore", "$.id").code == 0


def test_another_status_differs_even_with_the_same_body(log: LogMaker, serve: Serve) -> None:
    server = serve(http(json.dumps(ANSWER).encode(), "503 Busy"))
    ran = replay(log, recorded(log), server.url)
    assert ran.code == 1
    assert "200 recorded, 503 now" in ran.out


def test_a_chunked_or_compressed_answer_is_compared_by_content(log: LogMaker, serve: Serve) -> None:
    plain = json.dumps(ANSWER).encode()
    packed = gzip.compress(plain)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        len(plain),
        plain,
    )
    server = serve(chunked, http(packed, extra=b"Content-Encoding: gzip\r\n"))
    record_id = recorded(log)
    assert "the same bytes" in replay(log, record_id, server.url).out
    assert "the same bytes" in replay(log, record_id, server.url).out


def test_interim_answers_are_passed_over(log: LogMaker, serve: Serve) -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server = serve(hints + http(json.dumps(ANSWER).encode()), b"HTTP/1.1 102 Processing\r\n\r\n" * 200)
    record_id = recorded(log)
    assert "the same bytes" in replay(log, record_id, server.url).out
    assert "only interim answers" in replay(log, record_id, server.url).err


def test_answers_that_are_no_json_are_told_apart_by_bytes(log: LogMaker, serve: Serve) -> None:
    server = serve(http(b"deny"), http(b"grant"))
    record_id = recorded(log, response=b"deny")
    assert replay(log, record_id, server.url).code == 0
    ran = replay(log, record_id, server.url)
    assert ran.code == 1
    assert "not both JSON" in ran.out


CUT = {"request_body_sha256": bytes(32), "request_body_length": 99}
REFUSED = [
    (CUT, "its request body was cut"),
    ({"response_body_sha256": bytes(32), "response_body_length": 99}, "its response body was cut"),
    ({"response_complete": False, "outcome": "client_abort"}, "its response ended early"),
    ({"redacted": '{"rules":["body:$.name=mask"]}'}, "was redacted"),
    ({"redacted": '{"rules":[],"dropped":{"request_body":"cannot be decoded"}}'}, "was redacted"),
    ({"redacted": '{"rules":["query:token=drop"]}'}, "was redacted"),
    ({"redacted": "not JSON"}, "was redacted"),
    ({"request_head": b""}, "no request head"),
    ({"request_head": b"CONNECT a:443 HTTP/1.1\r\n\r\n"}, "can be sent again"),
]


@pytest.mark.parametrize(("changed", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_cannot_be_replayed_is_refused_in_one_line_and_nothing_is_sent(
    log: LogMaker, serve: Serve, changed: dict[str, Any], reason: str
) -> None:
    server = serve(http(b"{}"))
    ran = replay(log, recorded(log, **changed), server.url)
    assert ran.code == 1
    assert reason in ran.err
    assert len(ran.err.splitlines()) == 1
    assert server.received == []


def test_a_redacted_header_is_noted(log: LogMaker, serve: Serve) -> None:
    server = serve(http(json.dumps(ANSWER).encode()))
    ran = replay(log, recorded(log, redacted='{"rules":["header:authorization=drop"]}'), server.url)
    assert ran.code == 0
    assert "redacted by header:authorization=drop: sent as it was stored" in ran.out


def test_a_credential_can_be_given_again(log: LogMaker, serve: Serve, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("Authorization: Bearer s3cret\n")
    head = b"POST /p HTTP/1.1\r\nHost: m\r\nX-Tenant: a\r\nx-tenant: b\r\nX-Kept: 1\r\n\r\n"
    server = serve(http(b"{}"))
    replay(
        log, recorded(log, request_head=head), server.url, "--header", f"@{token}", "--header", "X-Tenant: c"
    )
    lines = server.received[0].split(b"\r\n")
    assert lines[2:5] == [b"X-Kept: 1", b"Authorization: Bearer s3cret", b"X-Tenant: c"]
    assert not any(b"X-Tenant: a" in line or b"x-tenant" in line for line in lines)


@pytest.mark.parametrize("text", ["nonsense", ": x", "a b: x", "Host: x", "A: x\r\nB: y", "@/no/such/file"])
def test_what_is_no_header_is_a_usage_error(log: LogMaker, text: str) -> None:
    ran = replay(log, recorded(log), "http://127.0.0.1:1", "--header", text)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)


def test_an_encrypted_record_needs_its_key_and_an_erased_one_is_gone(tmp_path: Path, serve: Serve) -> None:
    key = tmp_path / "master.key"
    key.write_text("11" * 32)
    key.chmod(0o400)
    log = LogMaker(
        tmp_path / "store", SigningKey("k", bytes(32)), encryption=Encryption(read_master_key(key))
    )
    record_id = recorded(log)
    server = serve(http(json.dumps(ANSWER).encode()))
    assert "encrypted: --master-key FILE opens it" in replay(log, record_id, server.url).err
    ran = replay(log, record_id, server.url, "--master-key", key)
    assert ran.code == 0, ran.err
    assert server.received[0].endswith(b'\r\n\r\n{"n":1}')
    for each in (tmp_path / "store" / "subjects").iterdir():
        each.unlink()
    ran = replay(log, record_id, server.url, "--master-key", key)
    assert ran.code == 1
    assert "erased: its key was destroyed" in ran.err


def test_a_gap_was_never_asked(log: LogMaker, serve: Serve) -> None:
    log.gap(3)
    log.cut()
    ran = replay(log, f"{log.log}.1", "http://127.0.0.1:1")
    assert ran.code == 1
    assert "is a gap, not an exchange" in ran.err


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_a_server_that_does_not_answer_properly_is_one_clear_line(
    log: LogMaker, serve: Serve, answer: bytes
) -> None:
    server = serve(answer)
    ran = replay(log, recorded(log), server.url, "--timeout", "5")
    assert ran.code == 1
    assert ran.err.startswith("sidecar: replay: 127.0.0.1:")
    assert len(ran.err.splitlines()) == 1


def test_nobody_listening_and_a_silent_server_are_one_clear_line(log: LogMaker) -> None:
    record_id = recorded(log)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ran = replay(log, record_id, f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.3")
        port = silent.getsockname()[1]
    assert (ran.code, "timed out" in ran.err) == (1, True)
    ran = replay(log, record_id, f"http://127.0.0.1:{port}")
    assert (ran.code, "Connection refused" in ran.err) == (1, True)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80", "ftp://x", "http://", "http://a:b@c", "http://c/?q", "http://c:x"]
)
def test_what_is_no_server_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="--against"):
        Target.parse(url)


async def test_against_aiohttp(log: LogMaker) -> None:
    async def infer(request: web.Request) -> web.Response:
        sent = await request.json()
        return web.json_response({"n": sent["n"] + 0.1 + 0.2, "agent": request.headers["X-Agent"]})

    app = web.Application()
    app.router.add_post("/predict", infer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    head = b"POST /predict HTTP/1.1\r\nHost: m\r\nX-Agent: caf\xe9\r\nContent-Type: application/json\r\n\r\n"
    record_id = recorded(log, request_head=head, response=b'{"n": 1.3, "agent": "caf\xc3\xa9"}')
    arguments = (log, record_id, f"http://{host}:{port}", "--tolerance", "1e-9", "--ignore", "$.agent")
    ran = await asyncio.to_thread(replay, *arguments)
    await runner.cleanup()
    assert ran.code == 0, ran.out


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, JSON)
def test_documents_are_the_same_exactly_when_python_says_so(before: Any, after: Any) -> None:
    def plain(value: Any) -> Any:
        return json.loads(json.dumps(value))

    try:
        first, second = json.dumps(before).encode(), json.dumps(after, indent=1).encode()
        first.decode(), second.decode()
    except UnicodeError:
        return
    verdict = compare((200, first), (200, second))
    if verdict.same_json is None:
        return
    assert verdict.same == (tagged(plain(before)) == tagged(plain(after)))


def tagged(value: Any) -> Any:
    """Python takes True for 1; JSON does not."""
    if isinstance(value, dict):
        return {name: tagged(each) for name, each in value.items()}
    if isinstance(value, list):
        return [tagged(each) for each in value]
    return (
        ("number", value)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else (str(type(value)), value)
    )


def test_deep_documents_and_huge_numbers_are_compared() -> None:
    deep = b"[" * 900 + b"%d" + b"]" * 900
    verdict = compare((200, deep % 1), (200, deep % 2))
    assert verdict.differences[0].path == "$" + "[0]" * 900
    assert compare((200, b"1e308"), (200, b"-1e308"), 1e-6).same is False
    assert compare((200, b"[0.1]"), (200, b"[0.1000000001]"), 1e-6).same is True


def test_what_python_servers_send_as_json_is_compared_too(log: LogMaker, serve: Serve) -> None:
    server = serve(http(b'{"a": NaN, "b": "\\udce9"}'), http(b'{"a": NaN, "b": "\\udcea"}'))
    record_id = recorded(log, response=b'{"b": "\\udce9", "a": NaN}')
    assert replay(log, record_id, server.url).code == 0
    ran = replay(log, record_id, server.url, "--json")
    assert ran.code == 1
    assert [each["path"] for each in json.loads(ran.out)["differences"]] == ["$.b"]
