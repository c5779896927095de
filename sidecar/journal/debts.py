"""What a recovery owes and has not committed yet, kept where a kill cannot take it along.

Once a damaged file has been moved aside, nothing in the folder says what was
there. So this note is written first; it is removed when what it lists has been
committed, and a recovery that finds it takes it over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.journal.folder import move_aside, sync_folder
from sidecar.records import Event, Gap

log = logging.getLogger(__name__)

FILE_NAME = "owed.json"
VOLUME_MOVED = "volume_moved_aside"
COUNTERS_MOVED = "counters_moved_aside"
_FORMAT = 1


@dataclass(slots=True)
class Debts:
    """Events and gaps of files moved aside."""

    after: int = 0
    """Volumes of a greater number were begun later; the first of them opens with what is listed here."""
    events: list[Event] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.events or self.gaps)

    @property
    def volumes_lost(self) -> bool:
        return any(each.name == VOLUME_MOVED for each in self.events)

    def add_event(self, event: Event) -> None:
        """Once for each file: the recovery before may have died between two moves."""
        if all((each.name, each.details) != (event.name, event.details) for each in self.events):
            self.events.append(event)

    def add_gap(self, gap: Gap) -> None:
        if gap not in self.gaps:
            self.gaps.append(gap)


def path_in(folder: Path) -> Path:
    return folder / FILE_NAME


def read(folder: Path) -> Debts:
    """What an earlier recovery noted; nothing if there is no note, or it cannot be understood."""
    try:
        noted = json.loads(path_in(folder).read_bytes())
        if noted["format"] != _FORMAT:
            raise ValueError(f"format {noted['format']}")
        return Debts(
            int(noted["after"]),
            [Event(**each) for each in noted["events"]],
            [Gap(**each) for each in noted["gaps"]],
        )
    except FileNotFoundError:
        return Debts()
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.error(
            "journal note %s cannot be read: %s: kept in aside/, going on without", path_in(folder), error
        )
        move_aside(folder, path_in(folder))
        return Debts()


def write(folder: Path, debts: Debts) -> None:
    """Keep them, durably. Raises OSError when that cannot be done: nothing must be moved aside then."""
    path = path_in(folder)
    draft = path.with_suffix(".tmp")
    noted = {
        "format": _FORMAT,
        "after": debts.after,
        "events": [dataclasses.asdict(each) for each in debts.events],
        "gaps": [dataclasses.asdict(each) for each in debts.gaps],
    }
    try:
        with draft.open("w") as file:
            json.dump(noted, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        sync_folder(folder)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
