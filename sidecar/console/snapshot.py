"""The analyst as the console sees it: one value, replaced whole after each of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts since the journal began, and what is on its way. Times: wall-clock microseconds, 0 = never."""

    totals: dict[str, int] = field(default_factory=dict)
    """What was read: exchanges, decode_errors, gaps/REASON, gap_exchanges/REASON, …"""
    shipping: dict[str, int] = field(default_factory=dict)
    """What was put: batches, bytes, rows, last_us."""
    read_seq: dict[str, int] = field(default_factory=dict)
    """Last sequence number read, per log."""
    caught_up_us: int = 0
    """When the journal was last read to its end: whatever is unread was committed later."""
    waiting_rows: int = 0
    """Rows read and not yet in a batch."""
    pending: int = 0
    pending_bytes: int = 0
    pending_rows: int = 0
    oldest_us: int = 0
    """When the oldest row that is not in the store was read."""
    store_error: str = ""
    store_failures: int = 0
    """In a row."""
    state_error: str = ""
    batch_limit_bytes: int = 0
    started_us: int = 0
    identity: dict[str, int] = field(default_factory=dict)
    """known, waiting, reachable, epochs, news, unreadable; empty where no cluster is asked."""
