"""`POST /api/v1/labels`: ground truth for records, kept before it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from sidecar.errors import JournalError, SidecarError

PATH = "/api/v1/labels"
MOST_BYTES = 4 << 20
TYPES = ("application/json", "application/x-ndjson", "application/ndjson", "application/jsonl")
"""A page in somebody's browser cannot send these to another site's address without being asked first."""

Take = Callable[[bytes], Mapping[str, int]]
"""Keeps the labels of a body. Raises ValueError for a wrong one, SidecarErrors for what cannot be kept."""


def handler(take: Take) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answers 202 when the labels are durable; 400, 413, 415 or 503 with one line of words otherwise."""

    async def labels(request: web.Request) -> web.Response:
        if request.content_type not in TYPES:
            return _refused(415, f"content type {request.content_type[:60]}: send {TYPES[0]} or {TYPES[1]}")
        body = await _body(request)
        if body is None:
            return _refused(413, f"more than {MOST_BYTES >> 20} MiB at once: send several requests")
        try:
            taken = await asyncio.to_thread(take, body)
        except ValueError as error:
            return _refused(400, str(error))
        except JournalError as error:
            return _refused(503, str(error))
        except SidecarError as error:
            return _refused(501, str(error))
        return web.Response(status=202, body=_json(taken), content_type="application/json")

    return labels


async def _body(request: web.Request) -> bytes | None:
    if (request.content_length or 0) > MOST_BYTES:
        return None
    received = bytearray()
    async for chunk in request.content.iter_any():
        received += chunk
        if len(received) > MOST_BYTES:
            return None
    return bytes(received)


def _refused(status: int, words: str) -> web.Response:
    return web.Response(status=status, body=_json({"error": words}), content_type="application/json")


def _json(value: Mapping[str, object]) -> bytes:
    return orjson.dumps(dict(value), option=orjson.OPT_APPEND_NEWLINE)
