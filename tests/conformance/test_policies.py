"""open, closed, relaxed, before_response: what leaves when, and what never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.clock import SystemClock
from sidecar.counters import Counters, Mode, Route
from sidecar.journal import JournalLimits, JournalReader, JournalWriter
from sidecar.records import Epoch, Exchange, Outcome, Position
from tests.support.dialogues import CHUNKED_OK, GET, HEAD, OK, POST, SSE, SWITCHING, UPGRADE, WILD_CHUNKS
from tests.support.scripted import Recorder, Upstream, Wire, recorder, until

FOREVER_S = 3600.0
FRAMED_ANSWERS = {
    "length": OK,
    "chunked": CHUNKED_OK + WILD_CHUNKS,
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@asynccontextmanager
async def asked(request: bytes = POST, **options: object) -> AsyncIterator[tuple[Recorder, Wire, Wire]]:
    """A recorder that holds responses, a client that has asked, and the upstream that was."""
    upstream = Upstream()
    options = {"held": True, "hold_limit_s": FOREVER_S} | options
    async with recorder(upstream, **options) as rig:  # type: ignore[arg-type]
        client = await rig.connect()
        await client.send(request)
        server = await upstream.accept()
        await server.expect(request)
        yield rig, client, server


async def nothing_more(rig: Recorder, client: Wire) -> None:
    """What is held stays held: the recorder has nothing under way to the client."""
    await until(lambda: all(not each.transport.get_write_buffer_size() for each in rig.clients))
    with pytest.raises(BlockingIOError):
        client.socket.recv(1)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("answer", FRAMED_ANSWERS.values(), ids=FRAMED_ANSWERS)
async def test_the_last_bytes_leave_after_the_record_is_durable(answer: bytes, closed: bool) -> None:
    async with asked(closed=closed) as (rig, client, server):
        await server.send(answer[:-1])
        await client.expect(answer[:-1])
        await server.send(answer[-1:])
        await rig.recorded()
        await nothing_more(rig, client)
        rig.journal.settle(True)
        await client.expect(answer[-1:])
        assert rig.triples == [(Outcome.COMPLETE, POST, answer)]
        assert rig.count(Route.HELD_EXPIRED) == 0


@pytest.mark.parametrize("closed", [False, True])
async def test_the_fin_of_an_eof_delimited_response_leaves_after_the_record_is_durable(closed: bool) -> None:
    async with asked(closed=closed) as (rig, client, server):
        await server.send(SSE + b"data: 1\n\n")
        await client.expect(SSE + b"data: 1\n\n")
        server.fin()
        await rig.recorded()
        await nothing_more(rig, client)
        rig.journal.settle(True)
        assert await client.ends() == "FIN"


@pytest.mark.parametrize("answer", [OK, SSE + b"data: 1\n\n"])
async def test_a_held_end_survives_a_client_that_half_closes_meanwhile(answer: bytes) -> None:
    async with asked() as (rig, client, server):
        await server.send(answer)
        if answer is not OK:
            await client.expect(answer)
        server.fin()
        await rig.recorded()
        client.fin()
        assert await server.ends() == "FIN"
        await nothing_more(rig, client)
        rig.journal.settle(True)
        if answer is OK:
            await client.expect(answer)
        assert await client.ends() == "FIN"
        assert rig.journal.deliveries == []


async def test_open_waits_at_most_the_limit_and_counts_it() -> None:
    async with asked(hold_limit_s=0.01) as (rig, client, server):
        await server.send(OK)
        await client.expect(OK)
        assert rig.count(Route.HELD_EXPIRED) == 1
        await client.send(GET)
        await server.expect(GET)
        await server.send(SSE)
        await client.expect(SSE)
        for _ in range(5):
            await server.send(b"data: x\n\n")
            await client.expect(b"data: x\n\n")
        assert rig.count(Route.HELD_EXPIRED) == 1, "an earlier record does not delay a stream"
        server.fin()
        assert await client.ends() == "FIN"
        assert rig.count(Route.HELD_EXPIRED) == 2


async def test_open_serves_what_could_not_be_recorded() -> None:
    async with asked() as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        rig.journal.settle(False)
        await client.expect(OK)


async def test_closed_answers_503_instead_of_what_could_not_be_recorded() -> None:
    async with asked(closed=True) as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        rig.journal.settle(False)
        assert await client.ends() == "FIN"
        assert client.received.startswith(b"HTTP/1.1 503 ")
        assert b"hello" not in client.received
        assert await server.ends() == "RST"


@pytest.mark.parametrize("fin", [False, True])
async def test_closed_resets_a_stream_whose_record_was_shed(fin: bool) -> None:
    async with asked(closed=True) as (rig, client, server):
        answer = SSE if fin else CHUNKED_OK
        await server.send(answer)
        await client.expect(answer)
        if fin:
            server.fin()
        else:
            await server.send(b"0\r\n\r\n")
        await rig.recorded()
        rig.journal.settle(False)
        assert await client.ends() == "RST"
        assert client.received == answer


@pytest.mark.parametrize("closed", [False, True])
async def test_pipelined_responses_are_held_and_leave_in_order(closed: bool) -> None:
    async with asked(POST + GET + POST, closed=closed) as (rig, client, server):
        await server.send(OK)
        await rig.recorded(1)
        await nothing_more(rig, client)
        # The upstream is not read while something is held; its next answers come after.
        await server.send(OK.replace(b"hello", b"world") + OK.replace(b"hello", b"again"))
        rig.journal.settle(True)
        await client.expect(OK)
        await rig.recorded(3)
        await nothing_more(rig, client)
        rig.journal.settle(True)
        await client.expect(OK.replace(b"hello", b"world") + OK.replace(b"hello", b"again"))
        assert [each.request for each in rig.journal.seen] == [POST, GET, POST]


async def test_an_upstream_that_breaks_while_bytes_are_held_does_not_take_them_along() -> None:
    async with asked() as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        server.reset()
        await client.send(POST)  # notices the break
        await until(lambda: rig.clients and rig.clients[0]._upstream.lost)  # type: ignore[union-attr]
        rig.journal.settle(True)
        await client.expect(OK)
        assert await client.ends() == "RST"


@pytest.mark.parametrize("closed", [False, True])
async def test_a_client_that_left_while_bytes_were_held_leaves_a_delivery_record(closed: bool) -> None:
    async with asked(closed=closed) as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        client.reset()
        await rig.nobody()
        assert await server.ends() == "RST"
        rig.journal.settle(True)
        (delivery,) = rig.journal.deliveries
        assert (delivery.seq, delivery.outcome) == (1, Outcome.CLIENT_ABORT)
        assert rig.count(Route.DELIVERY_FAILURES) == 1
        assert rig.journal.seen[0].outcome is Outcome.COMPLETE


async def test_a_silent_upstream_is_not_blamed_while_it_is_not_read() -> None:
    async with asked(POST + GET, closed=True) as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        assert rig.clients[0].silent_since_ns() is None
        rig.journal.settle(True)
        await client.expect(OK)
        assert rig.clients[0].silent_since_ns() is not None


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("places", [[POST], [POST[:9], POST[9:]]])
async def test_closed_refuses_requests_while_the_journal_takes_no_more(
    held: bool, places: list[bytes]
) -> None:
    upstream = Upstream()
    async with recorder(upstream, held=held, closed=True) as rig:
        rig.journal.accepting = False
        client = await rig.connect()
        for piece in places:
            await client.send(piece)
        await client.expect(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert await client.ends() == "FIN"
        assert b'"error": "not_recording"' in client.received
        assert upstream.nobody_came()
        assert (rig.journal.sheds, rig.count(Route.STARTED)) == (["refused"], 1)
        assert rig.count(Route.OUTCOME, Outcome.REFUSED) == 1
        client.close()
        await rig.nobody()
        rig.journal.accepting = True
        client = await rig.connect()
        await client.send(POST)
        await (await upstream.accept()).expect(POST)


@pytest.mark.parametrize("held", [False, True])
async def test_closed_refuses_the_next_request_of_a_kept_connection(held: bool) -> None:
    async with asked(held=held, closed=True) as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        rig.journal.settle(True)
        await client.expect(OK)
        rig.journal.accepting = False
        await client.send(POST)
        await client.expect(b"HTTP/1.1 503 ")
        assert await server.ends() == "RST"


async def test_closed_never_lets_its_own_answer_overtake_a_held_one() -> None:
    async with asked(closed=True) as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        rig.journal.accepting = False
        await client.send(GET)
        await nothing_more(rig, client)
        rig.journal.settle(True)
        await client.expect(OK + b"HTTP/1.1 503 ")
        assert await client.ends() == "FIN"
        assert (rig.journal.sheds, rig.journal.deliveries) == (["refused"], [])


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("at", [0, 20, len(POST)])
async def test_closed_refuses_each_pipelined_request_by_itself(held: bool, at: int) -> None:
    """The journal fills up after `at` bytes of POST: the GET behind it in the same chunk is refused."""
    upstream = Upstream()
    async with recorder(upstream, held=held, closed=True) as rig:
        client = await rig.connect()
        rig.journal.accepting = at > 0
        if at:
            await client.send(POST[:at])
            server = await upstream.accept()
            await server.expect(POST[:at])
            rig.journal.accepting = False
        await client.send(POST[at:] + GET + POST)
        if at:
            await server.expect(POST[at:])
            await server.send(OK[:-1])
            await client.expect(OK[:-1])
            await server.send(OK[-1:])
            await rig.recorded()
            rig.journal.settle(True)
            await client.expect(OK[-1:])
        await client.expect(b"HTTP/1.1 503 ")
        assert await client.ends() == "FIN"
        if at:
            assert await server.ends() == "RST"
            assert server.received == POST, "nothing of the refused request was forwarded"
        else:
            assert upstream.nobody_came()
        assert rig.journal.sheds == ["refused"]
        assert rig.count(Route.OUTCOME, Outcome.REFUSED) == 1
        assert [each.request for each in rig.journal.seen] == ([POST] if at else [])


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("answer", [b"", OK[:-1], SSE + b"data: 1\n\n"], ids=["none", "cut", "until EOF"])
async def test_closed_gives_no_503_that_would_be_taken_for_an_earlier_answer(
    held: bool, answer: bytes
) -> None:
    async with asked(held=held, closed=True) as (rig, client, server):
        rig.journal.accepting = False
        await client.send(GET)
        if answer:
            await server.send(answer)
            await client.expect(answer)
        server.fin()
        await rig.recorded()
        rig.journal.settle(True)
        assert await client.ends() in ("FIN", "RST")
        assert client.received == answer
        assert rig.journal.sheds == []


@pytest.mark.parametrize("held", [False, True])
async def test_closed_answers_a_refused_request_although_the_upstream_closes_after_the_one_before(
    held: bool,
) -> None:
    async with asked(held=held, closed=True) as (rig, client, server):
        rig.journal.accepting = False
        await client.send(b"\r\n" + GET)
        await server.send(OK)
        server.fin()
        await rig.recorded()
        rig.journal.settle(True)
        await client.expect(OK + b"HTTP/1.1 503 ")
        assert await client.ends() == "FIN"


@pytest.mark.parametrize("held", [False, True])
async def test_closed_takes_empty_lines_between_requests_for_no_request(held: bool) -> None:
    async with asked(held=held, closed=True) as (rig, client, server):
        rig.journal.accepting = False
        await client.send(b"\r\n")
        await server.send(OK)
        await rig.recorded()
        rig.journal.settle(True)
        await client.expect(OK)
        rig.journal.accepting = True
        await client.send(GET)
        await server.expect(GET)
        assert rig.journal.sheds == []


@pytest.mark.parametrize(
    "garbage", [b"\0\0\0", b"POST / HTTP/1.1\nA: b\n\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
async def test_closed_and_held_does_not_forward_what_it_cannot_record(garbage: bytes) -> None:
    upstream = Upstream()
    async with recorder(upstream, held=True, closed=True) as rig:
        client = await rig.connect()
        await client.send(garbage)
        await client.expect(b"HTTP/1.1 503 ")
        assert await client.ends() == "FIN"
        assert b"not_recordable" in client.received
        assert upstream.nobody_came()
        (only,) = await rig.recorded()
        assert only.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("request_bytes", "answer"), [(POST, b"not HTTP\r\n"), (UPGRADE, SWITCHING), (POST, OK + OK)]
)
async def test_closed_and_held_does_not_serve_what_it_cannot_record(
    request_bytes: bytes, answer: bytes
) -> None:
    async with asked(request_bytes, closed=True) as (rig, client, server):
        await server.send(answer)
        await rig.recorded()
        rig.journal.settle(True)
        await client.ends()
        assert not answer.startswith(bytes(client.received[:20])) or client.received == b""


async def test_closed_relaxed_forwards_opaque_traffic() -> None:
    upstream = Upstream()
    async with recorder(upstream, closed=True) as rig:
        client = await rig.connect()
        await client.send(b"\0\1\2")
        server = await upstream.accept()
        await server.expect(b"\0\1\2")
        await server.send(b"\3")
        await client.expect(b"\3")


@pytest.mark.parametrize("closed", [False, True])
async def test_splice_only_lifts_every_policy_and_is_switched_in_the_middle_of_a_connection(
    closed: bool,
) -> None:
    async with asked(closed=closed) as (rig, client, server):
        await server.send(OK)
        await rig.recorded()
        rig.journal.settle(True)
        await client.expect(OK)
        rig.route.mode(Mode.SPLICE_ONLY)
        rig.journal.accepting = False
        for _ in range(3):
            await client.send(POST)
            await server.expect(POST)
            await server.send(OK)
            await client.expect(OK)
        assert rig.journal.sheds == ["splice_only"] * 3
        rig.journal.accepting = True
        rig.route.mode(Mode.RECORD)
        await client.send(GET)
        await server.expect(GET)
        await server.send(OK)
        await rig.recorded(2)
        rig.journal.settle(True)
        await client.expect(OK)


async def test_before_response_with_the_real_journal(tmp_path: Path) -> None:
    """At the moment the client has its last byte, a reader of the journal finds the record."""
    counters = Counters.create(tmp_path, "20261123T231500-9f3c2a71b0", ("default",))
    writer = JournalWriter(
        tmp_path,
        counters.boot,
        counters,
        SystemClock(),
        JournalLimits(before_response=True, volume_bytes=2 << 20, body_limit=64 << 10),
        [Epoch("default", 1, "mortgage")],
    )
    writer.start(asyncio.get_running_loop())
    async with asked(closed=True) as (rig, client, server):
        rig.settings.journal = writer
        rig.clients[0]._hold._journal = writer  # type: ignore[union-attr]
        for number in range(5):
            if number:
                await client.send(POST)
                await server.expect(POST)
            await server.send(OK)
            await client.expect(OK)
            reader = JournalReader(tmp_path, counters.boot)
            found = [
                entry
                for segment in reader.read(Position(0, 0), 1 << 20)
                for entry in getattr(segment, "entries", ())
                if isinstance(entry, Exchange)
            ]
            assert len(found) == number + 1
        rig.route.slots[64 + Route.STARTED] = 0  # recorded elsewhere
    await writer.close(10.0)


@pytest.mark.parametrize("held", [False, True])
async def test_a_refused_head_gets_no_body(held: bool) -> None:
    async with recorder(Upstream(), held=held, closed=True) as rig:
        rig.journal.accepting = False
        client = await rig.connect()
        await client.send(HEAD)
        assert await client.ends() == "FIN"
        assert client.received.startswith(b"HTTP/1.1 503 ")
        assert client.received.endswith(b"\r\n\r\n")
