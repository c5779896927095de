"""A store as auditors' commands see it: list, read, and write what is the auditors' to write.

`open_store` takes a directory or a bucket's URL and gives a `Store`. The
sidecar itself never comes here: it only puts, through `shipping.sink`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from sidecar.errors import StoreError, UsageError
from sidecar.shipping.location import Kind, locate, shown
from sidecar.shipping.options import StoreOptions

AUDITOR = StoreOptions(retries=5, retry_s=60.0, timeout_s=120.0)
"""Auditors wait longer than a sidecar, which tries again by itself."""


class Entry(NamedTuple):
    """One object as listed."""

    name: str
    size: int


class Store(Protocol):
    """Named objects below one root. Names are parts joined by `/`. Threads may share a store.

    Every method raises StoreError when the store cannot be reached or refuses;
    what is said of ObjectMissing (a StoreError) comes on top.
    """

    @property
    def description(self) -> str:
        """The store's address, for messages."""
        ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Everything below the folder `prefix`, as a stream; inside one folder in the order of names.

        With `after`, only names that sort after it. A folder that is not there holds nothing.
        """
        ...

    def folders(self, prefix: str = "") -> Sequence[str]:
        """Names of the folders directly below `prefix`, whole and sorted."""
        ...

    def get(self, name: str) -> bytes:
        """The whole object; ObjectMissing if there is none."""
        ...

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer where the object ends; ObjectMissing if there is none."""
        ...

    def size(self, name: str) -> int:
        """Bytes in the object; ObjectMissing if there is none."""
        ...

    def put_new(self, name: str, data: bytes) -> bool:
        """Make the object, whole and durable. False, and nothing changed, when one of that name exists."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Make the object or replace it, whole and durable."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object; no error when there is none."""
        ...


def open_store(url: str, options: StoreOptions = AUDITOR) -> Store:
    """The store at a path or URL. Raises UsageError for an address that is none of a store.

    Nothing is looked at yet. A directory store never loads the object store library.
    """
    try:
        location = locate(url)
    except ValueError as error:
        raise UsageError(f"store {shown(url)!r} {error}") from error
    if location.kind is Kind.EVENTS:
        raise UsageError(f"store {url!r} receives events and cannot be read: give a directory or a bucket")
    if location.kind is Kind.DIRECTORY:
        from sidecar.objects_directory import DirectoryStore

        return DirectoryStore(Path(location.path))
    from sidecar.objects_bucket import BucketStore
    from sidecar.shipping.bucket import connect

    return BucketStore(connect(location, options), location.text)


def for_command(url: str) -> Store:
    """`open_store` inside a running click command."""
    return open_store(url, command_options())


def command_options() -> StoreOptions:
    """The options of a running click command, from the environment that the command line was given.

    Credentials come from it, and SIDECAR_STORE_ENDPOINT, SIDECAR_STORE_REGION
    and SIDECAR_STORE_CA mean what they mean to `sidecar run`.
    """
    import click

    context = click.get_current_context(silent=True)
    environment: Mapping[str, str] | None = context.find_root().obj if context is not None else None
    given = environment or {}
    return replace(
        AUDITOR,
        endpoint=given.get("SIDECAR_STORE_ENDPOINT"),
        region=given.get("SIDECAR_STORE_REGION"),
        ca=given.get("SIDECAR_STORE_CA"),
        environment=environment,
    )


def checked(name: str) -> str:
    """The name, if it can be one of an object. Raises StoreError otherwise: it must not leave the store."""
    if not name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise StoreError(f"object name {name!r}: not a path below the store's root")
    return name
