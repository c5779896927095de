"""Which exchange was being decoded when the analyst died.

An exchange can kill the analyst itself (a compression bomb under a memory
limit, a fault in a C library), and would do so again after every restart. A
small mapped file says at any moment what is being worked on; a plain memory
write is enough, since the pages belong to the file and not to the process.
Who was there at DEATHS deaths is stored undecoded from then on, and who goes
on to kill even so, at HOPELESS deaths, without its bodies; so are large ones
after as many deaths at encoding batches.

Layout (little-endian): 16 bytes for what is being worked on, then TABLE_ENTRIES
of 16 bytes, each: u64 segment, u32 index of the entry in it, u16 deaths, u16 stage.
"""

from __future__ import annotations

import mmap
import os
import struct
from enum import IntEnum
from pathlib import Path

from sidecar.errors import JournalError

DEATHS = 2
HOPELESS = 4
TABLE_ENTRIES = 63
_ENTRY = struct.Struct("<QIHH")
_BYTES = _ENTRY.size * (1 + TABLE_ENTRIES)


class Stage(IntEnum):
    """What the analyst is at; the numbers are stored."""

    IDLE = 0
    DECODE = 1
    ENCODE = 2


class Suspects:
    """The mapped file of one journal. Opening it settles what the last life died of."""

    def __init__(self, path: Path) -> None:
        self._deaths: dict[tuple[int, int], int] = {}
        self.encode_deaths = 0
        """Deaths in a row while a batch was encoded; a smaller batch may pass."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                if os.fstat(descriptor).st_size != _BYTES:
                    os.ftruncate(descriptor, 0)
                # Blocks for good: writing to a hole of a mapped file on a full disk is a SIGBUS.
                os.posix_fallocate(descriptor, 0, _BYTES)
                self._map = mmap.mmap(descriptor, _BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise JournalError(
                f"analyst marker {path}: {error.strerror}: give the journal a writable folder with space"
            ) from error
        self._read()

    def _read(self) -> None:
        segment, index, _, stage = _ENTRY.unpack_from(self._map, 0)
        for number in range(1, 1 + TABLE_ENTRIES):
            known_segment, known_index, deaths, kind = _ENTRY.unpack_from(self._map, number * _ENTRY.size)
            if kind == Stage.DECODE:
                self._deaths[known_segment, known_index] = deaths
            elif kind == Stage.ENCODE:
                self.encode_deaths = deaths
        if stage == Stage.DECODE:
            self._deaths[segment, index] = self._deaths.get((segment, index), 0) + 1
        elif stage == Stage.ENCODE:
            self.encode_deaths += 1
        self._write()

    def _write(self) -> None:
        """The table first, then the marker: dying in between counts one death twice at worst."""
        rows = [(segment, index, deaths, Stage.DECODE) for (segment, index), deaths in self._deaths.items()]
        rows = rows[-(TABLE_ENTRIES - 1) :]
        if self.encode_deaths:
            rows.append((0, 0, min(self.encode_deaths, 65_535), Stage.ENCODE))
        rows += [(0, 0, 0, Stage.IDLE)] * (TABLE_ENTRIES - len(rows))
        for number, row in enumerate(rows, 1):
            _ENTRY.pack_into(self._map, number * _ENTRY.size, *row)
        self.idle()

    def decoding(self, segment: int, index: int) -> None:
        """From now on, until the next or `idle`, this entry is blamed for a death: decoding or storing it."""
        _ENTRY.pack_into(self._map, 0, segment, index, 0, 1)

    def encoding(self) -> None:
        _ENTRY.pack_into(self._map, 0, 0, 0, 0, 2)

    def idle(self) -> None:
        _ENTRY.pack_into(self._map, 0, 0, 0, 0, 0)

    def deaths(self, segment: int, index: int) -> int:
        """How many lives this entry has ended."""
        return self._deaths.get((segment, index), 0) if self._deaths else 0

    def guilty(self, segment: int, index: int) -> bool:
        """Whether this entry ended DEATHS lives."""
        return self.deaths(segment, index) >= DEATHS

    def committed(self, segment: int) -> None:
        """Everything up to this segment is behind the cursor, and a batch was encoded alive."""
        if not self._deaths and not self.encode_deaths:
            return
        self._deaths = {key: deaths for key, deaths in self._deaths.items() if key[0] > segment}
        self.encode_deaths = 0
        self._write()

    def close(self) -> None:
        self._map.close()
