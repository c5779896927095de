"""Segments: the bytes that one commit interval leaves in the journal. Pure; see docs/journal-format.md.

A segment is a msgpack stream, its header first, then entries. It is cut into
parts of at most PART_BYTES; each is one LMDB value behind its CRC32.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]
from isal import isal_zlib  # the same CRC-32 as zlib's, at 18 times its speed

from sidecar.errors import JournalVersion, VolumeCorrupt
from sidecar.journal.folder import FORMAT
from sidecar.records import Cut, Delivery, Entry, EntryKind, Epoch, Event, Exchange, Gap

KEY = struct.Struct(">QI")
CRC = struct.Struct(">I")
PART_BYTES = (1 << 20) - 16 - CRC.size
"""Payload of a full part: with its CRC and LMDB's page header it fills whole pages exactly."""
INDEX_BITS = 32
"""A segment's number is its volume's number shifted by this, plus its index there: it only ever grows."""

Control = Gap | Epoch | Delivery | Event
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Header:
    """First element of a segment."""

    format: int
    boot: str
    segment: int
    wall_us: int
    parts: int
    routes: dict[str, tuple[int, int]]
    """Per route: the next sequence number after this segment, and how many before it are in gaps."""

    @property
    def next_seq(self) -> dict[str, int]:
        return {route: next_seq for route, (next_seq, _) in self.routes.items()}


def segment_number(volume: int, index: int) -> int:
    return volume << INDEX_BITS | index


def control_tuple(entry: Control) -> tuple[Any, ...]:
    """The entry as stored; exchanges are packed by the writer itself, field by field."""
    match entry:
        case Gap():
            return (
                int(EntryKind.GAP),
                entry.boot,
                entry.route,
                entry.first_seq,
                entry.count,
                entry.t_from_us,
                entry.t_to_us,
                entry.reason,
            )
        case Epoch():
            return (
                int(EntryKind.EPOCH),
                entry.route,
                entry.number,
                entry.model,
                entry.image_digest,
                entry.artifact_digest,
                entry.source,
                entry.since_us,
            )
        case Delivery():
            return (int(EntryKind.DELIVERY), entry.route, entry.seq, entry.t_us, int(entry.outcome))
        case Event():
            return (int(EntryKind.EVENT), entry.name, entry.t_us, entry.details)


def pack_controls(entries: Iterable[Control]) -> bytes:
    """The stream of some entries that are not exchanges."""
    packer = msgpack.Packer(autoreset=False, unicode_errors="backslashreplace", default=str)
    for entry in entries:
        packer.pack(control_tuple(entry))
    return bytes(packer.bytes())


def pack_header(header: Header) -> bytes:
    return bytes(
        msgpack.packb(
            (header.format, header.boot, header.segment, header.wall_us, header.parts, header.routes),
            unicode_errors="backslashreplace",
        )
    )


def header_for(
    number: int, boot: str, wall_us: int, routes: dict[str, tuple[int, int]], stream_bytes: int
) -> Header:
    """The header of a segment whose entries take `stream_bytes`; its part count allows for itself."""
    parts = 1
    while True:
        header = Header(FORMAT, boot, number, wall_us, parts, routes)
        needed = -(-(len(pack_header(header)) + stream_bytes) // PART_BYTES)
        if needed <= parts:
            return header
        parts = needed


def parts_of(pieces: Sequence[Buffer], scratch: bytearray) -> Iterator[memoryview]:
    """Cut the concatenation of the pieces into values, CRC first.

    Each value is a view of `scratch` (at least CRC.size + PART_BYTES long) and
    only good until the next one is asked for. Pieces are copied once; the
    lock of the interpreter is never held for more than one part.
    """
    view = memoryview(scratch)
    used = 0
    for piece in pieces:
        at = 0
        source = memoryview(piece)
        while at < len(source):
            n = min(PART_BYTES - used, len(source) - at)
            start = CRC.size + used
            view[start : start + n] = source[at : at + n]
            used += n
            at += n
            if used == PART_BYTES:
                yield _with_crc(view, used)
                used = 0
    if used:
        yield _with_crc(view, used)


def _with_crc(view: memoryview, used: int) -> memoryview:
    end = CRC.size + used
    CRC.pack_into(view, 0, isal_zlib.crc32(view[CRC.size : end]))
    return view[:end]


def payload(value: bytes) -> memoryview:
    """What a stored value carries. Raises VolumeCorrupt when its CRC does not fit."""
    if len(value) <= CRC.size:
        raise VolumeCorrupt(f"value of {len(value)} bytes, too short for a part")
    body = memoryview(value)[CRC.size :]
    if isal_zlib.crc32(body) != CRC.unpack_from(value)[0]:
        raise VolumeCorrupt("CRC32 of a part does not fit its bytes")
    return body


def _header(element: Any) -> Header:
    try:
        version = element[0]
        if isinstance(version, int) and version > FORMAT:
            raise JournalVersion(
                f"segment format {version}, this build reads up to {FORMAT}: use a newer sidecar"
            )
        _, boot, segment, wall_us, parts, routes = element[:6]
        table = {str(route): (int(pair[0]), int(pair[1])) for route, pair in routes.items()}
        return Header(int(version), str(boot), int(segment), int(wall_us), int(parts), table)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise VolumeCorrupt("segment header is not one") from error


def _unpacker(data: Buffer) -> Any:
    unpacker = msgpack.Unpacker(
        max_buffer_size=max(len(data), 1), raw=False, unicode_errors="replace", strict_map_key=False
    )
    unpacker.feed(data)
    return unpacker


_UNPACK_ERRORS = (ValueError, TypeError, LookupError, msgpack.UnpackException, RecursionError)


def read_header(data: Buffer) -> Header:
    """Header of a segment, from the payload of its first part. Raises VolumeCorrupt, JournalVersion."""
    try:
        element = _unpacker(data[: 1 << 16]).unpack()
    except _UNPACK_ERRORS as error:
        raise VolumeCorrupt("segment header cannot be unpacked") from error
    return _header(element)


def decode(data: Buffer) -> tuple[Header, list[Entry]]:
    """A whole segment. Entries of kinds this build does not know are left out.

    Raises VolumeCorrupt when the bytes are no segment, JournalVersion for a newer format.
    """
    unpacker = _unpacker(data)
    try:
        header = _header(unpacker.unpack())
        entries = []
        for element in unpacker:
            entry = _entry(element)
            if entry is not None:
                entries.append(entry)
        if unpacker.tell() != len(data):
            raise VolumeCorrupt("segment ends in the middle of an entry")
    except _UNPACK_ERRORS as error:
        raise VolumeCorrupt(f"segment cannot be unpacked: {error}") from error
    return header, entries


_EXCHANGE = int(EntryKind.EXCHANGE)  # comparing with the enum's member would cost a microsecond an entry
_CONTROLS: dict[int, tuple[Callable[..., Control], int]] = {
    int(EntryKind.GAP): (Gap, 8),
    int(EntryKind.EPOCH): (Epoch, 8),
    int(EntryKind.DELIVERY): (Delivery, 5),
    int(EntryKind.EVENT): (Event, 4),
}


def _entry(element: Any) -> Entry | None:
    kind = element[0]
    if kind == _EXCHANGE:
        return _exchange(element)
    known = _CONTROLS.get(kind)
    return None if known is None else known[0](*element[1 : known[1]])


def _exchange(element: Any) -> Exchange:
    (
        _,
        route,
        seq,
        connection,
        client,
        epoch,
        outcome,
        reason,
        t_request_us,
        request_end_ns,
        first_byte_ns,
        end_ns,
        request_bytes,
        response_bytes,
        request,
        response,
        request_cut,
        response_cut,
    ) = element[:18]
    exchange = Exchange(route, connection, client, t_request_us, 0)
    exchange.seq = seq
    exchange.epoch = epoch
    exchange.outcome = outcome
    exchange.reason = reason
    exchange.request_end_ns = request_end_ns
    exchange.first_byte_ns = first_byte_ns
    exchange.end_ns = end_ns
    exchange.request_bytes = request_bytes
    exchange.response_bytes = response_bytes
    exchange.request = [request]
    exchange.response = [response]
    if request_cut is not None:
        exchange.request_cut = Cut(request_cut[0], request_cut[1])
    if response_cut is not None:
        exchange.response_cut = Cut(response_cut[0], response_cut[1])
    return exchange
