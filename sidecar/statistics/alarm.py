"""An alarm: what moved, since when, how sure, and the states that it goes through.

The format is versioned: readers refuse a `version` that they do not know.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import msgspec

VERSION = 1

State = Literal["open", "escalated", "acknowledged", "resolved"]
Severity = Literal["warning", "critical"]
Event = Literal["grew", "acknowledge", "returned", "ended"]

TRANSITIONS: dict[tuple[State, Event], State] = {
    ("open", "grew"): "escalated",
    ("open", "acknowledge"): "acknowledged",
    ("open", "returned"): "resolved",
    ("escalated", "grew"): "escalated",
    ("escalated", "acknowledge"): "acknowledged",
    ("escalated", "returned"): "resolved",
    # Whoever has acknowledged it knows; it stays quiet until it is over.
    ("acknowledged", "grew"): "acknowledged",
    ("acknowledged", "acknowledge"): "acknowledged",
    ("acknowledged", "returned"): "resolved",
    # Nothing more came: whoever looks after it would wait for ever.
    ("open", "ended"): "resolved",
    ("escalated", "ended"): "resolved",
    ("acknowledged", "ended"): "resolved",
}
"""Every move that exists; `resolved` is the end, and the next shift is a new alarm."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a change."""

    words: str
    """For example `mean 0.74` or `3.1 % missing`."""
    rows: int
    numbers: dict[str, float] = {}
    """The figures behind the words, by name."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """How big a change is, in the measures that people know; null where one does not apply."""

    psi: float | None = None
    """Population stability index with +0.5 smoothing."""
    js: float | None = None
    """Jensen-Shannon distance, base 2, 0 to 1."""
    w1_sigma: float | None = None
    """Wasserstein-1 distance in baseline standard deviations."""
    ks: float | None = None
    """Kolmogorov-Smirnov distance on the baseline's grid."""
    difference: float | None = None
    """Of shares, rates or means, after minus before, in their own unit."""
    ratio: float | None = None
    """Of two groups' rates."""


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """A slot or stratum and what it adds to the change."""

    what: str
    before: float
    """Its share before, 0 to 1."""
    after: float
    part: float
    """Of the whole change, 0 to 1."""


class SegmentPart(msgspec.Struct, frozen=True, kw_only=True):
    """A segment of the traffic and what it adds to the change."""

    segment: str
    """For example `region is south`."""
    before: float | None
    """Its share of yes, or its mean in baseline standard deviations; null when it had no rows."""
    after: float | None
    rows: int
    """Of it since the change."""
    part: float
    """Of the whole change; those of all segments of one kind add up to 1."""


class Alarm(msgspec.Struct, kw_only=True):
    """One alarm, from opening to its end; changed in place by the evaluator that raised it."""

    version: int = VERSION
    id: str
    """Hex, the same wherever the same panes are evaluated."""
    quantity: str
    kind: Literal["distribution", "band", "mean", "two_sample"]
    severity: Severity
    state: State
    opened_us: int
    updated_us: int
    """The end of the last pane that changed anything in it."""
    resolved_us: int | None = None
    since_us: int
    """The estimated time of the change."""
    before: Level
    after: Level
    log_evidence: float
    """Natural logarithm of the e-detector's highest value so far."""
    threshold: float
    """Natural logarithm of the value at which it alarms."""
    effect: Effect
    contributions: list[Contribution]
    """Slots or strata, the largest first, at most three."""
    segments: list[SegmentPart] = []
    """Of each configured segmentation the segment that contributes most, the largest first, at most three."""
    record_ids: list[str]
    """Up to three records to look at."""
    sentence: str
    """The whole in plain words."""
    advisory: bool
    """Raised by one sidecar on what it alone has seen."""
    promise: str
    """What the false-alarm rate is, in words, or why it is not proven here."""

    @property
    def active(self) -> bool:
        """Whether it has not been resolved."""
        return self.state != "resolved"

    @property
    def loud(self) -> bool:
        """Whether somebody should still be told of it."""
        return self.state in ("open", "escalated")

    def move(self, event: Event, at_us: int) -> bool:
        """Goes where `event` leads; returns whether the state changed. Raises ValueError from `resolved`."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            raise ValueError(f"alarm {self.id} is {self.state}: nothing follows from {event!r}")
        changed = after != self.state
        self.state = after
        if changed:
            self.updated_us = at_us
        if after == "resolved":
            self.resolved_us = at_us
        return changed


def alarm_id(quantity: str, opened_us: int) -> str:
    """16 hex digits that name an alarm; two evaluators that see the same name it alike."""
    return sha256(f"{quantity}\n{opened_us}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def decode_alarm(data: bytes) -> Alarm:
    """An alarm from its JSON. Raises ValueError for another version or shape."""
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version == VERSION:
            return msgspec.json.decode(data, type=Alarm)
    except msgspec.MsgspecError as error:
        raise ValueError(f"is no alarm: {error}") from error
    raise ValueError(f"is an alarm of version {version}, this build reads {VERSION}")


class _Versioned(msgspec.Struct):
    version: int
