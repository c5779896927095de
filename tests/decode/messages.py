"""HTTP messages for decoder tests, as the journal would hand them out."""

from __future__ import annotations

import json
from typing import Any

from sidecar.decode.registry import Decoding
from sidecar.records import Message, Observation

LIMIT = 1 << 20


def request(body: bytes, *headers: str) -> Message:
    return message("POST / HTTP/1.1", body, *headers)


def response(body: bytes, *headers: str, status: int = 200) -> Message:
    return message(f"HTTP/1.1 {status} Whatever", body, *headers)


def message(start: str, body: bytes, *headers: str) -> Message:
    head = "\r\n".join([start, "Host: model", *headers, "", ""]).encode()
    return Message(head, body, length=len(body))


def observe(path: str, asked: Any, answer: Any, *, decoder: str = "auto", status: int = 200) -> Observation:
    """The observation of an exchange of two JSON values."""
    decoding = Decoding(decoder, LIMIT)
    body = json.dumps(answer).encode()
    return decoding.observe(path, request(json.dumps(asked).encode()), response(body, status=status))
