"""Connections that come, fail, wait, leave early or never say a word."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.counters import Global, Route
from sidecar.proxy import own_answer
from sidecar.records import Outcome
from tests.support.dialogues import CHUNKED_POST, GET, HEAD, OK, POST, UPGRADE, WILD_CHUNKS
from tests.support.observed import cut
from tests.support.scripted import Recorder, Upstream, dial, recorder, until


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def is_503(answer: bytes, port: int, error: str = "upstream_unavailable") -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert b"\r\nContent-Type: application/json\r\n" in head
    return bool(told["upstream"] == f"http://127.0.0.1:{port}" and told["error"] == error and told["reason"])


@pytest.mark.parametrize("connect_first", [False, True])
@pytest.mark.parametrize("request_bytes", [POST, GET, CHUNKED_POST + WILD_CHUNKS, UPGRADE])
async def test_a_refusing_upstream_is_a_503_that_names_it_and_a_record(
    request_bytes: bytes, connect_first: bool
) -> None:
    port = closed_port()
    async with recorder(port, connect_first=connect_first) as rig:
        client = await rig.connect()
        if connect_first:
            await until(lambda: rig.count(Route.UPSTREAM_FAILURES))
        await client.send(request_bytes)
        assert await client.ends() == "FIN"
        assert is_503(bytes(client.received), port)
        (only,) = await rig.recorded()
        assert (only.outcome, only.request, only.response) == (
            Outcome.UPSTREAM_ERROR,
            request_bytes,
            bytes(client.received),
        )
        assert only.response_bytes == len(client.received)
        client.close()
        await rig.nobody()
        assert len(rig.journal.exchanges) == 1


async def test_an_upstream_whose_name_cannot_even_be_asked_for_is_a_503_too() -> None:
    async with recorder(1) as rig:
        rig.settings.upstream_host = "a" * 70 + ".invalid"  # over the 63 characters of a label
        client = await rig.connect()
        await client.send(GET)
        assert await client.ends() == "FIN"
        assert bytes(client.received).startswith(b"HTTP/1.1 503 ")
        (only,) = await rig.recorded()
        assert only.outcome == Outcome.UPSTREAM_ERROR
        client.close()
        await rig.nobody()


async def test_a_refused_request_that_arrives_in_two_segments_is_recorded_whole() -> None:
    port = closed_port()
    async with recorder(port) as rig:
        for at in range(1, len(POST)):
            client = await rig.connect()
            await client.send(POST[:at])
            await client.expect(b"HTTP/1.1 503 ")
            await client.send(POST[at:])
            seen = (await rig.recorded(at))[-1]
            assert (seen.outcome, seen.request) == (Outcome.UPSTREAM_ERROR, POST)
            assert await client.ends() == "FIN"
            client.close()


async def test_a_refused_request_that_never_ends_is_recorded_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_answer, "LINGER_S", 0.05)
    async with recorder(closed_port()) as rig:
        client = await rig.connect()
        await client.send(POST[:-1])
        assert await client.ends() in ("FIN", "RST")
        (only,) = await rig.recorded()
        assert (only.outcome, only.request) == (Outcome.UPSTREAM_ERROR, POST[:-1])


async def test_what_a_client_sends_after_the_recorders_answer_starts_nothing() -> None:
    async with recorder(closed_port()) as rig:
        client = await rig.connect()
        await client.send(POST)
        await client.expect(b"HTTP/1.1 503 ")
        await rig.recorded()
        await client.send(POST)
        assert await client.ends() == "FIN"
        client.close()
        await rig.nobody()
        assert rig.count(Route.STARTED) == 1


async def test_pipelined_requests_to_a_refusing_upstream_are_all_recorded() -> None:
    async with recorder(closed_port()) as rig:
        client = await rig.connect()
        await client.send(POST + GET + POST)
        await client.ends()
        assert [each.outcome for each in await rig.recorded(3)] == [Outcome.UPSTREAM_ERROR] * 3


async def test_a_refused_client_that_has_half_closed_gets_its_answer() -> None:
    port = closed_port()
    async with recorder(port) as rig:
        client = await rig.connect()
        await client.send(POST)
        client.fin()
        assert await client.ends() == "FIN"
        assert is_503(bytes(client.received), port)


async def test_an_upstream_name_that_does_not_resolve_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    async with recorder(1) as rig:

        async def nowhere(*args: Any, **options: Any) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        class Loop:
            create_connection = staticmethod(nowhere)

            def __getattr__(self, name: str) -> Any:
                return getattr(rig_loop, name)

        rig_loop = rig.settings.loop
        rig.settings.loop = Loop()  # type: ignore[assignment]
        client = await rig.connect()
        await client.send(POST)
        await client.ends()
        assert b"Name or service not known" in client.received


def hanging_upstream() -> tuple[Upstream, list[socket.socket]]:
    """A listener whose queue is full, so that a connection to it neither stands nor fails."""
    upstream = Upstream(backlog=0)
    fill = []
    for _ in range(3):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", upstream.port))
        fill.append(sock)
    return upstream, fill


def connecting_to(port: int, but: Iterable[socket.socket] = ()) -> int:
    """Sockets of this machine in SYN_SENT towards a port, but for known ones."""
    known = {f":{each.getsockname()[1]:04X}" for each in but}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        row[2].endswith(f":{port:04X}") and row[3] == "02" and row[1][-5:] not in known for row in rows
    )


@pytest.mark.parametrize("connect_first", [False, True])
async def test_a_client_that_is_gone_before_the_upstream_connection_stands_leaves_none_behind(
    connect_first: bool,
) -> None:
    upstream, fill = hanging_upstream()
    async with recorder(upstream, connect_first=connect_first) as rig:
        client = await rig.connect()
        if not connect_first:
            await client.send(POST)
        await until(lambda: connecting_to(upstream.port, fill))
        client.reset()
        await rig.nobody()
        await until(lambda: not connecting_to(upstream.port, fill))
        if not connect_first:
            assert [each.outcome for each in rig.journal.seen] == [Outcome.CLIENT_ABORT]
    for sock in fill:
        sock.close()


async def test_a_connection_that_does_not_stand_in_time_is_a_503() -> None:
    upstream, fill = hanging_upstream()
    async with recorder(upstream, connect_timeout_s=0.05) as rig:
        client = await rig.connect()
        await client.send(POST)
        assert await client.ends() == "FIN"
        assert is_503(bytes(client.received), upstream.port)
        assert b"no connection within 0.05 s" in client.received
        await until(lambda: not connecting_to(upstream.port, fill))
    for sock in fill:
        sock.close()


async def test_probes_and_idle_connections_never_reach_the_upstream() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        probe = await rig.connect()
        probe.close()
        polite = await rig.connect()
        polite.fin()
        assert await polite.ends() == "FIN"
        rude = await rig.connect()
        rude.reset()
        await until(lambda: rig.count(Route.CONNECTIONS) == 3)
        await rig.nobody()
        idle = await rig.connect()
        await until(lambda: len(rig.clients) == 1)
        assert upstream.nobody_came()
        await idle.send(GET)
        server = await upstream.accept()
        await server.expect(GET)
        assert rig.count(Route.STARTED) == 1


async def test_connect_accept_connects_at_once_and_passes_a_probes_end_on() -> None:
    upstream = Upstream()
    async with recorder(upstream, connect_first=True) as rig:
        client = await rig.connect()
        server = await upstream.accept()
        await server.send(b"220 speaks first\r\n")
        await client.expect(b"220 speaks first\r\n")
        client.fin()
        assert await server.ends() == "FIN"
        server.close()
        assert await client.ends() == "FIN"
        await rig.nobody()
        assert rig.journal.seen[0].outcome is Outcome.OPAQUE


async def test_connect_accept_with_a_refusing_upstream_lets_a_probe_go_without_a_word() -> None:
    async with recorder(closed_port(), connect_first=True) as rig:
        client = await rig.connect()
        await until(lambda: rig.count(Route.UPSTREAM_FAILURES))
        client.fin()
        assert await client.ends() == "FIN"
        assert client.received == b""


async def test_a_client_over_the_limit_is_closed_and_counted_and_the_others_stay() -> None:
    upstream = Upstream()
    async with recorder(upstream, max_connections=2) as rig:
        first, second = await rig.connect(), await rig.connect()
        await until(lambda: len(rig.clients) == 2)
        third = await rig.connect()
        assert await third.ends() == "FIN"
        assert rig.count(Global.CONNECTIONS_REFUSED) == 1
        await first.send(GET)
        server = await upstream.accept()
        await server.expect(GET)
        second.close()
        await until(lambda: len(rig.clients) == 1)
        fourth = await rig.connect()
        await fourth.send(POST)
        await (await upstream.accept()).expect(POST)


class Silence:
    """What the recorder's tick does, with a limit that has passed at once."""

    def __init__(self, rig: Recorder) -> None:
        self.rig = rig

    def strike(self) -> int:
        """Times out every connection that waits for a first byte; returns how many."""
        silent = [client for client in self.rig.clients if client.silent_since_ns() is not None]
        for client in silent:
            client.time_out(0.5)
        return len(silent)


@pytest.mark.parametrize("held", [False, True])
async def test_an_upstream_that_never_answers_is_a_504_when_asked_for(held: bool) -> None:
    upstream = Upstream()
    async with recorder(upstream, held=held) as rig:
        client = await rig.connect()
        await client.send(POST[:-1])
        server = await upstream.accept()
        await server.expect(POST[:-1])
        assert Silence(rig).strike() == 0, "the request is not whole"
        await client.send(POST[-1:])
        await server.expect(POST[-1:])
        assert Silence(rig).strike() == 1
        assert await client.ends() == "FIN"
        assert client.received.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert json.loads(client.received.partition(b"\r\n\r\n")[2])["upstream"].endswith(f":{upstream.port}")
        assert await server.ends() == "RST"
        (only,) = await rig.recorded()
        assert (only.outcome, only.response) == (Outcome.TIMEOUT, bytes(client.received))
        assert Silence(rig).strike() == 0


async def test_idle_and_streaming_connections_are_not_timed_out() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        await client.send(GET)
        server = await upstream.accept()
        await server.expect(GET)
        await server.send(OK[:5])
        await client.expect(OK[:5])
        assert Silence(rig).strike() == 0
        await server.send(OK[5:])
        await client.expect(OK[5:])
        assert Silence(rig).strike() == 0


async def test_graceful_close_ends_idle_connections_and_lets_the_others_finish() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        fresh, kept, busy, stuck = [await rig.connect() for _ in range(4)]
        servers = []
        for client in (kept, busy, stuck):
            await client.send(POST)
            servers.append(await upstream.accept())
            await servers[-1].expect(POST)
        await servers[0].send(OK)
        await kept.expect(OK)
        await rig.recorded()

        def close_idle() -> None:
            for client in rig.clients:
                if client.idle:
                    client.close()

        close_idle()
        assert await fresh.ends() == "FIN"
        assert await kept.ends() == "FIN"
        assert await servers[0].ends() == "FIN"
        await until(lambda: len(rig.clients) == 2)
        await servers[1].send(OK)
        await busy.expect(OK)
        await rig.recorded(2)
        close_idle()
        assert await busy.ends() == "FIN"
        (last,) = rig.clients
        last.shut_down()
        assert await stuck.ends() == "RST"
        assert await servers[2].ends() == "RST"
        assert [each.outcome for each in await rig.recorded(3)] == [0, 0, Outcome.SHUTDOWN]


class QuietHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@contextlib.contextmanager
def wsgiref_server() -> Iterator[int]:
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, application, handler_class=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def gunicorn_sync_worker() -> Iterator[int]:
    """The application of this module behind one sync worker, on a socket that gunicorn inherits."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--workers", "1", "--worker-class", "sync"]
            + ["--log-level", "error", "--no-control-socket", "--bind", f"fd://{listener.fileno()}"]
            + ["tests.conformance.test_connections:application"],
            cwd=Path(__file__).parents[2],
            pass_fds=[listener.fileno()],
        )
        try:
            yield listener.getsockname()[1]
        finally:
            server.terminate()
            server.wait(30)


@pytest.mark.parametrize("server", [wsgiref_server, gunicorn_sync_worker])
async def test_idle_connections_do_not_starve_a_single_threaded_server(
    server: Callable[[], contextlib.AbstractContextManager[int]],
) -> None:
    with server() as port:
        async with recorder(port) as rig:
            idle = [await rig.connect() for _ in range(20)]
            await until(lambda: len(rig.clients) == len(idle))
            for _ in range(3):
                client = await rig.connect()
                await client.send(POST)
                assert await client.ends() == "FIN"
                assert client.received.endswith(b'\r\n\r\n{"a":1}')
            assert [each.outcome for each in await rig.recorded(3)] == [0, 0, 0]


async def test_each_client_has_an_upstream_connection_of_its_own() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        clients, servers = [], []
        for number in range(8):
            client = await rig.connect()
            await client.send(POST)
            server = await upstream.accept()
            await server.expect(POST)
            clients.append((number, client))
            servers.append((number, server))
        for number, server in reversed(servers):
            await server.send(OK.replace(b"hello", b"%05d" % number))
        for number, client in clients:
            await client.expect(OK.replace(b"hello", b"%05d" % number))
        await rig.recorded(8)
        assert len({each.connection for each in rig.journal.exchanges}) == 8


async def test_a_keep_alive_connection_is_kept_on_both_sides() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        for number in range(5):
            await client.send(POST)
            server = upstream.wires[0] if number else await upstream.accept()
            await server.expect(POST)
            await server.send(OK)
            await client.expect(OK)
        assert upstream.nobody_came()
        server.close()
        assert await client.ends() == "FIN"


async def test_dialling_directly_is_refused_as_the_rig_assumes() -> None:
    with pytest.raises(ConnectionRefusedError):
        await dial(closed_port())


@pytest.mark.parametrize("places", [[], [1], [4], [5], [9]])
async def test_the_recorders_own_answer_to_head_has_no_body(places: list[int]) -> None:
    """Cut inside its method, a request may still become a HEAD."""
    async with recorder(closed_port()) as rig:
        client = await rig.connect()
        for piece in cut(HEAD, places):
            await client.send(piece)
            await client.expect(b"" if client.received else b"HTTP/1.1 503 Service Unavailable\r\n")
        assert await client.ends() == "FIN"
        assert client.received.endswith(b"\r\n\r\n")
        assert b"Content-Length" not in client.received
        (only,) = await rig.recorded()
        assert (only.outcome, only.request, only.response) == (
            Outcome.UPSTREAM_ERROR, HEAD, bytes(client.received)
        )  # fmt: skip


async def test_a_head_that_is_never_answered_gets_no_body_either() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        await client.send(HEAD)
        await (await upstream.accept()).expect(HEAD)
        rig.clients[0].time_out(2.0)
        assert await client.ends() == "FIN"
        assert client.received.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert client.received.endswith(b"\r\n\r\n")
        client.close()
        await rig.nobody()


async def test_a_head_behind_an_answered_request_is_known_as_one() -> None:
    upstream = Upstream()
    async with recorder(upstream) as rig:
        client = await rig.connect()
        await client.send(GET + HEAD)
        server = await upstream.accept()
        await server.expect(GET + HEAD)
        await server.send(OK)
        await client.expect(OK)
        rig.clients[0].time_out(2.0)
        assert await client.ends() == "FIN"
        assert client.received[len(OK) :].endswith(b"\r\n\r\n")
