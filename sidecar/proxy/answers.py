"""The few answers that the recorder gives itself, when there is nobody else to give one."""

from __future__ import annotations

import json

_REASONS = {503: b"Service Unavailable", 504: b"Gateway Timeout"}


def answer(status: int, error: str, upstream: str, reason: str, bodiless: bool = False) -> bytes:
    """A whole HTTP/1.1 response whose JSON body names the upstream and the reason; the connection closes.

    `bodiless`: the head alone, as to HEAD, and without a length, which makes it
    whole to a client that asked otherwise, too (RFC 9110 section 9.3.2).
    """
    body = (
        json.dumps({"error": error, "upstream": upstream, "reason": reason, "source": "sidecar"}).encode()
        + b"\n"
    )
    return (
        b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n" % (status, _REASONS[status])
        + (b"" if bodiless else b"Content-Length: %d\r\n" % len(body))
        + b"Connection: close\r\n"
        + (b"Retry-After: 1\r\n" if status == 503 else b"")
        + b"\r\n"
        + (b"" if bodiless else body)
    )
