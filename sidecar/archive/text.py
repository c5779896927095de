"""Records as a person reads them, on a terminal or through a pipe. Pure: rows in, lines out.

Payload text is untrusted: control characters are shown as escapes, so that a
recorded body cannot move the cursor or colour the auditor's terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click
import orjson

from sidecar.archive.show import Shown, message, redaction_lines
from sidecar.archive.when import readable
from sidecar.errors import DecodeError
from sidecar.records import Message

BODY_CHARACTERS = 4_000
HEX_BYTES = 256

_MOMENTS = (("t_request_end_us", "request ended"), ("t_first_byte_us", "first byte"), ("t_end_us", "end"))

Opener = Callable[[Message], bytes]
"""Gives a message's body without its content coding; raises DecodeError when it cannot."""


def header() -> str:
    """The columns of `line`."""
    named = f"{'TIME (UTC)':<24}  {'STATUS':<6}  {'OUTCOME':<14}  {'MS':>9}  {'IN':>7}  {'OUT':>7}"
    return named + "  RECORD, REQUEST"


def line(row: dict[str, Any], width: int | None) -> str:
    """One found record; cut to `width` characters if given."""
    time = readable(row["t_request_us"])
    if row["kind"] != "exchange":
        return _fit(f"{time:<24}  {row['kind']:<6}  {_story(row)}  {safe(str(row['record_id']))}", width)
    status = "-" if row["status"] is None else str(row["status"])
    took = _milliseconds(row["t_request_us"], row["t_end_us"])
    sizes = f"{_size(row['request_bytes']):>7}  {_size(row['response_bytes']):>7}"
    request = f"{row['method'] or ''} {row['path'] or ''}".strip()
    rest = f"{safe(str(row['record_id']))}  {safe(request)}"
    outcome = safe(str(row["outcome"] or "-"))
    return _fit(f"{time:<24}  {status:<6}  {outcome:<14}  {took:>9}  {sizes}  {rest}", width)


def whole(shown: Shown, opened: Opener) -> Iterator[str]:
    """Everything of one record, as lines."""
    row = shown.row
    yield click.style(f"{row['kind']} {row['record_id']}", bold=True)
    yield from _facts(shown)
    if row["kind"] != "exchange":
        return
    for side, decoded in (("request", row["inputs"]), ("response", row["outputs"])):
        yield ""
        yield click.style(side, bold=True)
        yield from _message(message(row, side), opened, shown.sealed_body)
        if decoded:
            yield f"  decoded by {row['decoder']}:"
            yield from _indented(_pretty(decoded.encode()))


def _facts(shown: Shown) -> Iterator[str]:
    row = shown.row
    start = row["t_request_us"] or 0
    yield _fact("model", safe(str(row["model"])))
    yield _fact("image digest", safe(row["image_digest"] or "unknown"))
    if row["artifact_digest"]:
        yield _fact("artifact digest", safe(row["artifact_digest"]))
    yield _fact("identity from", safe(f"{row['identity_source']}, epoch {row['epoch']}"))
    yield _fact("log", safe(str(row["log"])))
    yield _fact("sealed as", f"leaf {row['leaf_index']} in {safe(shown.file)}")
    if row["kind"] == "exchange":
        client = row["client"] or "an address that is not kept"
        yield _fact("connection", safe(f"{row['connection']} from {client}"))
    yield _fact("request began", f"{readable(start)}  ({start} µs)")
    for name, label in _MOMENTS:
        if row[name] is not None:
            later_ms = (row[name] - start) / 1000
            yield _fact(label, f"{readable(row[name])}  (+{later_ms:.3f} ms, {row[name]} µs)")
    if row["kind"] == "exchange":
        yield _fact("status", "none" if row["status"] is None else str(row["status"]))
        yield _fact("bytes", f"{row['request_bytes']} in, {row['response_bytes']} out")
    if row["outcome"]:
        yield _fact("outcome", safe(row["outcome"]) + (f" ({safe(row['reason'])})" if row["reason"] else ""))
    elif row["reason"]:
        yield _fact("reason", safe(row["reason"]))
    if row["count"] is not None:
        last = row["seq"] + row["count"] - 1
        yield _fact("exchanges", f"{row['seq']} to {last} ({row['count']}) left no record")
    for name, value in sorted((row["keys"] or {}).items()):
        yield _fact("key", f"{safe(name)} = {safe(str(value))}")
    if row["decision"] is not None:
        yield _fact("decision", safe(row["decision"]))
    for each in redaction_lines(row["redacted"]):
        yield _fact("redacted", safe(each))
    if shown.encrypted:
        yield _fact("bodies", safe(shown.sealed_body or "encrypted, opened here with the master key"))
    if row["decode_error"]:
        yield _fact("not decoded", safe(row["decode_error"]))
    if row["details"]:
        yield _fact("details", safe(row["details"]))
    for other in shown.followers:
        yield _fact("delivery", f"{other['outcome']} at {readable(other['t_end_us'])}: not received whole")


def _message(part: Message, opened: Opener, sealed: str | None) -> Iterator[str]:
    for interim in part.interim.split(b"\r\n\r\n"):
        if interim:
            yield from ("  " + safe(text) for text in interim.decode("latin-1").split("\r\n"))
            yield ""
    if part.head:
        yield "  " + safe(part.start_line.decode("latin-1"))
        for name, value in part.headers():
            yield f"  {click.style(safe(name), fg='cyan')}: {safe(value)}"
        yield ""
    elif not part.body:
        yield "  nothing"
        return
    if sealed is not None and part.body:
        yield f"  ({len(part.body)} bytes, {safe(sealed)})"
    else:
        yield from _body(part, opened)
    for text in part.trailers.decode("latin-1").split("\r\n"):
        if text:
            yield f"  trailer {safe(text)}"
    if part.sha256 is not None:
        yield f"  body of {part.length} bytes not kept whole, SHA-256 {part.sha256.hex()}"
    if not part.complete:
        yield "  incomplete: it ended before its framing said so"


def _body(part: Message, opened: Opener) -> Iterator[str]:
    if not part.body:
        yield "  (no body)"
        return
    try:
        body = opened(part)
    except DecodeError as error:
        yield f"  (content coding kept: {safe(str(error))})"
        body = part.body
    try:
        text = _pretty(body)
    except UnicodeDecodeError:
        yield f"  ({len(body)} bytes, not text)"
        for start in range(0, min(len(body), HEX_BYTES), 16):
            yield f"  {start:08x}  {body[start : start + 16].hex(' ')}"
        text = ""
        if len(body) > HEX_BYTES:
            yield f"  … {len(body) - HEX_BYTES} more bytes; --json has them all"
    yield from _indented(text)


def _pretty(body: bytes) -> str:
    """JSON indented, other text as it is. Raises UnicodeDecodeError for what is no text."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except ValueError:
        return body.decode("utf-8")


def _indented(text: str) -> Iterator[str]:
    shown = text[:BODY_CHARACTERS]
    yield from ("  " + safe(each) for each in shown.split("\n") if each or len(shown) > 1)
    if len(text) > len(shown):
        yield f"  … {len(text) - len(shown)} more characters; --json has them all"


def safe(text: str) -> str:
    """The text with everything a terminal might act upon as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def _fact(name: str, value: str) -> str:
    return f"  {name:<16} {value}"


def _story(row: dict[str, Any]) -> str:
    if row["kind"] == "gap":
        return f"{row['count']} exchanges left no record: {safe(row['reason'] or '')}"
    if row["kind"] == "delivery":
        return f"not received whole: {row['outcome']}"
    return safe(" ".join(part for part in (row["reason"], row["details"]) if part))


def _milliseconds(start_us: int | None, end_us: int | None) -> str:
    return "-" if start_us is None or end_us is None else f"{(end_us - start_us) / 1000:.2f}"


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    value = float(count)
    for unit in ("", "K", "M", "G"):
        if value < 1000:
            return f"{value:.0f}{unit}" if unit == "" or value >= 100 else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def _fit(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 1] + "…"
