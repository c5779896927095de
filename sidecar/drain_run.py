"""Glue: one dead pod's folder → the store → nothing left of it.

In this order, so that a death at any point loses nothing and doubles nothing:
the journal's lock; the settings it was written under, or refusal; shipping,
where an object counts as stored only when it was read back; a look that nothing
is left; the folder gets the name of one that is done; it is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from lmdb import verify as lmdb_verify

from sidecar.clock import Clock
from sidecar.config import Settings, least_analyst_memory
from sidecar.drain.folder import ASIDE, DONE, PodFolder
from sidecar.drain_shipping import Bounds, Shipping
from sidecar.errors import JournalError, JournalVersion, StoreError
from sidecar.journal.folder import acquire_lock, check, sync_folder, volumes
from sidecar.label_desk import FOLDER as LABELS
from sidecar.ledger.note import SigningKey
from sidecar.left_settings import Left, key_ids, read_left
from sidecar.objects import open_store
from sidecar.shipping.knowledge import Knowledge
from sidecar.shipping.label_queue import LabelQueue
from sidecar.shipping.options import StoreOptions
from sidecar.shipping.state import AnalystState

log = logging.getLogger(__name__)

JOURNAL = "journal"
"""The journal's folder in the pod's."""
STATE = "analyst"


class Refused(JournalError):
    """A journal that is not shipped until somebody does something; `reason` is one of metrics.REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Means:
    """What a drainer ships with."""

    stores: tuple[str, ...]
    """Addresses; a journal of another store is refused."""
    options: StoreOptions
    hash_key: str | None = None
    master_key: str | None = None
    """Files of keys."""
    enroller: SigningKey | None = None
    cluster: str | None = None
    """The one that journals must be of; None takes them as they say."""
    memory: int = 384 << 20
    """Most for the data of one analyst, in bytes."""
    bounds: Bounds = field(default_factory=lambda: Bounds(900.0, 20.0))
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one journal came to."""

    rows: int = 0
    bytes: int = 0
    aside: bool = False
    """Whether damaged files were in it, which are kept."""


def drain(folder: Path, pod: PodFolder, means: Means, clock: Clock, stop: threading.Event) -> Shipped | None:
    """Ship the journal in a pod's folder, and remove the folder. None if it holds no journal.

    Raises JournalLocked when somebody is alive, Refused, and JournalError or
    StoreError when it must be tried again.
    """
    journal = folder / JOURNAL
    if not (journal / "lock").exists():
        # The pod never came to record; whatever else is there is not ours to remove.
        _remove_empty(folder)
        return None
    _check_files(folder)
    # Those of a sidecar that was rolled back first: only their own format need be known.
    every = [*sorted(each for each in journal.glob("format-*") if (each / "lock").exists()), journal]
    with ExitStack() as locks:
        shipped = [_ship(each, pod, means, clock, stop, locks) for each in every]
        aside = any((each / "aside").exists() for each in every)
        if aside:
            _set_aside(folder)
        else:
            _remove(folder)
    return Shipped(sum(each.rows for each in shipped), sum(each.bytes for each in shipped), aside)


def _ship(
    journal: Path, pod: PodFolder, means: Means, clock: Clock, stop: threading.Event, locks: ExitStack
) -> Shipped:
    """All of one journal, whose lock `locks` keeps."""
    try:
        check(journal)
        lock_fd = acquire_lock(journal)
    except JournalVersion as error:
        raise Refused("newer", str(error)) from error
    locks.callback(os.close, lock_fd)
    settings = _settings(journal, pod, means)
    before = _known(journal)
    Shipping(settings, lock_fd, means.enroller, clock, means.bounds).run(means.environment, stop)
    after = _known(journal)
    _check_shipped(journal)
    _check_stored(after, settings, means)
    return Shipped(_grown(before, after, "rows"), _grown(before, after, "bytes"))


def remove_done(root: Path) -> None:
    """Remove the folders that a drainer had marked as done and did not come to remove."""
    for path in root.glob(f"{DONE}*"):
        shutil.rmtree(path, ignore_errors=True)


def quiet_s(folder: Path, now_s: float) -> float:
    """Seconds since anything in the folder was last written; its lock file says nothing of that."""
    newest = folder.stat().st_mtime
    for path in _inside(folder):
        if path.name != "lock":
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, path.lstat().st_mtime)
    return now_s - newest


def _inside(folder: Path) -> Iterator[Path]:
    """Everything below the folder; links are not followed."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent, name)


def _check_files(folder: Path) -> None:
    """Nothing in it may lead out of it: the pod made it, and others' folders lie beside it."""
    for path in _inside(folder):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISSOCK(mode)):
            raise Refused("files", f"{path}: no file or folder of a sidecar's: remove it")


def _settings(journal: Path, pod: PodFolder, means: Means) -> Settings:
    """The settings the pod recorded under, with the drainer's means in the place of the pod's."""
    try:
        left = read_left(journal)
    except JournalError as error:
        raise Refused("rules", str(error)) from error
    _check_place(left.settings, pod, means)
    for store in (left.settings.store, left.settings.subjects_store):
        if store is not None and store not in means.stores:
            raise Refused("store", f"journal {journal}: is of store {store}: give --store {store} too")
    least = least_analyst_memory(left.settings.body_limit)
    if means.memory < least:
        raise Refused(
            "memory", f"journal {journal}: its bodies may need {least} bytes: give --memory so much"
        )
    settings = msgspec.structs.replace(
        left.settings,
        enrolment_key=None,
        annotations_file=None,
        identity="static",
        hash_key=means.hash_key if left.key_ids["hash_key"] else None,
        master_key=means.master_key if left.key_ids["master_key"] else None,
        store_endpoint=means.options.endpoint,
        store_region=means.options.region,
        store_ca=means.options.ca,
        store_token_file=means.options.token_file,
        analyst_memory=min(left.settings.analyst_memory, means.memory),
        ship_timeout_s=means.bounds.timeout_s,
        drain_delay_s=0.0,
        log_format="json",
    )
    _check_keys(journal, left, key_ids(settings), means)
    return settings


def _check_place(settings: Settings, pod: PodFolder, means: Means) -> None:
    """A pod must not be able to have a log certified in another's name."""
    said = {"namespace": settings.namespace, "pod_uid": settings.pod_uid, "cluster": settings.cluster}
    real = {"namespace": pod.namespace, "pod_uid": pod.uid, "cluster": means.cluster}
    for key, value in real.items():
        if value is not None and said[key] != value:
            raise Refused(
                "place",
                f"journal {pod.name}: says {key} {said[key]!r}, and is {value!r}'s: look who wrote it",
            )


def _check_keys(journal: Path, left: Left, ours: Mapping[str, str | None], means: Means) -> None:
    for key in ("hash_key", "master_key"):
        if left.key_ids[key] != ours[key]:
            what = f"{ours[key]} was given" if ours[key] else "none was given"
            raise Refused(
                "keys",
                f"journal {journal}: was written under {key} {left.key_ids[key]}, {what}: give the same "
                f"as --{key.replace('_', '-')}",
            )
    if left.key_ids["enrolment_key"] and means.enroller is None:
        raise Refused("keys", f"journal {journal}: its logs are certified: give --enrolment-key")


def _known(journal: Path) -> Knowledge:
    path = journal / STATE / "data.mdb"
    if not path.exists():
        return Knowledge()
    # LMDB trusts its file, and a damaged page would end this process and not one analyst.
    if lmdb_verify.verify(str(path), subdir=False):  # type: ignore[no-untyped-call]
        return Knowledge()
    state = AnalystState.open(journal / STATE, log.error)
    try:
        return state.load()
    finally:
        state.close()


def _check_shipped(journal: Path) -> None:
    """Raises JournalError while anything waits."""
    waiting = []
    if numbers := volumes(journal):
        waiting.append(f"{len(numbers)} volumes")
    if (journal / STATE / "data.mdb").exists():
        state = AnalystState.open(journal / STATE, log.error)
        try:
            waiting += [f"{len(found)} objects"] if (found := state.pending()) else []
        finally:
            state.close()
    if (journal / LABELS).exists():
        queue = LabelQueue.open(journal / LABELS)
        try:
            waiting += [f"{count} labels"] if (count := int(queue.counts()["waiting"] or 0)) else []
            waiting += ["a file of labels"] if queue.objects() else []
        finally:
            queue.close()
    if waiting:
        raise JournalError(f"journal {journal}: {', '.join(waiting)} wait for the store: it is tried again")


def _check_stored(known: Knowledge, settings: Settings, means: Means) -> None:
    """The end of every log that this journal knows is in the store. Raises StoreError."""
    store = open_store(settings.store, means.options)
    for tree in known.trees.values():
        if tree.batch and tree.store == settings.store:
            data = store.get(tree.batch)
            if hashlib.sha256(data).digest() != tree.batch_sha256:
                raise StoreError(f"store {store.description}: {tree.batch} is not what was sealed")


def _grown(before: Knowledge, after: Knowledge, name: str) -> int:
    return after.shipping.get(name, 0) - before.shipping.get(name, 0)


def _remove(folder: Path) -> None:
    done = folder.with_name(DONE + folder.name)
    folder.rename(done)
    sync_folder(folder.parent)
    shutil.rmtree(done, ignore_errors=True)


def _set_aside(folder: Path) -> None:
    folder.rename(folder.with_name(ASIDE + folder.name))
    sync_folder(folder.parent)


def _remove_empty(folder: Path) -> None:
    for path in (folder / JOURNAL, folder):
        if path.exists():
            try:
                path.rmdir()
            except OSError as error:
                raise Refused(
                    "files", f"{folder}: no journal is in it, and other files are: see to them"
                ) from error
