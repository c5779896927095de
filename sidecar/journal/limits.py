"""How much the journal may take: the configured bounds, fitted to the file system it lies on."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
RESERVE_BYTES = 48 * MIB
"""Free space the journal never takes on a large file system."""
RESERVE_SHARE = 4
"""On a small one it leaves a quarter instead."""


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Bounds of one journal; sizes in bytes, times in seconds."""

    max_bytes: int = 2 << 30
    """Over all volumes. Nothing unshipped is deleted to make room; the newest is shed."""
    volume_bytes: int = 128 * MIB
    """Size at which a volume is closed; smaller on small file systems."""
    volume_age_s: float = 3600.0
    commit_interval_s: float = 0.020
    pending_bytes: int = 64 * MIB
    """Appended and not yet committed; beyond it appends are shed."""
    body_limit: int = 8 * MIB
    """Largest body kept whole: a volume should hold an exchange with two of them."""
    before_response: bool = False
    """Sync the meta page too, so that a committed segment survives the machine's crash."""


def reserve_bytes(filesystem_bytes: int) -> int:
    """Free bytes that the journal leaves alone, so that the analyst can always persist and ship."""
    return min(RESERVE_BYTES, filesystem_bytes // RESERVE_SHARE)


def fitted_volume_bytes(limits: JournalLimits, filesystem_bytes: int) -> int:
    """Size of one volume on a file system of that size, a multiple of the page size.

    About an eighth of a small file system, so that space comes back in pieces,
    but room for one exchange with two full bodies as long as two such volumes
    fit beside the reserve; likewise a quarter of a small `max_bytes`.
    """
    exchange = 2 * limits.body_limit + 4 * MIB
    usable = filesystem_bytes - reserve_bytes(filesystem_bytes)
    by_disk = max(filesystem_bytes // 8, min(exchange, usable // 2))
    by_bound = max(limits.max_bytes // 4, min(exchange, limits.max_bytes // 2))
    size = min(limits.volume_bytes, by_disk, by_bound)
    return max(size, MIB // 4) & ~0xFFFF
