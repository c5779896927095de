"""The few answers that the recorder gives itself, when there is nobody else to give one."""

from __future__ import annotations

import json

_REASONS = {503: b"Service Unavailable", 504: b"Gateway Timeout"}


def answer(status: int, error: str, upstream: str, reason: str) -> bytes:
    """A whole HTTP/1.1 response whose JSON body names the upstream and the reason; the connection closes."""
    body = (
        json.dumps({"error": error, "upstream": upstream, "reason": reason, "source": "sidecar"}).encode()
        + b"\n"
    )
    return (
        b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n"
        % (status, _REASONS[status], len(body))
        + (b"Retry-After: 1\r\n" if status == 503 else b"")
        + b"\r\n"
        + body
    )
