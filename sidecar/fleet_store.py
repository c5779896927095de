"""Glue: the panes and plans of a store, listed and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from urllib.parse import unquote

import orjson

from sidecar.archive.footer import metadata_in
from sidecar.errors import ObjectUnreadable, StoreError, UsageError
from sidecar.fleet.naming import (
    FOLDS,
    PANES,
    PLANS,
    PaneName,
    date_of,
    day,
    fold_folder,
    parse,
    parse_fold,
    stamp,
)
from sidecar.fleet.pane_file import Facts, Folded, PaneFile, facts_in, read
from sidecar.objects import Entry, Store
from sidecar.statistics.plan import Plan

READS_AT_ONCE = 16
TAIL_BYTES = 64 << 10
HOUR_US = 3_600_000_000
PLANS_KEPT = 64


class FleetStore:
    """The statistics of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._plans: dict[str, Plan] = {}

    def folders(self, model: str | None, digest: str | None = None) -> list[str]:
        """Folders of the digests of a model, or of all."""
        found = {
            PANES + folder.removeprefix(root)
            for root in (PANES, FOLDS)
            for model_folder in self.store.folders(root)
            if model is None or _names(model_folder, "model=", model)
            for folder in self.store.folders(model_folder)
            if digest is None or _names(folder, "digest=", digest.replace(":", "-"), begins=True)
        }
        return sorted(found)

    def models(self) -> list[str]:
        """The models whose panes are here; of names past 160 bytes their beginning and a hash."""
        folders = {
            PANES + each.removeprefix(root) for root in (PANES, FOLDS) for each in self.store.folders(root)
        }
        return sorted(unquote(each.rstrip("/").rsplit("/", 1)[-1].removeprefix("model=")) for each in folders)

    def shipped_since(self, folder: str, from_us: int) -> Iterator[PaneName]:
        """Files shipped then or later, in the order of shipping, as their names say."""
        for day_folder in self.store.folders(folder):
            date = date_of(day_folder)
            if date is None or date < day(from_us):
                continue
            for entry in self.store.list(day_folder, f"{day_folder}/{stamp(from_us)}"):
                found = parse(entry.name)
                if found is not None:
                    yield found

    def files_since(
        self, folder: str, from_us: int, problem: Callable[[StoreError], None], whole: bool = False
    ) -> list[PaneName]:
        """Files shipped then or later: folds, and what is in none of them; every file's counts once.

        With `whole`, the files themselves where all that a fold is made of is still there. A fold that
        cannot be read is given to `problem`.
        """
        files = list(self.shipped_since(folder, from_us))
        there = {(name.writer, name.serial) for name in files}
        folds = [
            fold for fold in self.folds_since(folder, from_us, problem) if not (whole and _all(fold, there))
        ]
        held: dict[str, list[Folded]] = {}
        for fold in folds:
            for writer, each in fold.folded.items():
                held.setdefault(writer, []).append(each)
        return [
            *folds,
            *(name for name in files if not any(each.has(name.serial) for each in held.get(name.writer, ()))),
        ]

    def folds_since(self, folder: str, from_us: int, problem: Callable[[StoreError], None]) -> list[PaneName]:
        """Folds of files that were shipped in that hour or later."""
        names: list[Entry] = []
        hour_us = from_us // HOUR_US * HOUR_US
        for day_folder in self.store.folders(fold_folder(folder)):
            date = date_of(day_folder)
            if date is not None and date >= day(hour_us):
                listed = self.store.list(day_folder, f"{day_folder}/{stamp(hour_us)}")
                names += [entry for entry in listed if parse_fold(entry.name) is not None]
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="folds") as pool:
            found = list(pool.map(self._fold, names))
        for each in found:
            if isinstance(each, StoreError):
                problem(each)
        return [each for each in found if isinstance(each, PaneName)]

    def _fold(self, entry: Entry) -> PaneName | StoreError:
        try:
            facts = facts_of(entry.name, self.store, entry.size)
        except StoreError as error:
            return error
        parsed = parse_fold(entry.name)
        assert parsed is not None
        return PaneName(
            entry.name, parsed[0], "", -1, facts.first_pane_us, facts.last_pane_us, parsed[2], facts
        )

    def plan(self, digest: str) -> Plan:
        """The plan of that digest.

        Raises ObjectMissing for one that is not there, ObjectUnreadable for one that is not what its
        name says.
        """
        known = self._plans.get(digest)
        if known is None:
            name = f"{PLANS}/{digest}.json"
            try:
                known = Plan.decode(self.store.get(name))
            except UsageError as error:
                raise ObjectUnreadable(f"{name}: {error}") from error
            if known.digest != digest:
                raise ObjectUnreadable(f"{name}: its content is another plan's: restore it")
            self._plans[digest] = known
            while len(self._plans) > PLANS_KEPT:
                del self._plans[next(iter(self._plans))]
        return known

    def read(self, names: Iterable[PaneName]) -> Iterator[PaneFile | StoreError]:
        """The files in the order of their names, some read ahead; an error in place of one that cannot be.

        ObjectUnreadable if that is the file's own fault.
        """

        def one(name: PaneName) -> PaneFile | StoreError:
            try:
                data = self.store.get(name.name)
            except StoreError as error:
                return error
            try:
                return read(name.name, data)
            except StoreError as error:
                return ObjectUnreadable(str(error))

        waiting = iter(names)
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="panes") as pool:
            running = [pool.submit(one, name) for name in islice(waiting, 2 * READS_AT_ONCE)]
            while running:
                found = running.pop(0).result()
                running += [pool.submit(one, name) for name in islice(waiting, 1)]
                yield found


def _names(folder: str, key: str, wanted: str, begins: bool = False) -> bool:
    value = unquote(folder.rstrip("/").rsplit("/", 1)[-1].removeprefix(key))
    # Names past 160 bytes are shortened with a hash: what is read says which it is.
    return value == wanted or (begins and value.startswith(wanted)) or len(value) > 130


def _all(fold: PaneName, there: set[tuple[str, int]]) -> bool:
    return all(
        (writer, serial) in there
        for writer, each in fold.folded.items()
        for first, last in each.runs
        for serial in range(first, last + 1)
    )


def facts_of(name: str, store: Store, size: int) -> Facts:
    """What a file of panes says of itself, from its last bytes. Raises ObjectUnreadable that names it."""
    tail = store.get_range(name, max(0, size - TAIL_BYTES), TAIL_BYTES)
    if not tail.endswith(b"PAR1") or len(tail) < 12:
        raise ObjectUnreadable(f"{name}: cannot be read: no whole Parquet file")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > len(tail):
        tail = store.get_range(name, max(0, size - length), length)
    try:
        return facts_in(name, orjson.dumps(metadata_in(tail[-length:-8])))
    except StoreError as error:
        raise ObjectUnreadable(str(error)) from error
