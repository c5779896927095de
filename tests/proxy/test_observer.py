"""Two byte streams in, exchanges out, however they are cut."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.clock import ManualClock
from sidecar.counters import Mode, Route
from sidecar.proxy.capture import PREFIX_BYTES
from sidecar.proxy.request_side import MAX_OPEN
from sidecar.proxy.unframed import STASH_BYTES
from sidecar.records import NEVER, Outcome
from tests.support.dialogues import (
    ALL,
    CHUNKED_OK,
    CHUNKED_POST,
    CONTINUE,
    FRAMED,
    GET,
    OK,
    OPAQUE,
    POST,
    SWITCHING,
    UPGRADE,
    WILD_CHUNKS,
    C,
)
from tests.support.observed import (
    BASE,
    Dialogue,
    Route1,
    Seen,
    Step,
    chunked,
    cut,
    digest,
    observe,
    recut,
    seen,
    show,
    timeless,
)

SHORT = {name: each for name, each in ALL.items() if "64 KiB" not in name}


def triples(exchanges: list[Seen]) -> list[tuple[Outcome, bytes, bytes]]:
    return [(each.outcome, each.request, each.response) for each in exchanges]


@pytest.mark.parametrize("name", ALL)
def test_a_dialogue_gives_its_exchanges(name: str) -> None:
    dialogue, expected = ALL[name]
    assert triples(observe(dialogue)) == expected


@pytest.mark.parametrize("name", SHORT)
def test_byte_by_byte_gives_the_same_exchanges(name: str) -> None:
    dialogue, _ = ALL[name]
    bytewise: list[Step] = []
    for side, data in dialogue:
        bytewise += [(side, data[at : at + 1]) for at in range(len(data))] if data else [(side, data)]
    assert timeless(observe(bytewise)) == timeless(observe(dialogue))


@pytest.mark.parametrize("name", SHORT)
def test_every_single_cut_gives_the_same_exchanges(name: str) -> None:
    dialogue, _ = ALL[name]
    whole = timeless(observe(dialogue))
    for index, (side, data) in enumerate(dialogue):
        for at in range(1, len(data)):
            steps = [*dialogue[:index], (side, data[:at]), (side, data[at:]), *dialogue[index + 1 :]]
            assert timeless(observe(steps)) == whole, (index, at)


@given(st.sampled_from(sorted(ALL)), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_any_cuts_give_the_same_exchanges(name: str, chance: random.Random) -> None:
    dialogue, _ = ALL[name]
    assert timeless(observe(recut(dialogue, chance, 8))) == timeless(observe(dialogue))


@pytest.mark.parametrize("name", OPAQUE)
def test_what_cannot_be_framed_names_its_reason(name: str) -> None:
    dialogue, _ = ALL[name]
    last = observe(dialogue)[-1]
    assert last.outcome is Outcome.OPAQUE
    assert last.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("HTTP/2 preface", "HTTP/2 preface"),
        ("TLS ClientHello", "TLS handshake"),
        ("garbage", "not HTTP"),
        ("Content-Length and Transfer-Encoding", "both Content-Length and Transfer-Encoding"),
        ("one bare LF", "bare LF in head"),
        ("NUL", "NUL in head"),
        ("negative length", "Content-Length is not a number of bytes"),
        ("differing lengths", "several different Content-Length values"),
        ("folded header", "folded header line"),
        ("space before the colon", "white space before a header's colon"),
        ("unsolicited 408", "response without a request"),
    ],
)
def test_the_reason_is_the_one_to_be_read(name: str, reason: str) -> None:
    assert observe(ALL[name][0])[-1].reason == reason


def counted(route: Route1) -> dict[str, int]:
    slots = (Route.OPAQUE_BYTES, Route.OPAQUE_ENDED_BYTES, Route.OPAQUE_TLS, Route.OPAQUE_HTTP2)
    return {slot.name: route.slots[BASE + slot] for slot in slots}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("first", "protocol"),
    [(b"\x16\x03\x01\x00\xa5", "OPAQUE_TLS"), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "OPAQUE_HTTP2")],
)
def test_what_is_not_read_is_counted_while_it_passes_and_by_protocol(
    quick: bool, first: bytes, protocol: str
) -> None:
    route = Route1()
    observer = route.connection(quick)
    show(observer, [("asks", first), ("answers", b"?" * 40), ("asks", b"!" * 7)])
    passed = len(first) + 47
    none = dict.fromkeys(counted(route), 0)
    assert counted(route) == none | {"OPAQUE_BYTES": passed, protocol: 1}
    show(observer, [("closes", b"")])
    assert counted(route) == none | {"OPAQUE_BYTES": passed, "OPAQUE_ENDED_BYTES": passed, protocol: 1}
    show(route.connection(quick), [("asks", POST), ("answers", OK), ("closes", b"")])
    whole = sum(route.slots[BASE + slot] for slot in (Route.REQUEST_BYTES, Route.RESPONSE_BYTES))
    assert whole - route.slots[BASE + Route.OPAQUE_ENDED_BYTES] == len(POST + OK)


def test_the_bytes_of_a_tunnel_are_counted_as_not_read() -> None:
    route = Route1()
    observer = route.connection(False)
    show(observer, [("asks", UPGRADE), ("answers", SWITCHING), ("asks", b"ping"), ("answers", b"pong!")])
    assert counted(route)["OPAQUE_BYTES"] == 9
    show(observer, [("closes", b"")])
    assert counted(route)["OPAQUE_ENDED_BYTES"] == len(UPGRADE + SWITCHING) + 9


def test_times_are_of_the_first_and_last_bytes() -> None:
    """`show` moves the clock by 1 ms before every step."""
    steps: list[Step] = [("asks", POST[:9]), ("asks", POST[9:]), ("answers", CONTINUE), ("answers", OK[:3])]
    (only,) = observe([*steps, ("answers", OK[3:])])
    assert only.times == (1_700_000_000_001_000, 1_000_000, 2_000_000, 4_000_000)


def test_a_stream_has_the_time_of_its_first_and_last_byte() -> None:
    head = CHUNKED_OK
    steps: list[Step] = [
        ("asks", GET),
        ("answers", head),
        ("answers", b"3\r\nabc\r\n"),
        ("answers", b"0\r\n\r\n"),
    ]
    (only,) = observe(steps)
    assert only.times[1:] == (0, 1_000_000, 3_000_000)


def test_a_request_answered_early_ends_when_it_has_been_sent() -> None:
    (only,) = observe([("asks", POST[:-3]), ("answers", OK), ("asks", POST[-3:])])
    assert only.times[1:] == (2_000_000, 1_000_000, 2_000_000)
    assert only.reason == "answered before its request ended"


def test_answer_first_ends_an_exchange_with_its_answer() -> None:
    route = Route1(answer_first=True)
    observer = route.connection()
    show(observer, [("asks", POST[:-3]), ("answers", OK)])
    assert triples([seen(each) for each in route.ended]) == [(C, POST[:-3], OK)]
    show(observer, [("asks", POST[-3:] + GET), ("answers", OK), ("closes", b"")])
    assert triples([seen(each) for each in route.ended]) == [(C, POST[:-3], OK), (C, GET, OK)]
    assert route.budget.held == 0
    assert route.ended[0].request_bytes == len(POST) - 3


def test_answer_first_keeps_nothing_of_the_rest_of_a_long_request() -> None:
    route = Route1(answer_first=True, body_limit=4096)
    head = b"POST / HTTP/1.1\r\n" + b"Transfer-Encoding: chunked\r\n\r\n"
    body = chunked(bytes(100_000), [1000] * 99)
    observer = route.connection()
    show(observer, [("asks", head + body[:50]), ("answers", OK)])
    for piece in cut(body[50:], range(0, len(body), 997)):
        observer.request_data(piece)
        assert route.budget.held == 0
    show(observer, [("asks", GET), ("answers", OK), ("closes", b"")])
    assert triples([seen(each) for each in route.ended]) == [(C, head + body[:50], OK), (C, GET, OK)]


def test_the_rest_of_a_request_that_was_given_up_is_not_kept() -> None:
    route = Route1()
    observer = route.connection()
    head = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    show(observer, [("asks", head + b"a" * 10), ("answers_eof", b""), ("asks", b"a" * 500)])
    assert route.budget.held == 0
    assert b"".join(route.ended[0].request) == head + b"a" * 10


def test_thousands_of_tiny_chunks() -> None:
    wire = chunked(bytes(5000), [1] * 5000)
    steps: list[Step] = [
        ("asks", CHUNKED_POST),
        *(("asks", piece) for piece in cut(wire, range(0, len(wire), 3))),
    ]
    steps += [("answers", CHUNKED_OK), *(("answers", piece) for piece in cut(wire, range(0, len(wire), 7)))]
    assert triples(observe(steps)) == [(C, CHUNKED_POST + wire, CHUNKED_OK + wire)]


def test_upgraded_traffic_is_counted_and_not_kept() -> None:
    (only,) = observe(
        [("asks", UPGRADE + b"a" * 10), ("answers", SWITCHING), ("answers", b"b" * 70), ("asks", b"c" * 5)]
    )
    assert only.outcome is Outcome.UPGRADED
    assert (only.request, only.response) == (UPGRADE, SWITCHING)
    assert (only.request_bytes, only.response_bytes) == (len(UPGRADE) + 15, len(SWITCHING) + 70)


def test_opaque_traffic_is_counted_and_its_first_bytes_are_kept() -> None:
    flood: list[Step] = [("asks", b"\0" * 50_000)] * 4 + [("answers", b"\1" * 50_000)] * 4
    (only,) = observe(flood)
    assert (only.request, only.response) == (b"\0" * PREFIX_BYTES, b"\1" * PREFIX_BYTES)
    assert (only.request_bytes, only.response_bytes) == (200_000, 200_000)


def test_a_client_that_talks_on_before_its_upgrade_is_answered_turns_opaque() -> None:
    dialogue: Dialogue = [
        ("asks", UPGRADE),
        ("asks", b"x" * (STASH_BYTES + 1)),
        ("answers", SWITCHING),
        ("answers", b"y"),
    ]
    (only,) = observe(dialogue)
    assert only.outcome is Outcome.OPAQUE
    assert only.request_bytes == len(UPGRADE) + STASH_BYTES + 1


def test_pipelined_exchanges_behind_unframed_traffic_say_so() -> None:
    exchanges = observe([("asks", POST + GET + POST), ("answers", OK + b"rubbish"), ("answers", OK)])
    assert [each.outcome for each in exchanges] == [C, Outcome.OPAQUE, Outcome.OPAQUE]
    assert exchanges[2].reason == "behind unframed traffic"


def test_a_body_with_nul_and_line_feeds_does_not_taint_the_next_head() -> None:
    body = b"\0\n\r\n\0" * 3
    post = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    exchanges = observe([("asks", post + GET[:10]), ("asks", GET[10:]), ("answers", OK + OK)])
    assert triples(exchanges) == [(C, post, OK), (C, GET, OK)]


@pytest.mark.parametrize("framing", ["length", "chunked", "until EOF"])
@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 300_000])
def test_a_body_past_the_limit_leaves_first_bytes_length_and_hash(framing: str, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    head, wire = {
        "length": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, payload),
        "chunked": (CHUNKED_OK, chunked(payload, [1000] * (size // 1000), b";x", b"T: 1\r\n")),
        "until EOF": (b"HTTP/1.1 200 OK\r\n\r\n", payload),
    }[framing]
    steps: list[Step] = [
        ("asks", GET),
        *(("answers", piece) for piece in cut(head + wire, range(500, size + 500, 4999))),
    ]
    route = Route1(body_limit=4096)
    (only,) = observe([*steps, ("answers_eof", b"")], route=route)
    assert only.outcome is C
    assert only.response_bytes == len(head + wire)
    if len(wire) <= 4096:
        assert (only.response, only.response_cut) == (head + wire, None)
    else:
        assert only.response_cut == digest(payload)
        assert only.response == (head + wire)[: len(only.response)]
        assert len(only.response) == len(head) + min(PREFIX_BYTES, len(wire))
    assert route.slots[BASE + Route.CUT] == (len(wire) > 4096)


def test_scarce_capture_memory_shortens_bodies_of_every_size() -> None:
    route = Route1(memory_limit=10_000)
    body = bytes(6000)
    post = b"POST / HTTP/1.1\r\nContent-Length: 6000\r\n\r\n" + body
    first, second = route.connection(), route.connection()
    first.request_data(post)
    second.request_data(post)
    assert route.budget.held <= 10_000
    show(second, [("answers", OK), ("closes", b"")])
    assert route.ended[0].request_cut == digest(body)
    assert len(b"".join(route.ended[0].request)) == len(post) - 6000 + 1024
    show(first, [("answers", OK), ("closes", b"")])
    assert (route.ended[1].request_cut, b"".join(route.ended[1].request)) == (None, post)
    assert route.budget.held == 0


@pytest.mark.parametrize("quick", [False, True])
def test_splice_only_counts_and_keeps_nothing(quick: bool) -> None:
    route = Route1()
    observer = route.connection(quick)
    show(observer, [("asks", POST), ("answers", OK), ("asks", POST[:-2])])
    route.mode(Mode.SPLICE_ONLY)
    show(observer, [("asks", POST[-2:]), ("answers", OK), ("asks", POST), ("answers", OK), ("asks", GET)])
    assert len(route.ended) == 2, "what had begun is recorded"
    assert route.sheds == ["splice_only"]
    assert route.budget.held == 0
    route.mode(Mode.RECORD)
    show(observer, [("answers", OK), ("asks", POST), ("answers", OK), ("closes", b"")])
    assert route.sheds == ["splice_only"] * 2
    assert triples([seen(each) for each in route.ended]) == [(C, POST, OK)] * 3
    assert route.slots[BASE + Route.SPLICED] == 2
    assert route.started == 5


@pytest.mark.parametrize("quick", [False, True])
def test_a_silent_upstream_is_seen_only_while_a_whole_request_waits_for_its_first_byte(quick: bool) -> None:
    clock = ManualClock()
    observer = Route1(clock=clock).connection(quick)
    assert observer.silent_since_ns() is None
    observer.request_data(POST[:-1])
    assert observer.silent_since_ns() is None
    clock.advance(1)
    observer.request_data(POST[-1:])
    assert observer.silent_since_ns() == 1_000_000_000
    clock.advance(1)
    observer.response_data(CONTINUE)
    assert observer.silent_since_ns() == 2_000_000_000, "an interim answer is heard, and is not the answer"
    observer.response_data(OK[:9])
    assert observer.silent_since_ns() is None
    observer.response_data(OK[9:])
    assert observer.silent_since_ns() is None
    clock.advance(1)
    observer.request_data(POST)
    assert observer.silent_since_ns() == 3_000_000_000
    observer.response_data(OK)
    assert observer.silent_since_ns() is None


@pytest.mark.parametrize("quick", [False, True])
def test_a_pipelined_request_waits_from_the_end_of_the_answer_before_it(quick: bool) -> None:
    clock = ManualClock()
    observer = Route1(clock=clock).connection(quick)
    observer.request_data(GET + GET)
    clock.advance(5)
    observer.response_data(OK)
    assert observer.silent_since_ns() == 5_000_000_000
    clock.advance(1)
    observer.waits_from_now()
    assert observer.silent_since_ns() == 6_000_000_000


def test_requests_without_an_answer_are_followed_up_to_a_bound() -> None:
    route = Route1()
    observer = route.connection(False)
    for _ in range(MAX_OPEN + 5):
        observer.request_data(GET)
    assert observer.unframed
    observer.closed(Outcome.CLIENT_ABORT, "gone")
    assert len(route.ended) == MAX_OPEN + 1
    assert route.ended[-1].reason == f"over {MAX_OPEN} requests without an answer"
    assert route.budget.held == 0


def test_unfinished_heads_are_within_the_capture_memory() -> None:
    route = Route1(memory_limit=64 * 1024)
    head = b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000
    observers = [route.connection(False) for _ in range(20)]
    for observer in observers:
        observer.request_data(head)
    assert route.budget.held <= 64 * 1024
    assert sum(observer.unframed for observer in observers) == 17


def test_a_body_that_trickles_in_is_kept_in_few_pieces() -> None:
    route = Route1()
    observer = route.connection(False)
    body = bytes(range(256)) * 200
    observer.request_data(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body))
    for at in range(len(body)):
        observer.request_data(body[at : at + 1])
    observer.response_data(OK)
    (exchange,) = route.ended
    assert b"".join(exchange.request).endswith(body)
    assert len(exchange.request) < len(body) / 1000


@pytest.mark.parametrize("quick", [False, True])
def test_idle_means_nothing_in_flight(quick: bool) -> None:
    observer = Route1().connection(quick)
    assert observer.idle
    for steps in ([("asks", POST)], [("asks", POST[:5])], [("asks", POST[:-1]), ("answers", OK)]):
        observer = Route1().connection(quick)
        show(observer, steps)
        assert not observer.idle
    show(observer, [("asks", POST[-1:])])
    assert observer.idle


@pytest.mark.parametrize("quick", [False, True])
def test_an_answer_of_the_recorder_is_the_oldest_exchanges_response(quick: bool) -> None:
    route = Route1()
    observer = route.connection(quick)
    observer.request_data(POST)
    observer.request_data(GET)
    observer.answered_by_recorder(b"HTTP/1.1 503 x\r\n\r\n", Outcome.UPSTREAM_ERROR, "refused")
    assert triples([seen(each) for each in route.ended]) == [
        (Outcome.UPSTREAM_ERROR, POST, b"HTTP/1.1 503 x\r\n\r\n"),
        (Outcome.UPSTREAM_ERROR, GET, b""),
    ]
    assert route.budget.held == 0


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    "steps", [[("asks", POST)], [("asks", POST[:-1])], [("asks", POST[:-1]), ("answers", OK)]]
)
def test_failed_observation_ends_what_is_open_as_opaque(quick: bool, steps: Dialogue) -> None:
    route = Route1()
    observer = route.connection(quick)
    show(observer, steps)
    observer.fail("observer failed: KeyError")
    (only,) = route.ended
    assert only.reason
    assert route.budget.held == 0
    assert observer.idle


def test_an_exchange_that_never_got_a_byte_has_no_first_byte_time() -> None:
    (only,) = observe([("asks", POST)])
    assert only.times[2] == NEVER


def test_every_framed_dialogue_ends_idle() -> None:
    for dialogue, _ in FRAMED.values():
        observer = Route1().connection()
        show(observer, dialogue)
        assert observer.idle or observer.unframed


def test_wild_chunks_hold_what_they_should() -> None:
    """The corpus itself: extensions with quotes, data that looks like an end, trailers."""
    assert WILD_CHUNKS.count(b"0\r\n\r\n") == 1
    assert b"X-Sum: 1\r\nX-More: 2\r\n\r\n" in WILD_CHUNKS
