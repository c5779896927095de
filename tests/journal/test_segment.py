from __future__ import annotations

import contextlib
import random

import lmdb
import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import JournalVersion, VolumeCorrupt
from sidecar.journal.limits import MIB, JournalLimits, fitted_volume_bytes, reserve_bytes
from sidecar.journal.pages import open_pages
from sidecar.journal.sealed import compact
from sidecar.journal.segment import (
    CRC,
    PART_BYTES,
    decode,
    header_for,
    pack_controls,
    pack_header,
    parts_of,
    payload,
    read_header,
)
from sidecar.records import Delivery, Epoch, Event, Gap

SCRATCH = bytearray(CRC.size + PART_BYTES)
text = st.text(st.characters(codec="utf-8"), max_size=20)
number = st.integers(0, (1 << 63) - 1)
control = st.one_of(
    st.builds(Gap, text, text, number, number, number, number, text),
    st.builds(Epoch, text, number, text, st.none() | text, st.none() | text, text, number),
    st.builds(Delivery, text, number, number, st.integers(0, 7)),
    st.builds(
        Event, text, number, st.dictionaries(text, st.none() | number | text | st.booleans(), max_size=3)
    ),
)


@given(st.lists(control, max_size=20), st.dictionaries(text, st.tuples(number, number), max_size=4))
def test_entries_survive_the_journal(
    entries: list[Gap | Epoch | Delivery | Event], routes: dict[str, tuple[int, int]]
) -> None:
    stream = pack_controls(entries)
    header = header_for(7 << 32, "boot", 5, routes, len(stream))
    decoded, found = decode(pack_header(header) + stream)
    assert decoded == header
    assert found == entries


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2 * PART_BYTES + 3) | st.integers(0, 50), max_size=12))
def test_pieces_of_any_size_are_cut_into_full_parts_and_come_back_joined(sizes: list[int]) -> None:
    pieces = [bytes([index]) * size for index, size in enumerate(sizes)]
    values = [bytes(value) for value in parts_of(pieces, SCRATCH)]
    assert b"".join(bytes(payload(value)) for value in values) == b"".join(pieces)
    assert all(len(value) == CRC.size + PART_BYTES for value in values[:-1])


@given(st.integers(0, 3 * PART_BYTES))
def test_the_part_count_in_the_header_allows_for_the_header_itself(stream_bytes: int) -> None:
    header = header_for(1 << 32, "boot", 1, {"default": (1, 0)}, stream_bytes)
    assert header.parts == max(1, -(-(len(pack_header(header)) + stream_bytes) // PART_BYTES))


@given(st.integers(0, 700), st.integers(0, 2000), st.randoms())
def test_tiny_chunks_are_joined_without_changing_a_byte(count: int, largest: int, rng: random.Random) -> None:
    chunks = [bytes([at % 256]) * rng.randint(0, largest) for at in range(count)]
    joined = compact(list(chunks))
    assert b"".join(joined) == b"".join(chunks)
    if sum(map(len, chunks)) < 1024 * count:
        assert len(joined) <= max(255, count // 64 + 1)


def test_every_single_damaged_bit_of_a_part_is_noticed() -> None:
    [value] = [bytes(v) for v in parts_of([b"some entries"], SCRATCH)]
    for bit in range(8 * len(value)):
        damaged = bytearray(value)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VolumeCorrupt):
            payload(bytes(damaged))


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_segment_are_refused_by_name(data: bytes) -> None:
    for function in (decode, read_header):
        with contextlib.suppress(VolumeCorrupt, JournalVersion):
            function(data)


def test_an_entry_of_the_wrong_shape_makes_the_segment_corrupt() -> None:
    header = pack_header(header_for(1 << 32, "boot", 1, {}, 10))
    shapes: tuple[object, ...] = ([], [0], [0, "default", 1], [1, 2], 5, None, [1] * 20, [0] * 18, {})
    for entry in shapes:
        with contextlib.suppress(VolumeCorrupt):
            decode(header + msgpack.packb(entry))


def test_kinds_that_this_build_does_not_know_are_left_out() -> None:
    header = pack_header(header_for(1 << 32, "boot", 1, {}, 10))
    event = Event("e", 1, {})
    assert decode(header + msgpack.packb([99, 1]) + pack_controls([event]))[1] == [event]


def test_a_segment_cut_short_is_corrupt() -> None:
    stream = pack_header(header_for(1 << 32, "boot", 1, {}, 10)) + pack_controls(
        [Event("name", 1, {"k": "v"})]
    )
    whole = len(stream)
    for end in range(whole):
        with contextlib.suppress(VolumeCorrupt):
            assert decode(stream[:end])[1] == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9000), min_size=1, max_size=120), st.data())
def test_values_read_without_lmdb_are_those_that_lmdb_stored(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("pages") / "v.lmdb"
    stored = {index.to_bytes(12, "big"): bytes([index % 256]) * size for index, size in enumerate(sizes)}
    with lmdb.open(str(path), subdir=False, map_size=8 << 20, sync=False) as env:
        for key, value in stored.items():
            with env.begin(write=True) as txn:
                txn.put(key, value)
    file, pages = open_pages(path)
    with file:
        assert pages.last_key() == max(stored)
        assert all(pages.get(key) == value for key, value in stored.items())
        assert pages.get(b"\xff" * 12) is None
    content = bytearray(path.read_bytes())
    for _ in range(20):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(VolumeCorrupt):
        file, pages = open_pages(path)
        with file:
            pages.last_key()
            for key in stored:
                pages.get(key)


@given(st.integers(1 << 20, 1 << 42), st.integers(1 << 16, 64 << 20), st.integers(1 << 22, 1 << 40))
def test_a_volume_never_exceeds_its_bounds(filesystem: int, body_limit: int, max_bytes: int) -> None:
    limits = JournalLimits(max_bytes=max_bytes, body_limit=body_limit)
    size = fitted_volume_bytes(limits, filesystem)
    assert MIB // 4 <= size <= limits.volume_bytes
    assert size % 65536 == 0
    assert size <= max_bytes
    assert size == MIB // 4 or size <= max(filesystem // 8, (filesystem - reserve_bytes(filesystem)) // 2)


def test_a_small_file_system_gets_volumes_that_leave_room_to_ship() -> None:
    limits = JournalLimits()
    assert fitted_volume_bytes(limits, 64 << 20) == 20 << 20
    assert fitted_volume_bytes(limits, 100 << 30) == 128 << 20
    assert reserve_bytes(64 << 20) == 16 << 20
    assert reserve_bytes(1 << 40) == 48 << 20
