"""Glue: the panes and plans of a store, listed and read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from urllib.parse import unquote

from sidecar.errors import ObjectUnreadable, StoreError, UsageError
from sidecar.fleet.naming import PANES, PLANS, PaneName, date_of, day, parse, stamp
from sidecar.fleet.pane_file import PaneFile, read
from sidecar.objects import Store
from sidecar.statistics.plan import Plan

READS_AT_ONCE = 16
PLANS_KEPT = 64


class FleetStore:
    """The statistics of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._plans: dict[str, Plan] = {}

    def folders(self, model: str | None, digest: str | None = None) -> list[str]:
        """Folders of the digests of a model, or of all."""
        return [
            folder
            for model_folder in self.store.folders(PANES)
            if model is None or _names(model_folder, "model=", model)
            for folder in self.store.folders(model_folder)
            if digest is None or _names(folder, "digest=", digest.replace(":", "-"), begins=True)
        ]

    def models(self) -> list[str]:
        """The models whose panes are here; of names past 160 bytes their beginning and a hash."""
        folders = self.store.folders(PANES)
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
