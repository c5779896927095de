"""What a record store must be able to do: take one named object, once."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol


def names_its_content(name: str) -> bool:
    """Whether an object of that name can only have one content: its hash is in it."""
    return name.startswith(("records/", "statistics/plans/", "statistics/panes/", "statistics/labels/"))


class PutResult(Enum):
    """Both mean that the object is in the store, whole and durable."""

    CREATED = "created"
    EXISTED = "existed"


class Sink(Protocol):
    """A store that objects can be put into; nothing is ever read, listed or deleted through it.

    `put` returns only when the object is durable under `name`, or raises
    StoreError. Putting an object again must answer EXISTED and change nothing:
    a batch's name holds the hash of its content, but a key object's does not,
    and what is there may be what an erasure has left of it.
    """

    def put(self, name: str, data: bytes) -> PutResult: ...

    @property
    def description(self) -> str:
        """The store's address, for messages."""
        ...


class SplitSink:
    """A store whose objects below some folders are put elsewhere."""

    def __init__(self, store: Sink, elsewhere: Mapping[str, Sink]) -> None:
        """`elsewhere`: by the beginning of the names, such as `subjects/`."""
        self._store = store
        self._elsewhere = dict(elsewhere)

    @property
    def description(self) -> str:
        return self._store.description

    def put(self, name: str, data: bytes) -> PutResult:
        for beginning, sink in self._elsewhere.items():
            if name.startswith(beginning):
                return sink.put(name, data)
        return self._store.put(name, data)
