"""Glue for `sidecar fold`: the files of panes that a fleet ships in an hour, added up into one beside them.

A fold is made under a number that can be taken once, of files that no fold
before it holds; readers count what a fold lists by the fold alone. So a run
may be cut short, or meet another one, at any point.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import click
import msgspec
import numpy as np
import orjson

from sidecar.archive.commands import Problems
from sidecar.errors import ObjectMissing, StoreError, UsageError
from sidecar.fleet.fold import Fold
from sidecar.fleet.naming import PaneName, fold_name, parse_fold, stamp
from sidecar.fleet.pane_file import PaneFile, Series, read
from sidecar.fleet.sums import Sum
from sidecar.fleet_store import HOUR_US, FleetStore
from sidecar.keyring import STORE
from sidecar.objects import for_command
from sidecar.records import Pane
from sidecar.shipping.panes import PaneFacts, encode_panes
from sidecar.watcher import HORIZON_US

SETTLED_US = HOUR_US
"""An hour is folded when it has been over for so long: most uploads are done by then."""
KEPT_US = HORIZON_US + 2 * HOUR_US
"""How long files stay beside their fold: a watcher that comes back may still want them one by one."""


@dataclass(slots=True)
class Done:
    """What a run did."""

    folds: int = 0
    files: int = 0
    removed: int = 0
    left: list[str] = field(default_factory=list)
    """Why files stay as they are, by writer."""


class Folding:
    """Folds one store."""

    def __init__(self, fleet: FleetStore, now_us: int, problems: Problems, dry_run: bool = False) -> None:
        self._fleet = fleet
        self._now_us = now_us
        self._problems = problems
        self._dry_run = dry_run
        self.done = Done()

    def folder(self, folder: str, remove: bool) -> None:
        """All hours of one model's digest; with `remove`, files that were folded long ago go."""
        folds = self._fleet.folds_since(folder, 0, self._problems)
        files = list(self._fleet.shipped_since(folder, 0))
        held = _held(folds)
        hours: dict[str, list[PaneName]] = defaultdict(list)
        for name in files:
            if (name.writer, name.serial) not in held:
                hours[name.shipped[:11] + "0000000"].append(name)
        last = stamp(self._now_us - SETTLED_US - HOUR_US)
        for hour, names in sorted(hours.items()):
            if hour <= last and len(names) > 1:
                self._hour(folder, hour, names, folds)
        if remove:
            oldest = stamp(self._now_us - KEPT_US)
            # Asked anew: only what is in a fold that is in the store may go.
            held = _held(self._fleet.folds_since(folder, 0, self._problems))
            for name in files:
                if (name.writer, name.serial) in held and name.shipped < oldest:
                    self.done.removed += 1
                    if not self._dry_run:
                        self._fleet.store.delete(name.name)

    def _hour(self, folder: str, hour: str, names: list[PaneName], folds: Sequence[PaneName]) -> None:
        boots = {
            boot: writer for fold in folds for writer, each in fold.folded.items() for boot in each.boots
        }
        without: set[str] = set()
        while True:
            made = self._added(names, without)
            rivals = {
                name
                for fold in made.values()
                for name, own in fold.boots.items()
                if any(boots.get(boot, name) != name for boot in own)
            }
            for fold in made.values():
                rivals |= fold.rivals()
            if rivals <= without:
                break
            # What one of them counted again is told file by file, so they stay files.
            without |= rivals
        self.done.left += [f"writer {name} counted exchanges again" for name in sorted(without)]
        for series, fold in sorted(made.items()):
            if fold.files > 1:
                self._put(folder, hour, series, fold, folds)

    def _added(self, names: list[PaneName], without: set[str]) -> dict[Series, Fold]:
        made: dict[Series, Fold] = {}
        wanted = sorted((name for name in names if name.writer not in without), key=lambda name: name.order)
        for found in self._fleet.read(wanted):
            if isinstance(found, ObjectMissing):
                continue
            try:
                if isinstance(found, StoreError):
                    raise found
                fold = made.setdefault(found.facts.series, Fold(found.facts.series))
                fold.add(found)
            except StoreError as error:
                self._problems(error)
            except ValueError as error:
                self._problems(StoreError(f"{found.name}: {error}: restore the file"))  # type: ignore[union-attr]
        return made

    def _put(self, folder: str, hour: str, series: Series, fold: Fold, folds: Sequence[PaneName]) -> None:
        named = sha256(msgspec.json.encode(series)).hexdigest()[:12]
        taken = [parse_fold(each.name) for each in folds]
        number = sum(each is not None and (each[0], each[2]) == (hour, named) for each in taken)
        hour_us = _hour_us(hour)
        data = encoded(fold, hour_us)
        name = fold_name(folder, hour_us, named, number)
        _prove(read(name, data), fold)
        self.done.folds += 1
        self.done.files += fold.files
        # Another run may have been faster: then its fold holds, and what it left is for the next one.
        if not self._dry_run and not self._fleet.store.put_new(name, data):
            self.done.folds -= 1
            self.done.files -= fold.files


def _held(folds: Sequence[PaneName]) -> set[tuple[str, int]]:
    """Writer and serial number of every file in these folds."""
    return {
        (writer, serial)
        for fold in folds
        for writer, each in fold.folded.items()
        for first, last in each.runs
        for serial in range(first, last + 1)
    }


def encoded(fold: Fold, hour_us: int) -> bytes:
    """The fold as a file of panes."""
    series = fold.series
    folded = fold.folded()
    facts = PaneFacts(
        model=series.model, digest=series.digest, plan=series.plan, route="", cluster="", namespace="",
        workload="", pod="", writer="", serial=0, boots=(), pane_us=series.pane_us,
        complete_to_us=min(each.complete_to_us for each in folded.values()), final=False, shipped_us=hour_us,
    )  # fmt: skip
    panes = [_pane(key, total) for key, total in sorted(fold.sums.items())]
    more = {
        "kind": "fold",
        "folded": msgspec.to_builtins(folded),
        "pane_writers": fold.pane_writers(),
    }
    return encode_panes(facts, panes, more)


def _pane(key: tuple[int, int, bool], total: Sum) -> Pane:
    counts = {name: each.astype("<i8").tobytes() for name, each in sorted(total.counts.items())}
    return Pane(*key, total.exchanges, counts, dict(sorted(total.record_ids.items())))


def _prove(file: PaneFile, fold: Fold) -> None:
    """Raises StoreError unless the file that was written says what was added up."""
    panes = {(pane.start_us, pane.length_us, pane.late): pane for pane in file.panes}
    same = panes.keys() == fold.sums.keys() and all(
        panes[key].exchanges == total.exchanges
        and panes[key].counts.keys() == total.counts.keys()
        and all(np.array_equal(panes[key].counts[name], each) for name, each in total.counts.items())
        for key, total in fold.sums.items()
    )
    if not same or file.facts.folded != fold.folded():
        raise StoreError(f"{file.name}: what was written is not what was added up; nothing was stored")


def _hour_us(hour: str) -> int:
    return timegm(time.strptime(hour[:11], "%Y%m%dT%H")) * 1_000_000


@click.command()
@STORE
@click.option("--model", metavar="NAME", help="Only of this model.")
@click.option("--remove", is_flag=True, help="Also remove files that were folded more than 3 days ago.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def fold(store: str, model: str | None, remove: bool, dry_run: bool, as_json: bool) -> None:
    """Add up the panes that all pods shipped in an hour into one file, below statistics/folds/."""
    fleet = FleetStore(for_command(store))
    problems = Problems()
    folding = Folding(fleet, time.time_ns() // 1000, problems, dry_run)
    folders = fleet.folders(model)
    if model is not None and not folders:
        raise UsageError(f"fold: no panes of model {model}: see `sidecar drift`")
    for folder in folders:
        folding.folder(folder, remove)
    done = folding.done
    if as_json:
        told = {name: getattr(done, name) for name in Done.__slots__}
        click.echo(orjson.dumps(told).decode())
    else:
        would = "would become" if dry_run else "became"
        click.echo(
            f"{done.files:,} files {would} {done.folds:,} folds; {done.removed:,} folded before removed"
        )
        for line in done.left:
            click.echo(f"left as files: {line}", err=True)
    problems.leave()
