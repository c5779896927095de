"""Where one route's sequence numbers stand: last given out, in the open segment, in the running gap."""

from __future__ import annotations

from sidecar.counters import Route
from sidecar.records import Gap


class RouteNumbers:
    """Mutable and slotted, since every append touches it."""

    __slots__ = (
        "base",
        "ended",
        "first",
        "gap_first",
        "gap_from_us",
        "gap_reason",
        "gap_to_us",
        "gapped",
        "name",
        "outcome",
        "seq",
        "shed",
        "t_from_us",
        "t_to_us",
    )

    def __init__(self, name: str, base: int, seq: int) -> None:
        self.name = name
        self.base = base
        """First counter slot of the route; `ended` and `outcome` are slots too."""
        self.ended = base + Route.ENDED
        self.outcome = base + Route.OUTCOME
        self.seq = seq
        """Last number given out."""
        self.first = 0
        """First number in the open segment, 0 if none."""
        self.gapped = 0
        """How many numbers of the open segment are in gaps."""
        self.t_from_us = 0
        self.t_to_us = 0
        self.gap_first = 0
        """First number of the running gap, 0 if there is none; it reaches to `seq`."""
        self.gap_from_us = 0
        self.gap_to_us = 0
        self.gap_reason = ""
        self.shed = 0
        """Numbers in gaps that went into segments so far."""

    @property
    def next_unaccounted(self) -> int:
        """First number that neither the segments so far nor the open one account for."""
        return self.gap_first or self.seq + 1

    def extend_gap(self, reason: str, t_us: int) -> bool:
        """Give the next number to the running gap; returns whether that began it."""
        self.seq += 1
        if not self.gap_first:
            self.gap_first = self.seq
            self.gap_from_us = self.gap_to_us = t_us
            self.gap_reason = reason
            return True
        self.gap_from_us = min(self.gap_from_us, t_us)
        self.gap_to_us = max(self.gap_to_us, t_us)
        return False

    def take_gap(self, boot: str) -> Gap:
        """End the running gap, as part of the open segment."""
        first, count = self.gap_first, self.seq - self.gap_first + 1
        gap = Gap(boot, self.name, first, count, self.gap_from_us, self.gap_to_us, self.gap_reason)
        self.gap_first = 0
        self.shed += count
        self.gapped += count
        self.cover(first, gap.t_from_us)
        self.cover(first, gap.t_to_us)
        return gap

    def cover(self, first: int, t_us: int) -> None:
        """Note that the open segment holds something of that number and time."""
        if not self.first:
            self.first = first
            self.t_from_us = self.t_to_us = t_us
        else:
            self.t_from_us = min(self.t_from_us, t_us)
            self.t_to_us = max(self.t_to_us, t_us)

    def take_range(self, boot: str) -> tuple[Gap, int] | None:
        """What the open segment holds, as the gap that it would leave, and how much of it is gaps already."""
        if not self.first:
            return None
        count = self.next_unaccounted - self.first
        found = Gap(boot, self.name, self.first, count, self.t_from_us, self.t_to_us, ""), self.gapped
        self.first = self.gapped = 0
        return found

    def lose_open_segment(self, reason: str) -> int:
        """Turn all that the open segment held into the running gap; returns how many were not gaps before."""
        if not self.first:
            return 0
        lost = self.next_unaccounted - self.first - self.gapped
        self.shed -= self.gapped
        self.gap_to_us = max(self.t_to_us, self.gap_to_us if self.gap_first else 0)
        self.gap_from_us = min(self.t_from_us, self.gap_from_us if self.gap_first else self.t_from_us)
        self.gap_first = self.first
        self.gap_reason = reason
        self.first = self.gapped = 0
        return lost
