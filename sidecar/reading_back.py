"""Glue: a sink that takes an object for stored when it has read it back."""

from __future__ import annotations

from sidecar.errors import StoreError
from sidecar.objects import Store
from sidecar.shipping.sink import PutResult, Sink, names_its_content


class ReadingBack:
    """A sink, and the same store as it can be read."""

    def __init__(self, sink: Sink, store: Store) -> None:
        self._sink = sink
        self._store = store

    @property
    def description(self) -> str:
        return self._sink.description

    def put(self, name: str, data: bytes) -> PutResult:
        """As Sink.put, and raises StoreError also when what is stored is not what was put."""
        result = self._sink.put(name, data)
        stored = self._store.get(name)
        # What was there already may be what an erasure has left of it.
        may_differ = result is PutResult.EXISTED and not names_its_content(name)
        if stored != data and not may_differ:
            raise StoreError(
                f"store {self.description}: {name} reads back as {len(stored)} bytes that are not the "
                f"{len(data)} put: see to the store; shipping is tried again"
            )
        return result
