"""One metric as a row of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.console.board import Board
from sidecar.console.snapshot import Snapshot

Samples = list[tuple[tuple[str, ...], float]]
Source = Callable[[Board, Snapshot], Samples]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as scraped, kind, labels, meaning, and where its samples come from."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    samples: Source


def counter(name: str, help_text: str, samples: Source, *labels: str) -> Family:
    return Family(name, "counter", labels, help_text, samples)


def gauge(name: str, help_text: str, samples: Source, *labels: str) -> Family:
    return Family(name, "gauge", labels, help_text, samples)
