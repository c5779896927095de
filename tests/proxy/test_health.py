"""The recorder's own answers."""

from __future__ import annotations

import pytest

from sidecar.proxy.health import HealthServer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /healthz HTTP/1.1", b"200"),
        (b"GET /readyz HTTP/1.1", b"200"),
        (b"HEAD /readyz?verbose HTTP/1.0", b"200"),
        (b"GET / HTTP/1.1", b"404"),
        (b"POST /healthz HTTP/1.1", b"405"),
        (b"rubbish", b"405"),
    ],
)
def test_health_answers_by_path(request_line: bytes, status: bytes) -> None:
    answer = HealthServer(lambda: True).answer(request_line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    head, _, body = answer.partition(b"\r\n\r\n")
    if request_line.startswith(b"HEAD"):
        assert body == b""
    else:
        assert b"Content-Length: %d\r\n" % len(body) in head


def test_draining_is_alive_and_not_ready() -> None:
    health = HealthServer(lambda: False)
    assert health.answer(b"GET /healthz HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert health.answer(b"GET /readyz HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503")
