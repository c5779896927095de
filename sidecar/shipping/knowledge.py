"""What the analyst knows at one moment: values that its state makes durable together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sidecar.records import Epoch, Position

START = Position(0, 0)
"""Before everything."""

MonitorKey = tuple[str, str]
"""Route and model digest."""
EpochKey = tuple[str, str, int]
"""Boot, route and epoch number."""


@dataclass(slots=True)
class LogEnd:
    """Where a log had come to."""

    seq: int = 0
    t_us: int = 0
    epoch: int = 0


@dataclass(slots=True)
class Tree:
    """Where the sealing of a log had come to: all that is needed to append to it."""

    origin: str
    sealer: str
    """Boot whose key signs it; another boot begins a tree of its own."""
    frontier: list[int | bytes]
    """As `ledger.tree.Frontier.to_list` gives it."""
    root: bytes = b""
    batch: str = ""
    batch_sha256: bytes = b""
    t_us: int = 0
    """Wall clock when its last leaf was sealed."""
    epochs: list[int] = field(default_factory=list)
    """Identity epochs that have their leaf."""
    closed: bool = False
    continues: dict[str, Any] | None = None
    """End of the dead boot's tree that this one goes on from, as its genesis names it."""
    store: str = ""
    """Address of the store that its files went to."""

    @property
    def size(self) -> int:
        return int(self.frontier[0])


@dataclass(slots=True)
class PaneBook:
    """What was shipped of the statistics, so that each count is shipped once."""

    writer: str = ""
    """16 hex digits that this state gave itself; empty before the first panes."""
    serial: int = 0
    """Number of the next file of panes."""
    plans: list[str] = field(default_factory=list)
    """Digests of plans that were handed over to the store, latest last."""


@dataclass(slots=True)
class Knowledge:
    """Everything the state holds but the batches' bytes; what a restarted analyst begins with."""

    cursor: Position = START
    totals: dict[str, int] = field(default_factory=dict)
    shipping: dict[str, int] = field(default_factory=dict)
    logs: dict[str, LogEnd] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    epochs: dict[EpochKey, Epoch] = field(default_factory=dict)
    monitors: dict[MonitorKey, bytes] = field(default_factory=dict)
    panes: PaneBook = field(default_factory=PaneBook)
    due: dict[str, list[int]] = field(default_factory=dict)
    """By log the epochs of which more is known than their identity leaf says."""

    def model(self, route: str, digest: str) -> str:
        """The model's name in the latest epoch of that route and digest."""
        of = (route, digest)
        names = [epoch.model for epoch in self.epochs.values() if (epoch.route, epoch.digest) == of]
        return names[-1] if names else "unknown"
