"""What waits to be told to one receiver: each state once, bounded, paced, and again after failures.

Pure: the time is an argument, and whoever sends says how it went.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from sidecar.alerting.notice import REPEAT_S, Notice
from sidecar.alerting.target import Kind
from sidecar.backoff import Backoff

MOST_WAITING = 1_000
KEYS_KEPT = 10_000
LONGEST_RETRY_AFTER_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `notices` in `seconds`, any such stretch; what is over waits."""

    notices: int
    seconds: float


@dataclass(slots=True)
class Counts:
    """What became of the notices."""

    sent: int = 0
    failed: int = 0
    """Tries that a receiver or the network failed; they are repeated."""
    refused: int = 0
    """Notices that a receiver will never take."""
    dropped: int = 0
    """Notices for which there was no room."""
    repeated: int = 0
    """Offered again and known to be told or waiting."""


@dataclass(slots=True)
class Outbox:
    """One receiver's queue."""

    kind: Kind
    rate: Rate
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=1.0, cap_s=60.0))
    most: int = MOST_WAITING
    counts: Counts = field(default_factory=Counts)
    error: str = ""
    waiting: OrderedDict[str, Notice] = field(default_factory=OrderedDict)
    _told: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _turned_away: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Counted as dropped; whoever offers it again is not a second one."""
    _recent: list[float] = field(default_factory=list)
    _not_before_s: float = 0.0

    def offer(self, notice: Notice, now_s: float) -> bool:
        """Takes a notice to be told; False when it is known already or there is no room, which is counted."""
        told_s = self._told.get(notice.key)
        repeat = self.kind is Kind.ALERTMANAGER and not notice.quiet
        if notice.key in self.waiting or (told_s is not None and not (repeat and now_s >= told_s + REPEAT_S)):
            self.counts.repeated += 1
            return False
        # A later state of the same alarm is worth more than an earlier one that nobody has heard of.
        for key in [key for key, each in self.waiting.items() if each.alarm_id == notice.alarm_id]:
            if notice.quiet and key not in self._told:
                continue
            del self.waiting[key]
        if len(self.waiting) >= self.most:
            self._turn_away(notice)
            return False
        self.waiting[notice.key] = notice
        return True

    def _turn_away(self, notice: Notice) -> None:
        if notice.key not in self._turned_away:
            self.counts.dropped += 1
            self._turned_away[notice.key] = None
            while len(self._turned_away) > KEYS_KEPT:
                self._turned_away.popitem(last=False)

    def next(self, now_s: float) -> Notice | None:
        """What is to be sent now; None when nothing is due."""
        if not self.waiting or now_s < self.due_s(now_s):
            return None
        return next(iter(self.waiting.values()))

    def due_s(self, now_s: float) -> float:
        """When the next notice may be sent."""
        self._recent = [each for each in self._recent if each > now_s - self.rate.seconds]
        due = self._not_before_s
        if len(self._recent) >= self.rate.notices:
            due = max(due, self._recent[-self.rate.notices] + self.rate.seconds)
        return due

    def sent(self, notice: Notice, now_s: float) -> None:
        """The receiver took it."""
        self.counts.sent += 1
        self.error = ""
        self.backoff.succeeded()
        self._recent.append(now_s)
        self._done(notice, now_s)

    def refused(self, notice: Notice, now_s: float, reason: str) -> None:
        """The receiver will never take it: it is given up."""
        self.counts.refused += 1
        self.error = reason
        self._recent.append(now_s)
        self._done(notice, now_s)

    def failed(self, now_s: float, reason: str, retry_after_s: float | None = None) -> float:
        """It is tried again; returns the seconds until then."""
        self.counts.failed += 1
        self.error = reason
        self._recent.append(now_s)
        wait_s = self.backoff.failed()
        if retry_after_s is not None:
            wait_s = max(wait_s, min(retry_after_s, LONGEST_RETRY_AFTER_S))
        self._not_before_s = now_s + wait_s
        return wait_s

    def _done(self, notice: Notice, now_s: float) -> None:
        self.waiting.pop(notice.key, None)
        self._told[notice.key] = now_s
        self._told.move_to_end(notice.key)
        while len(self._told) > KEYS_KEPT:
            self._told.popitem(last=False)
