"""What the loop hands to the commit thread: the entries of one segment, packed, large bodies beside them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack  # type: ignore[import-untyped]

from sidecar.journal.segment import Buffer, Control
from sidecar.records import Cut, EntryKind, Exchange, Gap

PACKER_BYTES = (1 << 20) + (1 << 16)
_BIN32 = struct.Struct(">BI")
_BIN32_CODE = 0xC6
_EXCHANGE_FIELDS = 18
_TINY_CHUNK_BYTES = 1024

Splice = tuple[int, list[Buffer]]
"""A place in the packer's stream, and the chunks that belong there."""


def new_packer() -> Any:
    """One that packs the loop's entries; no `unicode_errors`, which would slow down each string."""
    return msgpack.Packer(autoreset=False, buf_size=PACKER_BYTES)


@dataclass(slots=True)
class Sealed:
    """The entries of one segment, on their way from the loop to the disk."""

    packer: Any
    """Holds the msgpack stream without the large bodies."""
    splices: list[Splice]
    """The large bodies."""
    routes: dict[str, tuple[int, int]]
    """Per route: next sequence number, and how many numbers the loop has shed so far."""
    ranges: list[tuple[Gap, int]] = field(default_factory=list)
    """What becomes a gap if this is shed: per route its numbers, and how many of them are gaps already."""
    controls: list[Control] = field(default_factory=list)
    """Entries to be written elsewhere if this is shed."""
    callbacks: list[Callable[[bool], None]] = field(default_factory=list)
    size: int = 0
    """Bytes, as the loop counted them into its pending bytes."""

    def pieces(self) -> list[Buffer]:
        """The stream as buffers in order; they keep the packer's buffer pinned while they live."""
        stream = self.packer.getbuffer()
        found: list[Buffer] = []
        at = 0
        for offset, chunks in self.splices:
            if offset > at:
                found.append(stream[at:offset])
                at = offset
            found.extend(compact(chunks))
        if len(stream) > at:
            found.append(stream[at:])
        return found


def compact(chunks: list[Buffer]) -> list[Buffer]:
    """The same bytes in fewer pieces when there are many tiny ones."""
    if len(chunks) < 256 or sum(map(len, chunks)) >= _TINY_CHUNK_BYTES * len(chunks):
        return chunks
    return [b"".join(chunks[at : at + 64]) for at in range(0, len(chunks), 64)]


def pack_scattered(packer: Any, exchange: Exchange, request_bytes: int, response_bytes: int) -> Splice:
    """Pack an exchange's fields; returns its bodies and their place, for they are not copied here."""
    packer.pack_array_header(_EXCHANGE_FIELDS)
    for value in (
        int(EntryKind.EXCHANGE),
        exchange.route,
        exchange.seq,
        exchange.connection,
        exchange.client,
        exchange.epoch,
        exchange.outcome,
        exchange.reason,
        exchange.t_request_us,
        exchange.request_end_ns,
        exchange.first_byte_ns,
        exchange.end_ns,
        exchange.request_bytes,
        exchange.response_bytes,
    ):
        packer.pack(value)
    place = len(packer.getbuffer())
    packer.pack(exchange.request_cut and pack_cut(exchange.request_cut))
    packer.pack(exchange.response_cut and pack_cut(exchange.response_cut))
    chunks: list[Buffer] = [_BIN32.pack(_BIN32_CODE, request_bytes), *exchange.request]
    chunks.append(_BIN32.pack(_BIN32_CODE, response_bytes))
    chunks.extend(exchange.response)
    return place, chunks


def pack_cut(cut: Cut) -> tuple[int, bytes]:
    return cut.length, cut.sha256
