"""Exchanges, openers and observers that the privacy tests share; the real decoders, no stand-ins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.decode.content import decoded_body
from sidecar.decode.registry import Decoding
from sidecar.errors import DecodeError
from sidecar.privacy.redact import Redaction, Redactor
from sidecar.privacy.rules import parse_rule
from sidecar.records import Message, Observation

KEY = bytes(range(32))
LIMIT = 1 << 20
DECODING = Decoding()
JSON = b"Content-Type: application/json\r\n"


def open_body(message: Message) -> bytes:
    return decoded_body(message, LIMIT)


def observe(request: Message, response: Message) -> Observation | None:
    parts = request.start_line.split(b" ")
    try:
        return DECODING.observe(parts[1].decode("latin-1") if len(parts) == 3 else "", request, response)
    except DecodeError:
        return None


def request(body: bytes = b"", headers: bytes = JSON, target: bytes = b"/predict", **more: Any) -> Message:
    head = b"POST " + target + b" HTTP/1.1\r\nHost: model\r\n" + headers + b"\r\n"
    return Message(head, body, **{"length": len(body), **more})


def response(body: bytes = b'{"score":0.5}', headers: bytes = JSON, **more: Any) -> Message:
    return Message(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n", body, **{"length": len(body), **more})


def redactor(*rules: str, defaults: bool = True) -> Redactor:
    return Redactor([parse_rule(rule) for rule in rules], open_body, KEY, defaults)


def redact(
    rules: Sequence[str], asked: Message, answered: Message | None = None, defaults: bool = True
) -> Redaction:
    """The exchange under these rules, decoded before and after by the real decoders."""
    answered = answered or response()
    return redactor(*rules, defaults=defaults).redact(asked, answered, observe(asked, answered), observe)


def stored_bytes(result: Redaction) -> bytes:
    """Everything of an exchange that a row holds, in one piece."""
    pieces = []
    for message in (result.request, result.response):
        pieces += [message.head, message.body, message.trailers, message.interim, message.sha256 or b""]
    if result.observation is not None:
        pieces += [repr(result.observation).encode()]
    return b"\n".join([*pieces, (result.redacted or "").encode()])
