"""What the demo has to tell at one moment, and the same as one plain line."""

from __future__ import annotations

from dataclasses import dataclass

from docs.demo.latency import Latency
from docs.demo.readings import Reading

DENIED = "denied"
BAND = (0.10, 0.20)
"""The share of denials that the bank finds ordinary."""
MOVED_PSI = 0.25
"""From here on a distribution counts as another one; from 0.1 on as moving. Customary values."""
MOVING_PSI = 0.1
LEAST_RECENT = 50
"""Fewer exchanges than this say nothing about shares."""


@dataclass(frozen=True, slots=True)
class Look:
    """Where the records of this run are and how to look at them."""

    store: str
    find: str
    show: str = ""
    """Empty until a record is in the store."""
    store_option: str = ""
    verify: str = ""

    def lines(self) -> list[str]:
        """Shell commands, each line short enough for 80 columns as long as the store's path is."""
        lines = [self.find]
        if self.show:
            lines += [f"{self.show} \\", f"    {self.store_option}"]
        return lines


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment."""

    elapsed_s: float
    duration_s: float | None
    shift_at_s: float
    shifted_at_s: float | None
    reading: Reading
    speed: float
    """Exchanges per second, by the sidecar's count."""
    latency: Latency | None
    trouble: str
    look: Look
    server: str

    @property
    def population(self) -> str:
        """Who applies now."""
        if self.shifted_at_s is not None:
            at = minutes(self.shifted_at_s)
            return f"since {at} real applications with high loan/value and bad credit, resampled"
        return f"real applications as they were filed; the population shifts at {minutes(self.shift_at_s)}"


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def outside(share: float | None) -> bool:
    """Whether a share of denials is known and is out of the ordinary."""
    return share is not None and not BAND[0] <= share <= BAND[1]


def telling(reading: Reading) -> bool:
    """Whether enough was seen since the baseline to compare with it."""
    return reading.watching and reading.recent >= LEAST_RECENT


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def learning(reading: Reading) -> str:
    """What is still missing before anything can be compared; empty when nothing is."""
    if telling(reading):
        return ""
    if reading.watching:
        return f"baseline of {reading.baseline_exchanges:,} learnt; {reading.recent} exchanges since"
    if not reading.baseline_wanted:
        return "waiting for the first exchanges"
    return f"learning the baseline: {reading.baseline_exchanges:,} of {reading.baseline_wanted:,}"


def plain_line(scene: Scene) -> str:
    """Everything in one line, for logs and pipes."""
    reading, latency = scene.reading, scene.latency
    parts = [f"{minutes(scene.elapsed_s)}  {scene.speed:5.1f} exchanges/s"]
    if latency is not None:
        parts.append(f"added p50 {latency.added_p50_ms:+.2f} ms p99 {latency.added_p99_ms:+.2f} ms")
    parts.append(f"journaled {reading.journaled:,} shipped {reading.shipped:,}")
    if telling(reading):
        denied = reading.share(DENIED)
        flag = " (!)" if outside(denied.now) else ""
        parts.append(f"denied {percent(denied.baseline)} -> {percent(denied.now)}{flag}")
        moved = [f"{move.feature} {move.psi:.2f}" for move in reading.moves[:3] if move.psi is not None]
        parts.append("PSI " + (" ".join(moved) or "not yet"))
    else:
        parts.append(learning(reading))
    if scene.trouble:
        parts.append(scene.trouble)
    return " | ".join(parts)
