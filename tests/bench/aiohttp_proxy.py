"""The peer that a Python team would write first: an aiohttp server that forwards with an aiohttp client.

    python -m tests.bench.aiohttp_proxy LISTEN_PORT UPSTREAM_PORT

It records nothing. Small bodies go in one piece, which is faster than streaming them; large ones and
event streams are passed on as they come.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector, hdrs, web
from multidict import CIMultiDict

HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailer", "Upgrade")
SMALL_BYTES = 64 << 10
SESSION = web.AppKey("session", ClientSession)


class Proxy:
    def __init__(self, upstream_port: int) -> None:
        self.base = f"http://127.0.0.1:{upstream_port}"

    async def session(self, app: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(limit=0, keepalive_timeout=120)
        app[SESSION] = ClientSession(
            connector=connector,
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=1 << 20,
        )
        yield
        await app[SESSION].close()

    async def forward(self, request: web.Request) -> web.StreamResponse:
        headers = CIMultiDict(request.headers)
        for name in HOP_BY_HOP:
            headers.popall(name, None)
        body = None
        if request.body_exists:
            length = request.content_length
            body = await request.read() if length is not None and length <= SMALL_BYTES else request.content
        async with request.app[SESSION].request(
            request.method, self.base + request.path_qs, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = CIMultiDict(answer.headers)
            for name in HOP_BY_HOP:
                kept.popall(name, None)
            length = answer.content_length
            if length is not None and length <= SMALL_BYTES:
                kept.popall(hdrs.CONTENT_LENGTH, None)
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


def main() -> None:
    listen_port, upstream_port = int(sys.argv[1]), int(sys.argv[2])
    proxy = Proxy(upstream_port)
    app = web.Application(client_max_size=1 << 30)
    app.cleanup_ctx.append(proxy.session)
    app.router.add_route("*", "/{path:.*}", proxy.forward)
    web.run_app(app, host="127.0.0.1", port=listen_port, access_log=None, print=None, backlog=4096)


if __name__ == "__main__":
    main()
