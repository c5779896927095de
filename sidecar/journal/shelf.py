"""Which volume is being written: when the next one is begun, and whether there is room for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from sidecar.clock import Clock
from sidecar.counters import Counters, Global
from sidecar.errors import JournalFull
from sidecar.journal.folder import discard_volume, sync_folder, volume_bytes_on_disk, volume_path
from sidecar.journal.limits import JournalLimits, fitted_volume_bytes, reserve_bytes
from sidecar.journal.segment import Buffer
from sidecar.journal.volume import Volume, VolumeFactory, WriteFailed

Preamble = Callable[[int], Iterable[tuple[bytes, Buffer]]]
"""Keys and values of the first segment of the volume of that number."""


class Blocked(JournalFull):
    """The journal cannot take more now; `reason` is its name in gaps, metrics and the status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Shelf:
    """At most one volume open for writing; the commit thread's alone."""

    def __init__(
        self,
        folder: Path,
        counters: Counters,
        clock: Clock,
        limits: JournalLimits,
        open_volume: VolumeFactory,
    ) -> None:
        self.volume: Volume | None = None
        self.index = 0
        """Of the next segment in the open volume."""
        self._folder = folder
        self._counters = counters
        self._clock = clock
        self._limits = limits
        self._open_volume = open_volume
        self._number = 0
        self._size = 0
        self._since_ns = 0
        self._measured_ns = 0

    @property
    def fresh(self) -> bool:
        """Whether the open volume holds nothing but its preamble."""
        return self.index <= 1

    def begin_after(self, number: int) -> None:
        """Declare every volume up to that number closed."""
        self._number = number
        self._counters.slots[Global.VOLUME_CLOSED] = number
        self._counters.slots[Global.VOLUME_CURRENT] = 0

    def open_next(self, needed_bytes: int, preamble: Preamble) -> Volume:
        """Begin the next volume and commit its preamble. Raises Blocked, WriteFailed, OSError."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        size = self._require_room(needed_bytes)
        # A number is never used twice: a reader may know the file that failed under it.
        self._number += 1
        number = self._number
        volume = self._open_volume(self._folder, number, size, self._limits.before_response)
        try:
            volume.write(preamble(number))
            sync_folder(self._folder)
        except BaseException as error:
            volume.close()
            discard_volume(self._folder, number)
            if isinstance(error, WriteFailed):
                raise Blocked("disk_full" if error.space else "io_error", str(error)) from error
            raise
        self.volume = volume
        self.index = 1
        self._size = size
        self._since_ns = self._clock.monotonic_ns()
        slots = self._counters.slots
        slots[Global.VOLUME_CURRENT] = number
        slots[Global.VOLUMES_OPENED] += 1
        slots[Global.JOURNAL_BYTES] = volume_bytes_on_disk(self._folder)
        # Volume numbers must survive a power cut even when every volume has been shipped and unlinked.
        self._sync_counters()
        return volume

    def close(self) -> None:
        """Let the open volume, if any, take no more writes."""
        if self.volume is None:
            return
        number = self.volume.number
        self.volume.close()
        self.volume = None
        slots = self._counters.slots
        slots[Global.VOLUME_CURRENT] = 0
        slots[Global.VOLUME_CLOSED] = number
        self.measure()

    def measure_now_and_then(self) -> None:
        """`measure`, at most once a second: it looks at every volume."""
        if self._clock.monotonic_ns() - self._measured_ns >= 1_000_000_000:
            self.measure()

    def measure(self) -> None:
        """Bring the counter of the journal's size up to date."""
        self._measured_ns = self._clock.monotonic_ns()
        with contextlib.suppress(OSError):
            self._counters.slots[Global.JOURNAL_BYTES] = volume_bytes_on_disk(self._folder)

    def retire(self) -> None:
        """Close a volume that has become old, so that it can be shipped and unlinked."""
        age_ns = self._clock.monotonic_ns() - self._since_ns
        if self.volume is not None and not self.fresh and age_ns >= self._limits.volume_age_s * 1e9:
            self.close()

    def require_space(self, needed_bytes: int) -> None:
        """Raises Blocked, having closed the volume, when it is gone or the file system's reserve would be.

        A volume that somebody unlinked takes writes as before; nobody could ever read them.
        """
        if self.volume is not None and not volume_path(self._folder, self.volume.number).exists():
            name = volume_path(self._folder, self.volume.number)
            self.close()
            raise Blocked(
                "removed",
                f"journal volume {name} was removed while in use: what of it was not shipped is lost; "
                "leave the journal's folder to the sidecar",
            )
        total, free = self._filesystem()
        if free - min(self._size, needed_bytes) < reserve_bytes(total):
            # Closed, so that it can be shipped and unlinked: that is how space comes back.
            self.close()
            raise self._disk_full(free)

    def _require_room(self, needed_bytes: int) -> int:
        total, free = self._filesystem()
        size = fitted_volume_bytes(self._limits, total)
        on_disk = volume_bytes_on_disk(self._folder)
        self._counters.slots[Global.JOURNAL_BYTES] = on_disk
        if on_disk + size > self._limits.max_bytes:
            raise Blocked(
                "max_bytes", f"journal {self._folder}: {on_disk} bytes wait to be shipped: see to the store"
            )
        # Not less than a quarter, lest space that comes back slowly be cut into ever smaller volumes.
        if free < reserve_bytes(total) + min(size, max(size // 4, needed_bytes + (1 << 20))):
            raise self._disk_full(free)
        return size

    def _disk_full(self, free: int) -> Blocked:
        return Blocked(
            "disk_full", f"journal {self._folder}: {free} bytes free on its file system: free some space"
        )

    def _filesystem(self) -> tuple[int, int]:
        status = os.statvfs(self._folder)
        return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize

    def _sync_counters(self) -> None:
        descriptor = os.open(self._counters.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
