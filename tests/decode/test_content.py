"""Content codings: taken off whole, never past the limit."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decode.content import MAX_MEMBERS, decoded_body
from sidecar.errors import DecodeError
from sidecar.records import Message
from tests.decode.messages import request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 100_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "identity": bytes,
}
each_coding = pytest.mark.parametrize("coding", ENCODERS)
each_packer = pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])


def decoded(coding: str, body: bytes, limit: int = LIMIT) -> bytes:
    return decoded_body(request(body, f"Content-Encoding: {coding}"), limit)


@each_coding
@given(data=st.binary(max_size=2000))
def test_a_coded_body_comes_back(coding: str, data: bytes) -> None:
    assert decoded(coding, ENCODERS[coding](data)) == data


def test_a_large_incompressible_body_comes_back() -> None:
    data = bytes(zlib.crc32(index.to_bytes(4)) & 0xFF for index in range(LIMIT))
    for coding, encode in ENCODERS.items():
        assert decoded(coding, encode(data)) == data


@given(data=st.binary(max_size=300))
def test_raw_deflate_is_read_too(data: bytes) -> None:
    assert decoded("deflate", raw_deflate(data)) == data


@given(
    pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=5), coding=st.sampled_from(["gzip", "zstd"])
)
def test_several_members_are_one_body(pieces: list[bytes], coding: str) -> None:
    assert decoded(coding, b"".join(map(ENCODERS[coding], pieces))) == b"".join(pieces)


def test_codings_come_off_in_reverse_order_and_over_several_headers() -> None:
    body = zstd.compress(zlib.compress(gzip.compress(b"x")))
    assert decoded("gzip, Deflate ,ZSTD", body) == b"x"
    assert (
        decoded_body(request(body, "Content-Encoding: gzip", "content-encoding: deflate, zstd"), LIMIT)
        == b"x"
    )


@each_packer
def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not(coding: str) -> None:
    encode = ENCODERS[coding]
    assert decoded(coding, encode(bytes(LIMIT))) == bytes(LIMIT)
    with pytest.raises(DecodeError, match="more than the 100000 bytes"):
        decoded(coding, encode(bytes(LIMIT + 1)))


@each_packer
def test_a_bomb_stops_at_the_limit(coding: str) -> None:
    bomb = ENCODERS[coding](bytes(64 << 20))
    with pytest.raises(DecodeError, match="decompresses to more than"):
        decoded(coding, bomb)
    with pytest.raises(DecodeError, match="decompresses to more than"):
        decoded(f"{coding}, {coding}", ENCODERS[coding](bomb))


def test_an_uncoded_body_is_bounded_too() -> None:
    with pytest.raises(DecodeError, match="has 100001 bytes"):
        decoded_body(request(bytes(LIMIT + 1)), LIMIT)


@each_packer
def test_a_truncated_body_is_a_decode_error_at_every_cut(coding: str) -> None:
    whole = ENCODERS[coding](b"some text" * 5)
    for end in range(1, len(whole)):
        with pytest.raises(DecodeError, match=coding):
            decoded(coding, whole[:end])


@each_packer
def test_garbage_after_the_end_is_a_decode_error_or_ignored(coding: str) -> None:
    whole = ENCODERS[coding](b"text") + b"garbage that is no member"
    if coding == "deflate":
        assert decoded(coding, whole) == b"text"
    else:
        with pytest.raises(DecodeError, match=coding):
            decoded(coding, whole)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_endless_empty_members_are_refused(coding: str) -> None:
    with pytest.raises(DecodeError, match=f"more than {MAX_MEMBERS} members"):
        decoded(coding, ENCODERS[coding](b"") * (MAX_MEMBERS + 1))


def test_a_zstd_window_larger_than_a_sender_may_use_is_refused() -> None:
    huge = zstd.compress(bytes(1 << 20), options={zstd.CompressionParameter.window_log: 27})
    streamed = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = streamed.compress(bytes(1 << 20)) + streamed.flush()
    assert decoded("zstd", huge, 2 << 20) == bytes(1 << 20)
    with pytest.raises(DecodeError, match="zstd"):
        decoded("zstd", body, 2 << 20)


@pytest.mark.parametrize("coding", ["br", "compress", "aes128gcm"])
def test_an_unsupported_coding_is_named(coding: str) -> None:
    with pytest.raises(DecodeError, match=f"'{coding}' is not supported"):
        decoded(coding, b"xx")


def test_too_many_codings_are_refused() -> None:
    with pytest.raises(DecodeError, match="5 content codings"):
        decoded("gzip,gzip,gzip,gzip,gzip", b"x")


def test_a_cut_body_is_a_decode_error_that_says_how_much_is_there() -> None:
    cut = Message(b"POST / HTTP/1.1\r\n\r\n", b"abc", length=10, sha256=bytes(32))
    with pytest.raises(DecodeError, match="3 of 10 bytes kept"):
        decoded_body(cut, LIMIT)


def test_an_empty_body_needs_no_decompression() -> None:
    assert decoded("gzip", b"") == b""
