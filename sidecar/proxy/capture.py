"""How much of a message is kept, in bounded memory.

A body is kept whole up to `body_limit`. Past it, or when all captures together
reach `memory_limit`, it is reduced to its first bytes, its length and its
SHA-256, and the record says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from sidecar.proxy.chunked import ChunkScanner
from sidecar.proxy.framing import CHUNKED, UNTIL_EOF
from sidecar.records import Cut, Exchange

PREFIX_BYTES: Final = 64 * 1024
"""Kept of a body that is over `body_limit`, and of each direction of opaque traffic."""
SCARCE_PREFIX_BYTES: Final = 1024
"""Kept of a body when capture memory has run out."""
COALESCED_BYTES: Final = 2 * 1024
"""Chunks are joined up to this length: each would cost an object of its own, which nobody counts."""
EAGER_HASH_BYTES: Final = 256 * 1024
"""A body of unknown length is hashed from here on, so that reaching `body_limit` costs no pause."""


class CaptureBudget:
    """Bytes of captured traffic in memory, over all connections.

    `held` belongs to exchanges in flight; `pending()` tells of ended ones that
    are not yet durable, and is asked whenever a body asks for room.
    """

    __slots__ = ("always", "body_limit", "held", "memory_limit", "pending")

    def __init__(self, memory_limit: int, body_limit: int, pending: Callable[[], int] = lambda: 0) -> None:
        self.memory_limit = memory_limit
        self.body_limit = body_limit
        self.pending = pending
        self.held = 0
        self.always = min(SCARCE_PREFIX_BYTES, body_limit)
        """A body of up to this length is kept whatever is free: less would not be kept of it either."""

    def fits(self, length: int) -> bool:
        """Whether a body of that length may be kept whole now."""
        return length <= self.always or (length <= self.body_limit and self.has_room(length))

    def has_room(self, length: int) -> bool:
        """Whether so many more bytes are within the limit at this moment."""
        return self.held + self.pending() + length <= self.memory_limit


class BodyReader:
    """Finds the end of one body that spans several chunks, and keeps or cuts it.

    `chunks` is the exchange's own list (heads are in it already); body bytes are
    appended to it as on the wire, chunked framing included.
    """

    __slots__ = (
        "_budget",
        "_exchange",
        "_hash",
        "_kept",
        "_left",
        "_limit",
        "_scanner",
        "_start",
        "chunks",
        "cut",
        "done",
        "framing",
        "length",
        "muted",
    )

    def __init__(self, exchange: Exchange, chunks: list[bytes], framing: int, budget: CaptureBudget) -> None:
        self.chunks = chunks
        self.done = framing == 0
        self.cut = False
        self.length = 0
        """Payload bytes so far; for a chunked body, only once it is being hashed."""
        self.muted = not exchange.recorded
        """Only look for the end: keep and hash nothing."""
        self._exchange = exchange
        self._budget = budget
        self.framing = framing
        self._left = framing
        self._start = len(chunks)
        self._kept = 0
        self._limit = budget.body_limit
        self._hash: hashlib._Hash | None = None
        self._scanner = ChunkScanner() if framing == CHUNKED else None
        if framing > budget.body_limit and not self.muted:
            self._cut_to(PREFIX_BYTES)

    def feed(self, data: bytes, start: int) -> int:
        """Take body bytes from `start`; returns where the body ended, or len(data). Raises Unframeable."""
        if self._scanner is not None:
            stop = self._scanner.feed(data, start)
            self.done = self._scanner.done
        elif self.framing == UNTIL_EOF:
            stop = len(data)
        else:
            stop = min(len(data), start + self._left)
            self._left -= stop - start
            self.done = self._left == 0
        if self.muted:
            return stop
        piece = data if stop - start == len(data) else data[start:stop]
        if self._scanner is None:
            self.length += len(piece)
            if self._hash is not None:
                self._hash.update(piece)
        self._keep(piece)
        return stop

    def finish(self) -> Cut | None:
        """What is known of the whole body, if it was not kept whole."""
        if not self.cut or self._hash is None:
            return None
        return Cut(self.length, self._hash.digest())

    def _keep(self, piece: bytes) -> None:
        budget = self._budget
        if self._limit > SCARCE_PREFIX_BYTES and not budget.has_room(len(piece)):
            self._hold(piece)
            self._cut_to(SCARCE_PREFIX_BYTES)
            return
        room = self._limit - self._kept
        if len(piece) <= room:
            self._hold(piece)
            if self._hash is None and self._kept > EAGER_HASH_BYTES and self.framing < 0:
                self._begin_hash()
        elif self.cut:
            if room > 0:
                self._hold(piece[:room])
        else:
            self._hold(piece)
            self._cut_to(PREFIX_BYTES)

    def _hold(self, piece: bytes) -> None:
        chunks = self.chunks
        if len(chunks) > self._start and len(chunks[-1]) + len(piece) <= COALESCED_BYTES:
            chunks[-1] += piece
        else:
            chunks.append(piece)
        self._kept += len(piece)
        self._exchange.held_bytes += len(piece)
        self._budget.held += len(piece)

    def _begin_hash(self) -> None:
        """Hash what was kept so far; every later byte is hashed as it arrives."""
        digest = hashlib.sha256()
        self._hash = digest
        body = self.chunks[self._start :]
        if self._scanner is None:
            for piece in body:
                digest.update(piece)
            return
        rescan = ChunkScanner(self._payload)
        for piece in body:
            rescan.feed(piece, 0)
        self._scanner.payload = self._payload

    def _payload(self, piece: memoryview) -> None:
        self.length += len(piece)
        if self._hash is not None:
            self._hash.update(piece)

    def _cut_to(self, prefix: int) -> None:
        """Reduce the body to its first `prefix` bytes on the wire, its length and its hash."""
        if self._hash is None:
            self._begin_hash()
        self.cut = True
        self._limit = prefix
        body = b"".join(self.chunks[self._start :])[:prefix]
        freed = self._kept - len(body)
        del self.chunks[self._start :]
        self.chunks.append(body)
        self._kept = len(body)
        self._exchange.held_bytes -= freed
        self._budget.held -= freed
