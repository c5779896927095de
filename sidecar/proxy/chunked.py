"""The chunked transfer coding (RFC 9112 section 7.1), scanned piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.proxy.framing import Unframeable

MAX_LINE_BYTES: Final = 16 * 1024
"""A chunk-size line with its extensions, or one trailer line."""
MAX_TRAILER_BYTES: Final = 64 * 1024

_SIZE, _DATA, _DATA_END, _TRAILER = range(4)
_HEX = frozenset(b"0123456789abcdefABCDEF")


class ChunkScanner:
    """Finds the end of one chunked body without copying it.

    `payload`, if given, is called with every stretch of content, framing removed.
    """

    __slots__ = ("_left", "_line", "_state", "_trailer_bytes", "done", "payload", "trailers")

    def __init__(self, payload: Callable[[memoryview], object] | None = None) -> None:
        self.done = False
        self.payload = payload
        self.trailers = b""
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0

    def feed(self, data: bytes, start: int) -> int:
        """Scan from `start`; returns where the body ended, or len(data) if it goes on. Raises Unframeable."""
        size = len(data)
        position = start
        while position < size:
            state = self._state
            if state == _DATA:
                stop = min(position + self._left, size)
                if self.payload is not None:
                    self.payload(memoryview(data)[position:stop])
                self._left -= stop - position
                position = stop
                if self._left == 0:
                    self._state, self._left = _DATA_END, 2
                continue
            if state == _DATA_END:
                expected = b"\r\n"[2 - self._left]
                if data[position] != expected:
                    raise Unframeable("chunk data not followed by CRLF")
                position += 1
                self._left -= 1
                if self._left == 0:
                    self._state = _SIZE
                continue
            at = data.find(b"\n", position)
            stop = size if at < 0 else at + 1
            line = self._line + data[position:stop]
            position = stop
            if len(line) > MAX_LINE_BYTES:
                raise Unframeable("chunk-size or trailer line too long")
            if at < 0:
                self._line = line
                return size
            self._line = b""
            if line[-2:] != b"\r\n" or line.count(b"\r") != 1 or b"\0" in line:
                raise Unframeable("malformed line in chunked body")
            if state == _SIZE:
                self._size_line(line)
            elif self._trailer_line(line):
                return position
        return size

    def _size_line(self, line: bytes) -> None:
        digits = line[:-2].partition(b";")[0].rstrip(b" \t")
        if not digits or len(digits.lstrip(b"0")) > 15 or not _HEX.issuperset(digits):
            raise Unframeable("chunk size is not hexadecimal")
        self._left = int(digits, 16)
        self._state = _DATA if self._left else _TRAILER

    def _trailer_line(self, line: bytes) -> bool:
        if line == b"\r\n":
            self.done = True
            return True
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise Unframeable("trailers too long")
        self.trailers += line
        return False
