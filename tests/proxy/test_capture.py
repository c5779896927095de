"""Bodies in bounded memory: kept whole, or first bytes, length and hash of exactly the payload."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.proxy.capture import PREFIX_BYTES, SCARCE_PREFIX_BYTES, BodyReader, CaptureBudget
from sidecar.proxy.framing import CHUNKED, UNTIL_EOF
from sidecar.records import Exchange
from tests.support.observed import chunked, cut, digest

HEAD = b"a head\r\n\r\n"
SIZES = [0, 1, 1000, 1023, 1024, 1025, 5000, 65_536, 65_537, 262_144, 300_000]


def read(
    payload: bytes, framing: int, places: list[int], budget: CaptureBudget
) -> tuple[Exchange, BodyReader, bytes]:
    """Feed a body and something behind it; checks the memory account at every step."""
    wire = (
        chunked(payload, [3000] * (len(payload) // 3000), b";x", b"T: 1\r\n")
        if framing == CHUNKED
        else payload
    )
    exchange = Exchange("default", 1, "c", 0, 0)
    exchange.request = [HEAD]
    reader = BodyReader(exchange, exchange.request, len(payload) if framing >= 0 else framing, budget)
    before = budget.held
    behind = b"" if framing == UNTIL_EOF else b"next"
    taken = 0
    for piece in cut(wire + behind, places):
        if reader.done:
            break
        taken += reader.feed(piece, 0)
        assert budget.held - before == exchange.held_bytes == sum(map(len, exchange.request)) - len(HEAD)
    assert taken == len(wire)
    assert reader.done == (framing != UNTIL_EOF)
    return exchange, reader, wire


@given(
    st.sampled_from(SIZES),
    st.sampled_from([0, CHUNKED, UNTIL_EOF]),
    st.lists(st.integers(0, 320_000), max_size=12),
    st.sampled_from([1024, 65_536, 280_000, 1 << 23]),
)
@settings(max_examples=150, deadline=None)
def test_a_body_is_kept_whole_or_described_exactly(
    size: int, framing: int, places: list[int], limit: int
) -> None:
    payload = random.Random(size).randbytes(size)
    exchange, reader, wire = read(payload, framing, places, CaptureBudget(1 << 30, limit))
    kept = b"".join(exchange.request)
    if (size if framing >= 0 else len(wire)) <= limit:
        assert (kept, reader.finish()) == (HEAD + wire, None)
    else:
        assert reader.finish() == digest(payload)
        assert kept == HEAD + wire[:PREFIX_BYTES]


@given(
    st.sampled_from(SIZES),
    st.sampled_from([0, CHUNKED, UNTIL_EOF]),
    st.lists(st.integers(0, 320_000), max_size=12),
    st.integers(0, 400_000),
)
@settings(max_examples=150, deadline=None)
def test_scarce_memory_is_never_overdrawn_by_more_than_the_first_bytes(
    size: int, framing: int, places: list[int], room: int
) -> None:
    payload = random.Random(size).randbytes(size)
    budget = CaptureBudget(1 << 20, 1 << 23, pending=lambda: (1 << 20) - room)
    exchange, reader, wire = read(payload, framing, places, budget)
    assert budget.held <= max(room, SCARCE_PREFIX_BYTES)
    kept, known = b"".join(exchange.request), reader.finish()
    if known is None:
        assert kept == HEAD + wire
    else:
        assert known == digest(payload)
        assert kept[: len(HEAD) + SCARCE_PREFIX_BYTES] == HEAD + wire[:SCARCE_PREFIX_BYTES]


@pytest.mark.parametrize("framing", [5000, CHUNKED, UNTIL_EOF])
def test_a_muted_body_only_ends(framing: int) -> None:
    exchange = Exchange("default", 1, "c", 0, 0)
    exchange.recorded = False
    budget = CaptureBudget(1 << 20, 1000)
    reader = BodyReader(exchange, exchange.request, framing, budget)
    wire = chunked(bytes(5000), [100]) if framing == CHUNKED else bytes(5000)
    assert reader.feed(wire, 0) == len(wire)
    assert (reader.finish(), budget.held, exchange.request) == (None, 0, [])
