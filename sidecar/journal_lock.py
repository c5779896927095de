"""Glue: which folder a start records into, and its lock."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from sidecar.config import Settings
from sidecar.errors import ConfigError, JournalError, JournalLocked, JournalVersion
from sidecar.journal.folder import FORMAT, acquire_lock, check, volume_bytes_on_disk, volumes

log = logging.getLogger(__name__)

WAIT_S = 5.0
"""The children of a supervisor that was just killed hold its lock until they notice."""
ASIDE = f"format-{FORMAT}"
"""Inside a journal that a newer sidecar left: the one of a sidecar that was rolled back."""


def lock_journal(settings: Settings) -> tuple[Settings, int]:
    """The journal's lock, as the descriptor that holds it, and the settings with the folder that it is of.

    A journal of a newer format is left as it is, for a newer sidecar: traffic
    must flow after a rollback too, and is recorded into a folder within it.
    Raises ConfigError for a folder that cannot be written, JournalLocked, and
    JournalVersion when that folder is of a newer format as well.
    """
    folder = Path(settings.journal)
    try:
        lock_fd = _lock(folder)
        for older in sorted(folder.glob("format-*")):
            if volumes(older):
                log.warning("%s: left by an older sidecar, is shipped by `sidecar drain`", older)
        return settings, lock_fd
    except JournalVersion as error:
        within = folder / ASIDE
        log.error("%s; it is left as it is, and this sidecar records into %s", error, within)
        # Both lie on one disk, or in one volume over whose size the pod would be evicted.
        left = settings.journal_max_bytes - volume_bytes_on_disk(folder)
        settings = msgspec.structs.replace(
            settings, journal=str(within), journal_max_bytes=max(left, settings.volume_bytes)
        )
        return settings, _lock(within)


def _lock(folder: Path) -> int:
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            check(folder)
            return acquire_lock(folder)
        except JournalLocked:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(0.02)
        except JournalVersion:
            raise
        except JournalError as error:
            raise ConfigError(str(error)) from error
