"""One request sent, and its answer read: a connection of its own, everything bounded."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final

from sidecar.audit.replay import Request, Target
from sidecar.errors import StoreError
from sidecar.records import Message

MOST_BYTES: Final = 256 << 20
"""Of an answer's body."""
MOST_INTERIM: Final = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, the message as a record would keep it, and how long it took."""

    status: int
    message: Message
    took_ms: float


def send(request: Request, target: Target, timeout_s: float, ca: str | None = None) -> Answer:
    """The server's answer. Raises StoreError when there is none within the time, or it is too large."""
    where = f"{target.host}:{target.port}"
    began = time.monotonic()
    try:
        with socket.create_connection((target.host, target.port), timeout_s) as plain:
            connection = plain
            if target.secure:
                context = ssl.create_default_context(cafile=ca)
                connection = context.wrap_socket(plain, server_hostname=target.host)
            with connection:
                connection.sendall(request.data)
                response = http.client.HTTPResponse(connection, method=request.method)
                _begin(response)
                body = _body(response, where, began + timeout_s)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StoreError(f"replay: {where}: {reason}: is the model server running there?") from error
    head = b"HTTP/1.1 %d %s\r\n" % (response.status, response.reason.encode("latin-1", "replace"))
    for name, value in response.getheaders():
        head += f"{name}: {value}\r\n".encode("latin-1", "replace")
    took_ms = (time.monotonic() - began) * 1000
    return Answer(response.status, Message(head + b"\r\n", body, length=len(body)), took_ms)


def _begin(response: http.client.HTTPResponse) -> None:
    """Read the final head: http.client passes over 100 alone, servers also send 102 and 103."""
    response.begin()
    for _ in range(MOST_INTERIM):
        if not 100 <= response.status < 200 or response.status == 101:
            return
        # What makes `begin` read another head.
        response.headers = None  # type: ignore[assignment]
        response.begin()
    raise http.client.HTTPException("only interim answers")


def _body(response: http.client.HTTPResponse, where: str, until: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read1(1 << 20):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise StoreError(f"replay: {where}: its answer is larger than {MOST_BYTES >> 20} MiB")
        if time.monotonic() > until:
            raise TimeoutError("timed out")
    if response.length:
        raise http.client.IncompleteRead(b"".join(parts), response.length)
    return b"".join(parts)
