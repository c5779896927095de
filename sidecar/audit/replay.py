"""A recorded request as it is sent again: what goes out, and which records cannot be replayed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from sidecar.archive.show import Shown, message
from sidecar.errors import StoreError, UsageError

REPLACED: Final = frozenset({"host", "content-length"})
"""Headers that are written anew: the server and the framing are others."""
LEFT_OUT: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer"),
        *("upgrade", "http2-settings", "expect"),
    }
)
"""Headers of the one connection that was recorded (RFC 9110 section 7.6.1), and what asks to wait."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Target:
    """A server to send to; `prefix` comes before every path."""

    secure: bool
    host: str
    port: int
    authority: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises UsageError for what is no http or https URL of a server."""
        wrong = UsageError(f"--against {url!r}: is no address of a server: write http://HOST:PORT")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise wrong from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise wrong
        if parts.username is not None or parts.password is not None:
            raise UsageError("--against: carries a user name or password: leave them out")
        secure = parts.scheme == "https"
        return cls(
            secure, parts.hostname, port or (443 if secure else 80), parts.netloc, parts.path.rstrip("/")
        )


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes to send, and what of the recorded request is not in them."""

    method: str
    data: bytes
    notes: tuple[str, ...]


def prepare(shown: Shown, target: Target, headers: Sequence[tuple[str, str]] = ()) -> Request:
    """The recorded request for this server, with `headers` in place of recorded ones of their names.

    Raises StoreError for a record that cannot be replayed.
    """
    row = shown.row
    _require_whole(shown)
    sent = message(row, "request")
    method, path = _request_line(row, sent.start_line)
    notes = [f"redacted by {rule}: sent as it was stored" for rule in _rules(row)]
    lines = [f"{method} {target.prefix}{path} HTTP/1.1".encode("latin-1")]
    lines.append(b"Host: " + target.authority.encode("ascii", "ignore"))
    given = {name.lower() for name, _ in headers}
    has_length = False
    for line in sent.head.split(b"\r\n")[1:]:
        name = line.partition(b":")[0].strip().decode("latin-1").lower()
        if not name:
            continue
        has_length = has_length or name in ("content-length", "transfer-encoding")
        if name not in REPLACED and name not in LEFT_OUT and name not in given:
            lines.append(line)
    lines += [f"{name}: {value}".encode("latin-1", "replace") for name, value in headers]
    if has_length or sent.body:
        lines.append(b"Content-Length: %d" % len(sent.body))
    if sent.trailers:
        notes.append("trailers: sent without")
    lines += [b"Connection: close", b"", sent.body]
    return Request(method, b"\r\n".join(lines), tuple(notes))


def header(text: str) -> tuple[str, str]:
    """Name and value of `NAME: VALUE`. Raises ValueError for what is no header that may be given."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _TOKEN.fullmatch(name) or any(each in value for each in "\r\n\0"):
        raise ValueError("is no header: write NAME: VALUE")
    if name.lower() in REPLACED | LEFT_OUT:
        raise ValueError(f"{name} belongs to the connection and is written by replay itself")
    return name, value


def _require_whole(shown: Shown) -> None:
    row = shown.row
    record = f"record {row['record_id']}"
    if row["kind"] != "exchange":
        raise StoreError(f"{record}: is a {row['kind']}, not an exchange: nothing was asked")
    if shown.sealed_body is not None:
        raise StoreError(f"{record}: {shown.sealed_body}")
    said = _redaction(row)
    inner = [rule for rule in said.get("rules", []) if not _header_rule(rule)]
    if said.get("dropped") or inner:
        what = ", ".join(said.get("dropped") or inner)
        raise StoreError(f"{record}: was redacted ({what}): it cannot be sent as it was")
    if not row["request_head"]:
        raise StoreError(f"{record}: no request head was recorded ({row['outcome']}): it cannot be sent")
    for side in ("request", "response"):
        part = message(row, side)
        if part.sha256 is not None:
            raise StoreError(
                f"{record}: its {side} body was cut when it was recorded: {len(part.body):,} of "
                f"{part.length:,} bytes: it cannot be replayed"
            )
        if row[f"{side}_body"] is None and part.length:
            raise StoreError(f"{record}: its {side} body is not stored: it cannot be replayed")
        if not part.complete:
            raise StoreError(f"{record}: its {side} ended early ({row['outcome']}): nothing to compare with")


def _request_line(row: dict[str, Any], line: bytes) -> tuple[str, str]:
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3 or parts[0] == "CONNECT":
        raise StoreError(
            f"record {row['record_id']}: its request line {line[:80]!r} is none that can be sent again"
        )
    method, path = parts[0], parts[1]
    if not path.startswith("/") and path != "*":
        # The absolute form that clients send to proxies (RFC 9112 section 3.2.2).
        absolute = urlsplit(path)
        path = (absolute.path or "/") + (f"?{absolute.query}" if absolute.query else "")
    return method, path


def _redaction(row: dict[str, Any]) -> dict[str, Any]:
    if row["redacted"] is None:
        return {}
    try:
        said = orjson.loads(row["redacted"])
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {"dropped": {"unknown": str(row["redacted"])}}


def _rules(row: dict[str, Any]) -> list[str]:
    rules: list[str] = _redaction(row).get("rules", [])
    return [rule for rule in rules if not rule.startswith("response.")]


def _header_rule(rule: str) -> bool:
    return rule.split(":")[0] in ("header", "request.header", "response.header")
