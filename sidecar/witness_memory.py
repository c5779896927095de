"""Glue: what a witness knows from before: its own entries, and how far it saw the site log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.errors import LedgerError, SidecarError, UsageError
from sidecar.site.bodies import Problem, RemovedRange, Retention, Witness, read
from sidecar.site.entry import Entry
from sidecar.site.log import Head, Reader
from sidecar.site.witnessed import Sighting, follow
from sidecar.timestamping import stamped_at

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(slots=True)
class Memory:
    """What the site log says, as this witness reads it."""

    key: str
    operators: frozenset[str] | None
    """Whose retention runs count; None: everyone's."""
    roots: list[Certificate] | None
    """To check this witness's own time stamps with."""
    sightings: dict[str, Sighting] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """As of the last entry of this witness."""
    removed: dict[str, list[RemovedRange]] = field(default_factory=dict)
    believed: set[str] = field(default_factory=set)
    """Keys whose retention runs were believed though nobody named them."""

    def follow(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            retention, witness = read(entry, Retention), read(entry, Witness)
            if retention is not None and (self.operators is None or entry.key in self.operators):
                if self.operators is None and entry.key != self.key:
                    self.believed.add(entry.key)
                for each in retention.ranges:
                    self.removed.setdefault(each.origin, []).append(each)
            if witness is not None and entry.key == self.key:
                follow(self.sightings, entry)
                self.problems = witness.problems
                if witness.timestamp is not None and self.roots is not None:
                    try:
                        stamped_at(witness.timestamp, entry.body, self.roots)
                    except LedgerError as error:
                        raise LedgerError(f"site log: entry {entry.index} ({entry.name}): {error}") from error


def remembered(reader: Reader, state: Path | None) -> Iterable[Entry]:
    """All entries; raises LedgerError when the log is not a continuation of the one in the state file."""
    known = _recall(state) if state is not None else None
    for entry in reader:
        yield entry
        if known is not None and reader.head.size == known.size and reader.head.sha256 != known.sha256:
            raise LedgerError(
                f"site log: entry {entry.index} is not the one this witness saw: the log was written anew"
            )
    if known is not None and reader.head.size < known.size:
        raise LedgerError(
            f"site log: {reader.head.size} entries, and this witness saw {known.size}: its end was removed"
        )


def _recall(path: Path) -> Head | None:
    try:
        found = json.loads(path.read_text())
        return Head(int(found["size"]), found["sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"state {path}: cannot be read ({error}): restore it, or begin a new one") from error


def remember(path: Path, head: Head) -> None:
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("w") as file:
            json.dump({"format": 1, "size": head.size, "sha256": head.sha256}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SidecarError(f"state {path}: {error.strerror}: give a folder that can be written") from error
