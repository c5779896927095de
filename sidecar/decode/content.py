"""A stored body with its content codings taken off, never larger than a limit (RFC 9110 section 8.4)."""

from __future__ import annotations

import sys
import zlib

from sidecar.errors import DecodeError
from sidecar.records import Message

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_CODINGS = 4
"""Codings stacked on one body; more serves only those who want to exhaust a reader."""
MAX_MEMBERS = 1000
"""Gzip members or zstd frames in one body."""
ZSTD_WINDOW_LOG = 23
"""8 MiB, the largest window that RFC 9659 lets a sender of `Content-Encoding: zstd` use."""

_GZIP = 16 + zlib.MAX_WBITS
_SLICE_BYTES = 1 << 16
"""Fed at a time: `unused_data` copies what follows a member, which must not be the whole body each time."""


def decoded_body(message: Message, limit: int) -> bytes:
    """The body of `message` without its content codings: gzip, deflate, zstd and identity, also stacked.

    Raises DecodeError if the body was cut when it was recorded, has another
    coding, is damaged or truncated, or comes to more than `limit` bytes.
    """
    if message.sha256 is not None:
        kept = len(message.body)
        raise DecodeError(
            f"the body was cut when it was recorded: {kept} of {message.length} bytes kept (see body_limit)"
        )
    body = message.body
    # Message.header would find no more, and costs a call and a slice per message.
    if b"\r\ncontent-encoding:" in message.head.lower():
        for coding in reversed(_codings(message)):
            body = _without(coding, body, limit)
    if len(body) > limit:
        raise _too_large(len(body), limit)
    return body


def _codings(message: Message) -> list[str]:
    values = [value for name, value in message.headers() if name.lower() == "content-encoding"]
    codings = [coding for value in values for part in value.split(",") if (coding := part.strip().lower())]
    if len(codings) > MAX_CODINGS:
        raise DecodeError(f"{len(codings)} content codings on one body; at most {MAX_CODINGS} are taken off")
    return codings


def _without(coding: str, body: bytes, limit: int) -> bytes:
    if coding == "identity" or not body:
        return body
    try:
        if coding in ("gzip", "x-gzip"):
            return _members(body, limit, coding)
        if coding == "deflate":
            return _deflated(body, limit)
        if coding == "zstd":
            return _members(body, limit, coding)
    except (zlib.error, zstd.ZstdError) as error:
        raise DecodeError(f"content coding {coding}: damaged data ({error})") from error
    raise DecodeError(
        f"content coding {coding[:40]!r} is not supported (gzip, deflate, zstd and identity are); "
        "the body is stored as it was"
    )


def _members(body: bytes, limit: int, coding: str) -> bytes:
    """All gzip members or zstd frames of `body`, one after the other."""
    pieces: list[bytes] = []
    room = limit
    view = memoryview(body)
    at = 0
    for _ in range(MAX_MEMBERS):
        at, room = _member(view, at, room, limit, coding, pieces)
        if at == len(body):
            return b"".join(pieces)
    raise DecodeError(f"content coding {coding}: more than {MAX_MEMBERS} members in one body")


def _member(
    view: memoryview, at: int, room: int, limit: int, coding: str, pieces: list[bytes]
) -> tuple[int, int]:
    """Appends what the member at `at` holds to `pieces`; the offset after it and the room left."""
    inflater = _Zstd() if coding == "zstd" else _Zlib(_GZIP)
    while not inflater.eof:
        if at == len(view):
            raise DecodeError(f"content coding {coding}: the data ends before its end mark")
        piece = bytes(view[at : at + _SLICE_BYTES])
        at += len(piece)
        room = _drain(inflater, piece, room, limit, pieces)
    return at - len(inflater.unused_data), room


def _deflated(body: bytes, limit: int) -> bytes:
    """RFC 9110 means the zlib format, but raw deflate is common enough that every client takes both."""
    try:
        return _one_stream(body, limit, zlib.MAX_WBITS)
    except zlib.error:
        return _one_stream(body, limit, -zlib.MAX_WBITS)


def _one_stream(body: bytes, limit: int, wbits: int) -> bytes:
    inflater = _Zlib(wbits)
    pieces: list[bytes] = []
    _drain(inflater, body, limit, limit, pieces)
    if not inflater.eof:
        raise DecodeError("content coding deflate: the data ends before its end mark")
    return b"".join(pieces)


class _Zlib:
    """zlib's decompressor under the calls that zstd's has."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)

    def more(self, data: bytes, room: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, room)

    @property
    def hungry(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


class _Zstd:
    """One zstd frame."""

    def __init__(self) -> None:
        self._inner = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        )

    def more(self, data: bytes, room: int) -> bytes:
        return self._inner.decompress(data, room)

    @property
    def hungry(self) -> bool:
        return self._inner.needs_input

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


def _drain(inflater: _Zlib | _Zstd, data: bytes, room: int, limit: int, pieces: list[bytes]) -> int:
    """Everything `data` decompresses to, appended to `pieces`; raises once that passes `room`."""
    while True:
        # One byte above the room tells "exactly the limit" from "more than the limit".
        piece = inflater.more(data, room + 1)
        data = b""
        if len(piece) > room:
            raise _too_large(None, limit)
        pieces.append(piece)
        room -= len(piece)
        if inflater.eof or inflater.hungry:
            return room


def _too_large(size: int | None, limit: int) -> DecodeError:
    what = "decompresses to more than" if size is None else f"has {size} bytes, more than"
    return DecodeError(f"the body {what} the {limit} bytes a decoder may look at (see decode_limit)")
