"""What is kept of a verified log, to hold the logs of a store against each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sidecar.audit.log import Walk

ROOTS_KEPT = 64
"""Newest tree sizes whose roots are kept: a log's successor names one of its last."""


@dataclass(slots=True)
class LogEnd:
    """One log as its neighbours need it."""

    origin: str
    end: int
    """Leaves sealed, as far as the store shows."""
    closed: bool
    empty: bool
    """No batch of it is there."""
    successor_of: tuple[dict[str, Any], ...] = ()
    """What its genesis says of the logs before it."""
    roots: dict[int, bytes] = field(default_factory=dict)
    runs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By recorder, the runs of sequence numbers with record or gap; runs that touch are joined."""


def end_of(walk: Walk) -> LogEnd:
    """The little that is kept."""
    named = (leaf.details for link in walk.links for leaf in link.facts.sealing if leaf.kind == "genesis")
    genesis = next(named, {})
    before = tuple(genesis[name] for name in ("previous", "continues") if isinstance(genesis.get(name), dict))
    newest = sorted(walk.roots)[-ROOTS_KEPT:]
    return LogEnd(
        walk.origin,
        walk.end,
        walk.closed,
        not walk.links,
        before,
        {size: walk.roots[size] for size in newest},
        _runs(walk),
    )


def _runs(walk: Walk) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for link in walk.links:
        log = link.facts.log_value("log")
        if log is not None:
            found.setdefault(str(log), []).extend(link.facts.numbers)
    joined: dict[str, list[tuple[int, int]]] = {}
    for log, runs in found.items():
        kept = joined.setdefault(log, [])
        for first, last in sorted(runs):
            # Runs that overlap stay two: a number that was sealed twice must not be lost here.
            if kept and kept[-1][1] + 1 == first:
                kept[-1] = (kept[-1][0], last)
            else:
                kept.append((first, last))
    return joined
