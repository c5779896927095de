"""The chunked coding's end is found wherever the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.proxy.chunked import MAX_LINE_BYTES, MAX_TRAILER_BYTES, ChunkScanner
from sidecar.proxy.framing import Unframeable
from tests.support.observed import chunked, cut


def scan(pieces: list[bytes]) -> tuple[bytes, bytes, int, bool]:
    """Payload, trailers, bytes taken and whether the end was found."""
    payload: list[bytes] = []
    scanner = ChunkScanner(lambda piece: payload.append(bytes(piece)))
    taken = 0
    for piece in pieces:
        if scanner.done:
            break
        taken += scanner.feed(piece, 0)
    return b"".join(payload), scanner.trailers, taken, scanner.done


@given(
    st.binary(max_size=300),
    st.lists(st.integers(1, 40), max_size=12),
    st.sampled_from([b"", b";a=b", b'; a="b;c" ;d', b" "]),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]),
    st.binary(max_size=20),
    st.sets(st.integers(0, 600), max_size=20),
)
def test_payload_trailers_and_end_do_not_depend_on_the_cuts(
    payload: bytes, sizes: list[int], extension: bytes, trailers: bytes, after: bytes, places: set[int]
) -> None:
    wire = chunked(payload, sizes, extension, trailers)
    assert scan([wire + after]) == (payload, trailers, len(wire), True)
    assert scan(cut(wire + after, places)) == (payload, trailers, len(wire), True)


def test_byte_by_byte() -> None:
    wire = chunked(b"hello world", [1, 2, 3], b";x", b"T: 1\r\n")
    assert scan([wire[at : at + 1] for at in range(len(wire))]) == (
        b"hello world",
        b"T: 1\r\n",
        len(wire),
        True,
    )


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"\r\n",
        b";a\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5 5\r\n",
        b"5\n",
        b"5\r\nhelloX",
        b"5\r\nhello\n",
        b"5\r\nhello\rX",
        b"5\r\nhello\r\n5\n",
        b"0\r\nA: b\n",
        b"0\r\nA: b\0\r\n",
        b"1" * 16 + b"\r\n",
        b"5;" + b"x" * MAX_LINE_BYTES,
        b"0\r\n" + b"A: b\r\n" * (MAX_TRAILER_BYTES // 6 + 1),
    ],
)
def test_what_is_no_chunked_body_is_refused_at_every_cut(wire: bytes) -> None:
    for places in ([], range(len(wire)), [len(wire) // 2], [1]):
        with pytest.raises(Unframeable):
            scan(cut(wire, places))


def test_leading_zeros_of_a_size_are_no_size() -> None:
    assert scan([b"0" * 40 + b"3\r\nabc\r\n000\r\n\r\n"]) == (b"abc", b"", 55, True)
