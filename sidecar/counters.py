"""The shared counters: one small mapped file per boot that outlives every process.

The recorder adds to it with plain memory writes, the analyst reads it for
metrics, the supervisor flips the recording mode in it, and the next boot reads
a dead one's file to know how many exchanges were started but never committed.
A SIGKILL loses nothing of it: the pages belong to the file.

Layout (little-endian), described in docs/journal-format.md:

    0      8   magic `SCARCNT1`
    8      4   u32 format version
    12     4   u32 number of routes, at most MAX_ROUTES
    16    64   boot id, ASCII, NUL padded
    80  3072   route names, 48 bytes each, UTF-8, NUL padded
    4096       u64 slots: GLOBAL_SLOTS, then ROUTE_SLOTS for each route

Each slot has one writer (named beside it), so no lock is needed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from sidecar.errors import JournalError, JournalVersion

MAGIC = b"SCARCNT1"
VERSION = 1
MAX_ROUTES = 64
ROUTE_NAME_BYTES = 48
SLOTS_OFFSET = 4096
GLOBAL_SLOTS = 64
ROUTE_SLOTS = 64
FILE_BYTES = SLOTS_OFFSET + 8 * (GLOBAL_SLOTS + MAX_ROUTES * ROUTE_SLOTS)
FILE_PATTERN = re.compile(r"^counters-([A-Za-z0-9_-]{1,64})\.bin$")
_DESCRIPTORS = "/proc/self/fd/"

COMMIT_BUCKETS_US = (
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    5_000_000,
)
"""Upper bounds of the commit time histogram; the last slot after them counts everything slower."""


class Mode(IntEnum):
    """What the recorder does with what it sees."""

    RECORD = 0
    SPLICE_ONLY = 1


class Global(IntEnum):
    """Slots of the whole boot."""

    MODE = 0
    """Supervisor: a `Mode`."""
    SUPERVISOR_PID = 1
    RECORDER_PID = 2
    """Supervisor."""
    ANALYST_PID = 3
    """Supervisor."""
    RECORDER_STARTS = 4
    """Supervisor: 1 after the first start."""
    ANALYST_STARTS = 5
    """Supervisor."""
    BOOT_WALL_US = 6
    """Supervisor."""
    CAPTURE_BYTES = 8
    """Recorder: bytes of captured traffic in memory, in flight and waiting for the journal."""
    JOURNAL_BYTES = 9
    """Journal writer: bytes of all volumes on disk."""
    JOURNAL_SHEDDING = 10
    """Journal writer: 1 while it cannot take more."""
    COMMITS = 11
    """Journal writer."""
    COMMIT_SUM_US = 12
    """Journal writer."""
    COMMIT_FAILURES = 13
    """Journal writer."""
    LAST_COMMIT_WALL_US = 14
    """Journal writer."""
    VOLUME_CURRENT = 15
    """Journal writer: number of the volume being written, 0 if none."""
    VOLUME_CLOSED = 16
    """Journal writer: every volume of this boot up to this number takes no more writes."""
    VOLUMES_OPENED = 17
    """Journal writer."""
    VOLUMES_MOVED_ASIDE = 18
    """Journal writer."""
    OBSERVER_ERRORS = 19
    """Recorder: connections whose observation failed and that went on as opaque."""
    CONNECTIONS_OPEN = 20
    """Recorder: client connections now open."""
    CLOCK_STEPS = 21
    """Recorder: wall-clock jumps of more than a second."""
    CONNECTIONS_REFUSED = 22
    """Recorder: client connections closed at once because `max_connections` were open."""
    POD = 23
    """Supervisor: first 8 bytes of the SHA-256 of the pod's uid; 0 without one."""
    COMMIT_BUCKET = 32
    """Journal writer: first of len(COMMIT_BUCKETS_US) + 1 histogram slots, not cumulative."""


class Route(IntEnum):
    """Slots of one route. Written by the recorder unless said otherwise."""

    STARTED = 0
    """Exchanges whose first request byte was seen."""
    ENDED = 1
    """Exchanges that ended and took a sequence number; equals the last one given out."""
    SHED = 2
    """Ended exchanges that left no record (they are in gap records)."""
    COMMITTED_SEQ = 3
    """Journal writer: highest sequence number known durable."""
    CONNECTIONS = 4
    """Client connections accepted; the last one's number."""
    REQUEST_BYTES = 5
    RESPONSE_BYTES = 6
    CUT = 7
    """Exchanges with a body reduced to first bytes, length and hash."""
    SPLICED = 8
    """Exchanges passed in splice-only mode; also in SHED."""
    HELD_EXPIRED = 9
    """Responses that waited the full `before_response` limit and left uncommitted."""
    UPSTREAM_FAILURES = 10
    """Upstream connections that could not be made."""
    DELIVERY_FAILURES = 11
    OPAQUE_BYTES = 12
    """Bytes of both directions, as they pass, that were not read: opaque connections and tunnels."""
    OPAQUE_ENDED_BYTES = 13
    """All bytes of opaque and upgraded exchanges that ended; they are in REQUEST_BYTES and RESPONSE_BYTES."""
    OPAQUE_TLS = 14
    """Connections that began with a TLS handshake."""
    OPAQUE_HTTP2 = 15
    """Connections that began with HTTP/2's preface."""
    EPOCH = 16
    """Number of the identity epoch now in force; counts the models seen to follow one another."""
    EPOCH_SINCE_US = 17
    """Wall clock after which its model began to answer."""
    LISTENER = 18
    """Cookie of a socket that listens on the model's port; 0 while none is known."""
    LISTENER_SEEN_US = 19
    """Wall clock when it was last seen; 0 before."""
    BLIND = 20
    """1 if it cannot be seen, for the rest of the boot."""
    OUTCOME = 32
    """First of 16 slots, one per `records.Outcome`."""


class Counters:
    """One mapped counters file. `slots` is a memoryview of u64; add to it directly."""

    def __init__(
        self, path: Path, descriptor: int, mapping: mmap.mmap, boot: str, routes: tuple[str, ...]
    ) -> None:
        self.path = path
        self._descriptor = descriptor
        self.boot = boot
        self.routes = routes
        self._mapping = mapping
        self.slots: memoryview = memoryview(mapping)[SLOTS_OFFSET:].cast("Q")

    @classmethod
    def create(cls, folder: Path, boot: str, routes: Sequence[str]) -> Counters:
        """Make the file for a new boot; its blocks are allocated, so a full disk cannot fault it later.

        Raises JournalError when the folder cannot take it.
        """
        if len(routes) > MAX_ROUTES:
            raise JournalError(
                f"{len(routes)} routes configured, the counters file holds {MAX_ROUTES}: use a second sidecar"
            )
        path = folder / f"counters-{boot}.bin"
        header = bytearray(SLOTS_OFFSET)
        header[0:8] = MAGIC
        header[8:12] = VERSION.to_bytes(4, "little")
        header[12:16] = len(routes).to_bytes(4, "little")
        header[16 : 16 + len(boot)] = boot.encode("ascii")
        for index, name in enumerate(routes):
            encoded = name.encode()
            if not 0 < len(encoded) <= ROUTE_NAME_BYTES:
                raise JournalError(f"route name {name!r}: must be 1 to {ROUTE_NAME_BYTES} bytes")
            start = 80 + ROUTE_NAME_BYTES * index
            header[start : start + len(encoded)] = encoded
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(descriptor, 0, FILE_BYTES)
                os.pwrite(descriptor, header, 0)
                os.fsync(descriptor)
            except OSError:
                # Half a file would be taken for a damaged one by the next start.
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise JournalError(
                f"counters file {path}: {error.strerror}: give the journal a writable folder with space"
            ) from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Counters:
        """Map an existing file, of this boot or a dead one.

        Raises JournalVersion for a newer format and JournalError for anything unreadable.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise JournalError(f"counters file {path}: {error.strerror}") from error
        try:
            return cls._mapped(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def _mapped(cls, path: Path, descriptor: int) -> Counters:
        try:
            if os.fstat(descriptor).st_size != FILE_BYTES:
                raise JournalError(f"counters file {path}: not {FILE_BYTES} bytes long: move it away")
            mapping = mmap.mmap(descriptor, FILE_BYTES)
        except OSError as error:
            raise JournalError(f"counters file {path}: {error.strerror}") from error
        if mapping[0:8] != MAGIC:
            raise JournalError(f"counters file {path}: not a counters file: move it away")
        version = int.from_bytes(mapping[8:12], "little")
        if version > VERSION:
            raise JournalVersion(
                f"counters file {path}: format {version} is newer than {VERSION}, the last this build reads: "
                "use a newer sidecar"
            )
        count = int.from_bytes(mapping[12:16], "little")
        boot = mapping[16:80].rstrip(b"\0").decode("ascii")
        names = tuple(
            mapping[80 + ROUTE_NAME_BYTES * index : 80 + ROUTE_NAME_BYTES * (index + 1)]
            .rstrip(b"\0")
            .decode()
            for index in range(count)
        )
        return cls(path, descriptor, mapping, boot, names)

    @property
    def inheritable(self) -> str:
        """A path to this very file for a process that inherits its descriptor, even if it was unlinked."""
        return f"{_DESCRIPTORS}{self._descriptor}"

    @property
    def file_name(self) -> str:
        """What the file is called in its folder, however it was opened."""
        return f"counters-{self.boot}.bin"

    def base(self, route: str) -> int:
        """Index of the first slot of a route's block; add a `Route` member to it."""
        return GLOBAL_SLOTS + ROUTE_SLOTS * self.routes.index(route)

    def get(self, slot: Global) -> int:
        return int(self.slots[slot])

    def set(self, slot: Global, value: int) -> None:
        self.slots[slot] = value

    def route(self, route: str, slot: Route, offset: int = 0) -> int:
        return int(self.slots[self.base(route) + slot + offset])

    def observe_commit(self, duration_us: int) -> None:
        """Count one commit in the histogram (journal writer only)."""
        slots = self.slots
        bucket = 0
        while bucket < len(COMMIT_BUCKETS_US) and duration_us > COMMIT_BUCKETS_US[bucket]:
            bucket += 1
        slots[Global.COMMIT_BUCKET + bucket] += 1
        slots[Global.COMMITS] += 1
        slots[Global.COMMIT_SUM_US] += duration_us

    def close(self) -> None:
        self.slots.release()
        self._mapping.close()
        os.close(self._descriptor)


def descriptor_in(path: str) -> int:
    """The descriptor to inherit for a path that `inheritable` gave."""
    return int(path.removeprefix(_DESCRIPTORS))


def find_all(folder: Path) -> list[Path]:
    """Counters files in a journal folder, of every boot, oldest name first."""
    return sorted(path for path in folder.iterdir() if FILE_PATTERN.match(path.name))
