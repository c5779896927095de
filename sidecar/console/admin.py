"""The analyst's HTTP address: metrics for machines, status for people and scripts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from sidecar.console import labels, metrics
from sidecar.console.board import Board
from sidecar.served import served

_BOARD = web.AppKey("board", Board)

INDEX = """sidecar analyst

/metrics         Prometheus
/api/v1/status   JSON
/api/v1/labels   POST ground truth: JSON, an array of it, or a line each
/healthz         is this process alive
"""


def application(board: Board, take_labels: labels.Take | None = None) -> web.Application:
    """The routes over one board; labels are taken where `take_labels` keeps them."""
    made = metrics.registry(board)

    async def scrape(request: web.Request) -> web.Response:
        body = await asyncio.to_thread(metrics.exposition, made)
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def status(request: web.Request) -> web.Response:
        # In a thread: summaries wait for the analyst, and this loop must go on answering.
        current = await asyncio.to_thread(board.status)
        return web.Response(body=dump(current), content_type="application/json")

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    app = web.Application()
    app[_BOARD] = board
    app.add_routes(
        [
            web.get("/", index),
            web.get("/healthz", health),
            web.get("/metrics", scrape),
            web.get("/api/v1/status", status),
        ]
    )
    if take_labels is not None:
        app.router.add_post(labels.PATH, labels.handler(take_labels))
    return app


def dump(value: object) -> bytes:
    """JSON with a line end; numpy scalars and odd keys are taken as they come."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, option=options, default=str)


@asynccontextmanager
async def serve(
    listeners: Sequence[int], board: Board, take_labels: labels.Take | None = None
) -> AsyncIterator[None]:
    """Answer on already listening sockets, given by descriptor, for as long as the context is open."""
    opened = [socket.socket(fileno=descriptor) for descriptor in listeners]
    async with served(application(board, take_labels), opened):
        yield
