"""Glue: finding a subject in the key objects of a store, and destroying its keys there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from sidecar.audit.naming import SUBJECTS
from sidecar.errors import ObjectMissing, PrivacyError, StoreError
from sidecar.objects import Store
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import MasterKey

READ_AT_ONCE: Final = 16
ROUNDS: Final = 8

Ids = Mapping[str, frozenset[bytes]]
"""Ids of subject keys by key object."""


@dataclass(frozen=True, slots=True)
class Found:
    """A key object that holds keys of the subject."""

    name: str
    batch: str
    master: str
    ids: frozenset[bytes]
    tags: frozenset[str]
    """Of everyone whose data these keys open: a record about several people is erased for all of them."""


@dataclass(slots=True)
class Search:
    """What a search through all key objects came to."""

    found: list[Found] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Every key object."""
    other_masters: dict[str, int] = field(default_factory=dict)
    """Master keys that were not given → key objects under them, in which the subject may be too."""
    unreadable: list[str] = field(default_factory=list)
    """What was wrong, naming the object."""


def tags_of(subject: str, masters: Sequence[MasterKey]) -> dict[str, str]:
    """The subject's tag, hex, under each master key by the key's id."""
    return {master.id: master.tag(subject).hex() for master in masters}


def search(store: Store, tags: Mapping[str, str]) -> Search:
    """Look into every key object of the store. Raises StoreError when it cannot be listed or read."""
    result = Search()
    for name, data in _objects(store, result.names):
        try:
            keys = KeyObject.parse(data)
        except PrivacyError as error:
            result.unreadable.append(f"{name}: {error}")
            continue
        tag = tags.get(keys.master)
        if tag is None:
            if keys.entries:
                result.other_masters[keys.master] = result.other_masters.get(keys.master, 0) + 1
            continue
        ids = keys.ids(bytes.fromhex(tag))
        if ids:
            concerned = frozenset(
                each.tag.hex() for each in keys.entries if each.id in ids and each.tag is not None
            )
            result.found.append(Found(name, keys.batch, keys.master, ids, concerned))
    return result


def _objects(store: Store, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """Every key object, some read ahead; one that goes while it is looked for is none."""

    def read(name: str) -> tuple[str, bytes | None]:
        try:
            return name, store.get(name)
        except ObjectMissing:
            return name, None

    listed = (entry.name for entry in store.list(SUBJECTS) if entry.name.endswith(".json"))
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="key-objects") as pool:
        while part := list(islice(listed, 8 * READ_AT_ONCE)):
            for name, data in pool.map(read, part):
                if data is not None:
                    names.add(name)
                    yield name, data


def destroy(store: Store, ids: Ids) -> int:
    """Rewrite the key objects without these keys, and look again that they are gone; objects rewritten.

    Stores have no conditional overwrite, so that two erasures at once can undo
    each other; whoever writes last must see the other's order and try again.
    """
    rewritten = 0
    for name, gone in sorted(ids.items()):
        for _ in range(ROUNDS):
            try:
                keys = KeyObject.parse(store.get(name))
            except ObjectMissing:
                break
            if not any(each.id in gone for each in keys.entries):
                break
            store.put(name, keys.without(gone).to_bytes())
            rewritten += 1
        else:
            raise StoreError(f"{name}: other erasures write it at the same time: run again")
    return rewritten


def still_there(store: Store, ids: Ids) -> list[str]:
    """Names of the key objects that hold one of these keys."""
    left = []
    for name, gone in sorted(ids.items()):
        try:
            keys = KeyObject.parse(store.get(name))
        except ObjectMissing:
            continue
        if any(each.id in gone for each in keys.entries):
            left.append(name)
    return left
