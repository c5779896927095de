"""Where one HTTP/1 message ends (RFC 9112 section 6), from its head alone.

Framing here is observation: the bytes have been forwarded already. Whatever two
parsers could read differently raises `Unframeable`, and the connection goes on
unread as opaque; a guess could pair one person's request with another's answer.
"""

from __future__ import annotations

import re
from typing import Final

CHUNKED: Final = -1
"""Body framing: chunked transfer coding."""
UNTIL_EOF: Final = -2
"""Body framing: everything until the upstream closes."""
TUNNEL: Final = -3
"""No more HTTP on this connection: 101, or 2xx to CONNECT."""
INTERIM: Final = -4
"""A 1xx head; the final answer is still to come."""

MAX_HEAD_BYTES: Final = 256 * 1024
"""Longer heads are forwarded but not framed; servers commonly stop at 8 to 64 KiB."""

TLS: Final = "TLS handshake"
HTTP2: Final = "HTTP/2 preface"
"""Reasons why a connection is opaque that are counted apart."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) [^ \r]+ HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])[ \r]")
_NOTABLE = re.compile(rb"\r\n(?:([ \t])|(content-length|transfer-encoding|upgrade)([^\r]*))")
"""Folded lines, and the headers that decide where a message ends. On lower-case heads."""
_CONTROL = b"\0\r\n"


class Unframeable(Exception):
    """These bytes are not HTTP/1 that every parser would read alike; the text says why."""


def not_http(first: bytes | bytearray) -> str:
    """Why bytes at the place of a request line are none, by the first of them; empty if they may be one."""
    if first[:1] == b"\x16":
        return TLS
    if not _TOKEN.match(first[:1]):
        return "not HTTP"
    return ""


def may_be_head(first: bytes | bytearray) -> bool:
    """Whether a request that begins so is a HEAD, or not enough of it is there to say that it is none."""
    return bool(first) and b"HEAD ".startswith(first[:5])


def frame_request(head: bytes) -> tuple[bytes, int, bool]:
    """Method, body framing (a length or CHUNKED) and whether the request may turn into a tunnel.

    `head` runs to its empty line. Raises Unframeable.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise Unframeable(_bad_line(head) or "request line is not HTTP/1.x")
    method, minor = line.groups()
    lengths, codings, upgrade = _notable(head)
    may_tunnel = upgrade or method == b"CONNECT"
    if codings:
        if _final_coding(codings, lengths, minor) != b"chunked":
            raise Unframeable("request body is not delimited")
        return method, CHUNKED, may_tunnel
    return method, _length(lengths) if lengths else 0, may_tunnel


def frame_response(head: bytes, method: bytes) -> tuple[int, int]:
    """Status and body framing (a length or a constant of this module) of an answer to `method`.

    `head` runs to its empty line. Raises Unframeable.
    """
    line = _STATUS_LINE.match(head)
    if line is None:
        raise Unframeable(_bad_line(head) or "status line is not HTTP/1.x")
    minor, code = line.groups()
    lengths, codings, _ = _notable(head)
    status = int(code)
    if status < 200:
        return status, TUNNEL if status == 101 else INTERIM
    if method == b"CONNECT" and status < 300:
        return status, TUNNEL
    framing = UNTIL_EOF
    if codings:
        if _final_coding(codings, lengths, minor) == b"chunked":
            framing = CHUNKED
    elif lengths:
        framing = _length(lengths)
    if status == 204 or status == 304 or method == b"HEAD":
        framing = 0
    return status, framing


def _bad_line(head: bytes) -> str:
    if head.startswith(b"PRI * HTTP/2.0\r\n"):
        return HTTP2
    return _bad_characters(head)


def _bad_characters(head: bytes) -> str:
    lines = head.count(b"\r\n")
    if b"\0" in head:
        return "NUL in head"
    if head.count(b"\n") != lines:
        return "bare LF in head"
    return "bare CR in head" if head.count(b"\r") != lines else ""


def _notable(head: bytes) -> tuple[list[bytes], list[bytes], bool]:
    """Values of Content-Length and Transfer-Encoding, and whether Upgrade is there; the head is sound."""
    if len(head) - len(head.translate(None, _CONTROL)) != 2 * head.count(b"\r\n"):
        raise Unframeable(_bad_characters(head))
    lengths: list[bytes] = []
    codings: list[bytes] = []
    upgrade = False
    for fold, name, rest in _NOTABLE.findall(head.lower()):
        if fold:
            raise Unframeable("folded header line")
        if rest[:1] != b":":
            if rest[:1] in (b" ", b"\t"):
                raise Unframeable("white space before a header's colon")
            continue  # another header whose name only begins alike
        if name == b"upgrade":
            upgrade = True
        else:
            values = lengths if name == b"content-length" else codings
            values += [value.strip(b" \t") for value in rest[1:].split(b",")]
    return lengths, codings, upgrade


def _length(values: list[bytes]) -> int:
    value = values[0]
    if len(values) > 1 and any(other != value for other in values):
        raise Unframeable("several different Content-Length values")
    if not value.isdigit() or len(value.lstrip(b"0")) > 18:
        raise Unframeable("Content-Length is not a number of bytes")
    return int(value.lstrip(b"0") or b"0")


def _final_coding(codings: list[bytes], lengths: list[bytes], minor: bytes) -> bytes:
    if lengths:
        raise Unframeable("both Content-Length and Transfer-Encoding")
    if minor == b"0":
        raise Unframeable("Transfer-Encoding in HTTP/1.0")
    if codings.count(b"chunked") > 1 or not all(_TOKEN.match(coding) for coding in codings):
        raise Unframeable("Transfer-Encoding is not understood")
    return codings[-1]
