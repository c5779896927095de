"""What an earlier recorder left: where its volumes end, and what it started and never committed."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.counters import Counters, Global, Route, find_all
from sidecar.errors import JournalError, JournalVersion, VolumeCorrupt
from sidecar.journal import debts as owing
from sidecar.journal.debts import COUNTERS_MOVED, VOLUME_MOVED, Debts
from sidecar.journal.folder import discard_volume, move_aside, volume_path, volumes
from sidecar.journal.pages import open_pages
from sidecar.journal.segment import KEY, Control, Header, payload, read_header, segment_number
from sidecar.records import Event, Gap

log = logging.getLogger(__name__)

KILLED = "killed"
LOST_VOLUME = "volume_corrupt"


@dataclass(slots=True)
class Survey:
    """The volumes as found."""

    last_volume: int = 0
    """Highest number ever seen, of files here and aside; 0 when there is none."""
    tails: dict[str, Header] = field(default_factory=dict)
    """Per boot: the header of its last segment."""
    written: int = 0
    """Highest number of a volume that holds more than its preamble."""
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    """Each volume that cannot be trusted, and why."""
    lost: list[Gap] = field(default_factory=list)
    """What a damaged volume held, as far as its neighbours tell."""


def survey(folder: Path) -> Survey:
    """Look at both ends of every volume; reads a few pages of each.

    Removes volumes that never got a segment. Raises JournalVersion and OSError.
    """
    found = Survey()
    numbers = volumes(folder)
    ends: dict[int, tuple[Header, Header]] = {}
    for number in numbers:
        path = volume_path(folder, number)
        try:
            pair = _ends(path, number)
        except VolumeCorrupt as error:
            found.damaged.append((path, str(error)))
            continue
        if pair is None:
            discard_volume(folder, number)
        else:
            ends[number] = pair
            if pair[1].segment > pair[0].segment:
                found.written = number
    damaged = {path for path, _ in found.damaged}
    after_damage = False
    for number in numbers:
        if number in ends:
            first, last = ends[number]
            before = found.tails.get(first.boot)
            if after_damage and before:
                found.lost.extend(_between(before, first))
            after_damage = False
            found.tails[last.boot] = last
        after_damage = after_damage or volume_path(folder, number) in damaged
    found.last_volume = max([0, *numbers, *_numbers_aside(folder)])
    return found


def _ends(path: Path, number: int) -> tuple[Header, Header] | None:
    """Headers of the first and the last segment; None for a volume that never got one."""
    if path.stat().st_size == 0:
        return None
    file, pages = open_pages(path)
    with file:
        key = pages.last_key()
        if key is None:
            return None
        if len(key) != KEY.size:
            raise VolumeCorrupt("key of another length than a segment's")
        last, last_part = KEY.unpack(key)
        headers = []
        for segment in (segment_number(number, 0), last):
            value = pages.get(KEY.pack(segment, 0))
            if value is None:
                raise VolumeCorrupt(f"segment {segment} has no first part")
            header = read_header(payload(value))
            if header.segment != segment:
                raise VolumeCorrupt(f"segment {segment} calls itself {header.segment}")
            headers.append(header)
        if last_part != headers[1].parts - 1:
            raise VolumeCorrupt(f"last segment has {last_part + 1} of {headers[1].parts} parts")
        return headers[0], headers[1]


def _between(before: Header, after: Header) -> list[Gap]:
    gaps = []
    for route, (next_seq, _) in after.routes.items():
        first = before.routes.get(route, (1, 0))[0]
        if next_seq > first:
            gaps.append(
                Gap(after.boot, route, first, next_seq - first, before.wall_us, after.wall_us, LOST_VOLUME)
            )
    return gaps


def _numbers_aside(folder: Path) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        numbers = []
        for path in (folder / "aside").iterdir():
            digits = path.name.removeprefix("volume-").partition(".")[0]
            if path.name.startswith("volume-") and digits.isdigit():
                numbers.append(int(digits))
        return numbers
    return []


def uncommitted(counters: Counters, begun: dict[str, int], tail: Header | None, until_us: int) -> list[Gap]:
    """What that boot started and never committed, one gap for each route.

    The last segment says what was committed; without one (all its volumes
    shipped and unlinked) the counters do. Too high by at most the exchanges
    that were in flight when the process died.
    """
    gaps = []
    since_us = (
        tail.wall_us
        if tail
        else counters.get(Global.LAST_COMMIT_WALL_US) or counters.get(Global.BOOT_WALL_US)
    )
    for route, started in begun.items():
        done = committed(counters, route, tail)
        count = started - done
        if count > 0:
            gaps.append(Gap(counters.boot, route, done + 1, count, min(since_us, until_us), until_us, KILLED))
    return gaps


def lost_whole(counters: Counters, tail: Header | None, until_us: int) -> list[Gap]:
    """After a volume was moved aside: all that a boot without one sound volume committed, a gap per route.

    Too high by what the analyst had read before; only it knows, and takes that
    off. With a sound volume, `uncommitted` counts whatever follows it.
    """
    if tail is not None:
        return []
    since_us = min(counters.get(Global.BOOT_WALL_US), until_us)
    done = {route: counters.route(route, Route.COMMITTED_SEQ) for route in counters.routes}
    return [
        Gap(counters.boot, route, 1, count, since_us, until_us, LOST_VOLUME)
        for route, count in done.items()
        if count
    ]


def committed(counters: Counters, route: str, tail: Header | None) -> int:
    """Highest sequence number of the route that the journal accounts for."""
    if tail is None:
        return counters.route(route, Route.COMMITTED_SEQ)
    return tail.routes.get(route, (1, 0))[0] - 1


@dataclass(slots=True)
class Recovery:
    """Where this recorder goes on, and what it owes on behalf of those before it."""

    last_volume: int
    routes: dict[str, tuple[int, int]]
    """Per route of this boot: next number that no segment accounts for, and how many below it are gaps."""
    shed: dict[str, int]
    """Per route of this boot: numbers in gaps, those owed included."""
    owed: list[Control]
    dead: list[Path]
    """Files to remove once what is owed has been committed: dead boots' counters, and the note of it."""
    moved: int
    """Volumes moved aside now."""


def recover(folder: Path, counters: Counters, started: dict[str, tuple[int, int]], now_us: int) -> Recovery:
    """Survey the volumes and count what earlier recorders, of this boot or dead ones, left uncommitted.

    `started`: per route of this boot, exchanges begun and shed before this
    recorder. Raises JournalVersion, OSError; may be called again.
    """
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)  # it may have been removed under a running sidecar
    found = survey(folder)
    debts = _debts(folder, found, now_us)
    owed: list[Control] = []
    numbers = [found.last_volume, *_numbers(counters)]
    until_us = counters.get(Global.BOOT_WALL_US) or now_us
    dead = []
    unreadable = []
    for path in find_all(folder):
        if path.name == counters.file_name:
            continue
        try:
            owed.extend(_bury(path, found, numbers, debts.volumes_lost, until_us))
            dead.append(path)
        except JournalVersion:
            raise
        except JournalError as error:
            log.error("%s: moved aside", error)
            unreadable.append(path)
            debts.add_event(Event(COUNTERS_MOVED, now_us, {"file": path.name, "reason": str(error)}))
    tail = found.tails.get(counters.boot)
    routes: dict[str, tuple[int, int]] = {}
    shed: dict[str, int] = {}
    for route, (begun, shed_before) in started.items():
        done = committed(counters, route, tail)
        in_gaps = tail.routes.get(route, (1, 0))[1] if tail else min(shed_before, done)
        routes[route] = (done + 1, in_gaps)
        shed[route] = in_gaps + max(0, begun - done)
    if debts.volumes_lost:
        owed.extend(lost_whole(counters, tail, now_us))
    owed.extend(uncommitted(counters, {route: begun for route, (begun, _) in started.items()}, tail, now_us))
    _keep_committed(counters, tail)
    debts.after = max(numbers)
    if debts:
        owing.write(folder, debts)
    for path in (*unreadable, *(path for path, _ in found.damaged)):
        move_aside(folder, path)
    owed[:0] = [*debts.gaps, *debts.events]
    dead.append(owing.path_in(folder))
    return Recovery(max(numbers), routes, shed, owed, dead, len(found.damaged))


def _debts(folder: Path, found: Survey, now_us: int) -> Debts:
    """What is owed for damaged volumes: those found now, and those of a recovery that never committed."""
    debts = owing.read(folder)
    if found.written > debts.after:
        # The first thing that recovery wrote was what it owed; it only did not get to removing its note.
        debts = Debts()
    for path, reason in found.damaged:
        log.error(
            "journal volume %s cannot be trusted (%s): moved to %s", path.name, reason, folder / "aside"
        )
        debts.add_event(Event(VOLUME_MOVED, now_us, {"volume": path.name, "reason": reason}))
    for gap in found.lost:
        debts.add_gap(gap)
    return debts


def _bury(path: Path, found: Survey, numbers: list[int], volumes_lost: bool, until_us: int) -> list[Gap]:
    counters = Counters.open(path)
    try:
        tail = found.tails.get(counters.boot)
        begun = {route: counters.route(route, Route.STARTED) for route in counters.routes}
        gaps = lost_whole(counters, tail, until_us) if volumes_lost else []
        gaps += uncommitted(counters, begun, tail, until_us)
        numbers.extend(_numbers(counters))
        _keep_committed(counters, tail)
    finally:
        counters.close()
    return gaps


def _keep_committed(counters: Counters, tail: Header | None) -> None:
    """Once the volumes may be unlinked, only the slots say what was committed."""
    for route in counters.routes:
        counters.slots[counters.base(route) + Route.COMMITTED_SEQ] = committed(counters, route, tail)


def _numbers(counters: Counters) -> tuple[int, int]:
    return counters.get(Global.VOLUME_CURRENT), counters.get(Global.VOLUME_CLOSED)
