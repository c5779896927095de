"""Stored raw bytes, taken apart again: heads, body without transfer coding, trailers.

Inverse of what the observer kept. Runs off the traffic path (analyst, `show`).
Bytes that cannot be framed, as in opaque records, come back as one body.
"""

from __future__ import annotations

from sidecar.proxy.chunked import ChunkScanner
from sidecar.proxy.framing import (
    CHUNKED,
    INTERIM,
    TUNNEL,
    UNTIL_EOF,
    Unframeable,
    frame_request,
    frame_response,
)
from sidecar.records import Cut, Message


def split_request(raw: bytes, cut: Cut | None) -> Message:
    """The request in `raw`; `cut` as recorded when its body was not kept whole."""
    end = raw.find(b"\r\n\r\n") + 4
    if end == 3:
        return Message(head=b"", body=raw, length=len(raw), complete=False)
    head = raw if end == len(raw) else raw[:end]
    try:
        _, framing, _ = frame_request(head)
    except Unframeable:
        return Message(head=b"", body=raw, length=len(raw), complete=False)
    if framing == len(raw) - end:
        return Message(head, raw[end:], length=framing)
    return _with_body(head, raw[end:], framing, cut, b"", False)


def split_response(raw: bytes, method: bytes, cut: Cut | None, ended: bool = True) -> Message:
    """The final response in `raw`, with the interim ones before it.

    `method` is the request's; `ended` tells whether the upstream closed cleanly,
    which is the only end that an EOF-delimited body has.
    """
    start = 0
    while True:
        end = raw.find(b"\r\n\r\n", start) + 4
        if end == 3:
            return Message(
                head=b"", body=raw[start:], interim=raw[:start], length=len(raw) - start, complete=False
            )
        try:
            _, framing = frame_response(raw[start:end], method)
        except Unframeable:
            return Message(
                head=b"", body=raw[start:], interim=raw[:start], length=len(raw) - start, complete=False
            )
        if framing == INTERIM:
            start = end
            continue
        head = raw[start:end]
        if framing == len(raw) - end:
            return Message(head, raw[end:], interim=raw[:start], length=framing)
        return _with_body(head, raw[end:], framing, cut, raw[:start], ended)


def _with_body(
    head: bytes, rest: bytes, framing: int, cut: Cut | None, interim: bytes, ended: bool
) -> Message:
    trailers = b""
    if framing == CHUNKED:
        pieces: list[bytes] = []
        scanner = ChunkScanner(lambda piece: pieces.append(bytes(piece)))
        try:
            scanner.feed(rest, 0)
            complete = scanner.done
        except Unframeable:
            complete = False
        body = b"".join(pieces)
        trailers = scanner.trailers
    elif framing == UNTIL_EOF:
        body, complete = rest, ended
    elif framing == TUNNEL:
        body, complete = b"", True
    else:
        body = rest[:framing]
        complete = len(body) == framing
    if cut is not None:
        # A cut body ran to its end unless it is shorter than its framing announced.
        whole = complete or framing < 0 or cut.length == framing
        return Message(head, body, trailers, interim, cut.length, cut.sha256, whole)
    return Message(head, body, trailers, interim, len(body), None, complete)
